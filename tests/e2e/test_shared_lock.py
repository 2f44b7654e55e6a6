"""Runs that write one models.lock at the same time: each keeps what the other wrote."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event

from downloader.fs.files import PRIVATE_FOLDER
from tests.e2e.content import toy
from tests.e2e.project import REPOSITORY, Project, finish
from tests.e2e.watching import wait_until
from tests.servers.faults import timing
from tests.servers.faulty import FaultyServer

PINNING = """
import sys
from pathlib import Path
from downloader.project.project import Project
from downloader.project.resolve import pinned

project = Project.of_environment(Path(sys.argv[1]))
for number in range(25):
    project.pin("m", pinned(project.artifact("m", f"{sys.argv[2]}{number}"), 4, "ab" * 32))
    project.write_pins()
"""


@contextmanager
def held_run(project: Project, server: FaultyServer) -> Iterator[None]:
    """Have a run read models.lock and wait for its file during the block, then end well."""
    gate = Event()
    server.script("/toy/a.bin", timing.stall_before_headers(gate))
    before = len(server.requests)
    running = project.start("fetch:one")
    wait_until(lambda: len(server.requests) > before)
    try:
        yield
    finally:
        gate.set()
    assert finish(running).status == 0


def test_a_pin_of_another_run_is_kept(project: Project, server: FaultyServer) -> None:
    """Each run pinned a model of its own, and the later writer had read the lock before."""
    project.declare({"one": toy(server, ["a.bin"]), "two": toy(server, ["b.bin"])})
    assert project.doit("lock").status == 0
    with held_run(project, server):
        assert project.doit("fetch:two").status == 0
        assert "sha256" in project.locked("two")["b.bin"]
    assert "sha256" in project.locked("one")["a.bin"]
    assert "sha256" in project.locked("two")["b.bin"]


def test_a_model_that_another_run_locked_is_kept(project: Project, server: FaultyServer) -> None:
    """A model that models.yaml got meanwhile is not dropped by who has not seen it."""
    models = {"one": toy(server, ["a.bin"])}
    project.declare(models)
    assert project.doit("lock").status == 0
    with held_run(project, server):
        project.declare({**models, "two": toy(server, ["b.bin"])})
        assert project.doit("lock").status == 0
    assert "sha256" in project.locked("one")["a.bin"]
    assert "b.bin" in project.locked("two")


def test_no_pin_is_lost_in_a_race(project: Project, server: FaultyServer) -> None:
    """Two processes pin 25 files each of one model, and write models.lock after each."""
    names = [f"{letter}{number}" for letter in "ab" for number in range(25)]
    project.declare({"m": toy(server, names)})
    assert project.doit("lock").status == 0
    command = [sys.executable, "-c", PINNING, str(project.folder)]
    running = [subprocess.Popen([*command, letter], cwd=REPOSITORY) for letter in "ab"]
    assert [each.wait(60) for each in running] == [0, 0]
    assert [name for name, each in project.locked("m").items() if "sha256" not in each] == []
    left = [path.name for path in (project.folder / PRIVATE_FOLDER).glob("*.turn")]
    assert left == ["models.lock.turn"]
