"""`doit outdated`: what upstream has newer, gone, or not for us; and nothing is touched."""

import json
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.content import pinned_toy, toy
from tests.e2e.project import Project, Run, finish
from tests.e2e.test_interrupted import GOES_ON
from tests.e2e.together.projects import JOB, LOOK, bot
from tests.e2e.watching import wait_until
from tests.servers.faults import statuses, timing
from tests.servers.faulty import FaultyServer
from tests.servers.together.archives import merged_archive
from tests.servers.together.server import TogetherServer

END_SECONDS = 10.0
CACHE = ".modelmake/manifest.json"
"""Any command may compile models.yaml."""


@pytest.fixture
def together(project: Project, together: TogetherServer) -> TogetherServer:
    """Give the fake to a project that tries again once."""
    project.variables["MODELMAKE_RETRIES"] = "1"
    return together


def locked(project: Project, models: dict[str, Any]) -> None:
    """Declare the models, and lock them."""
    project.declare(models)
    run = project.doit("lock")
    assert run.status == 0, run.text


def document(run: Run) -> dict[str, dict[str, Any]]:
    """Return the models of the one JSON document on standard output, by name."""
    told = json.loads(run.stdout)
    assert told["version"] == 1
    return {each["model"]: each for each in told["models"]}


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    """Return every file below a folder, with its size and time."""
    files = (each for each in folder.rglob("*") if each.is_file())
    return {
        str(each.relative_to(folder)): (each.stat().st_size, each.stat().st_mtime_ns)
        for each in files
        if str(each.relative_to(folder)) != CACHE
    }


def test_nothing_is_newer(project: Project, server: FaultyServer) -> None:
    """Exit status 0 and a line a model; no body moves and no file is written."""
    locked(project, {"one": toy(server, ["a.bin", "b.bin"]), "two": pinned_toy(server, ["c.bin"])})
    before, asked = tree(project.folder), len(server.requests)
    run = project.doit("outdated")
    assert (run.status, run.stderr) == (0, "")
    assert sorted(run.stdout.splitlines()) == ["one: up to date", "two: up to date"]
    assert tree(project.folder) == before
    assert [seen.body_bytes_sent for seen in server.requests[asked:]] == [1, 1, 1]


def test_a_file_that_grew_is_newer(project: Project, server: FaultyServer) -> None:
    """Old and new are told with sizes, and the command that takes it; status 1."""
    locked(project, {"one": toy(server, ["a.bin", "b.bin"])})
    server.put("/toy/a.bin", b"x" * 1700)
    run = project.doit("outdated")
    assert run.status == 1
    assert run.stdout.splitlines() == [
        "one: newer: 2 files, 2,000 bytes -> 2 files, 2,700 bytes; 1 file, 1,700 bytes to fetch",
        "  changed a.bin: 1,000 bytes -> 1,700 bytes",
    ]
    assert run.error_lines == [
        "Of 1 model: 1 newer.",
        "  Take what is newer with `doit lock --upgrade one`.",
    ]


def test_new_checkpoints_are_told_by_step(project: Project, together: TogetherServer) -> None:
    """`last: 2` moves on: the steps, and each archive that comes or goes."""
    locked(project, {"bot": bot(checkpoint={"last": 2})})
    job = together.job(JOB)
    job.final_step = 20
    job.checkpoints = {**job.checkpoints, 30: {"adapter": merged_archive(30)}}
    run = project.doit("outdated", "--json")
    (each,) = document(run).values()
    assert (run.status, each["state"]) == (1, "newer")
    assert (each["locked"]["steps"], each["upstream"]["steps"]) == ([10, 20], [20, 30])
    assert [file["state"] for file in each["files"]] == ["removed", "added"]
    assert each["fetch_bytes"] == each["files"][1]["upstream_bytes"] == len(merged_archive(30))


def test_a_pinned_file_that_the_server_changed(project: Project, server: FaultyServer) -> None:
    """The lock stays right, so `lock --upgrade` is not advised: it would change nothing."""
    locked(project, {"two": pinned_toy(server, ["c.bin", "d.bin"])})
    server.put("/toy/c.bin", b"another")
    run = project.doit("outdated")
    assert run.status == 1
    assert run.stdout.splitlines() == [
        "two: changed upstream: 1 of 2 files",
        "  changed upstream c.bin: 1,000 bytes -> 7 bytes",
        "  The lock stays right; what it pins cannot be fetched from there again.",
    ]
    assert run.stderr == "Of 1 model: 1 changed upstream.\n"


def test_what_is_gone_or_refused(
    project: Project, server: FaultyServer, together: TogetherServer
) -> None:
    """404 and a deleted job are gone; 401 and 403 are not allowed; the others are told too."""
    toys = {name: toy(server, [f"{name}.bin"]) for name in ("gone", "refused", "fine")}
    locked(project, {**toys, "bot": bot()})
    server.always("/toy/gone.bin", statuses.status(404))
    server.always("/toy/refused.bin", statuses.status(403))
    together.api.always(LOOK, statuses.status(404))
    run = project.doit("outdated", "--json")
    states = {name: each["state"] for name, each in document(run).items()}
    assert states == {"gone": "gone", "refused": "not-allowed", "fine": "up-to-date", "bot": "gone"}
    assert run.status == 1
    assert "1 not allowed" in run.stderr


def test_a_wrong_key_is_not_allowed_and_not_shown(
    project: Project, together: TogetherServer
) -> None:
    """The line says which variable to set; no key is in any text."""
    locked(project, {"bot": bot(), "bot2": bot(checkpoint=10)})
    run = project.doit("outdated", TOGETHER_API_KEY="tgp_v1_wrong_secret")
    assert run.status == 1
    assert run.stdout.count("bot: not allowed: ") == 1
    assert run.stdout.count("Set TOGETHER_API_KEY") == 1, "one hint is enough"
    assert "wrong_secret" not in run.text
    assert together.key not in project.doit("outdated", "--json").text


def test_an_unreachable_host_is_status_1_and_named_once_a_model(
    project: Project, server: FaultyServer
) -> None:
    """What nobody could ask about is not called up to date; one dead host is one line."""
    with FaultyServer() as dead:
        locked(project, {"fine": toy(server, ["a.bin"]), "dead": toy(dead, ["x", "y", "z"])})
    run = project.doit("outdated")
    assert run.status == 1
    assert "fine: up to date" in run.stdout
    assert "dead: unreachable: 3 of 3 files\n  unreachable x and 2 more: The conn" in run.stdout
    assert run.stderr == "Of 2 models: 1 unreachable.\n"


def test_a_training_is_not_waited_for(project: Project, together: TogetherServer) -> None:
    """`wait: true` is for `lock`; here a job that runs again is told at once."""
    locked(project, {"bot": bot(wait=True)})
    together.job(JOB).status = "running"
    run = project.doit("outdated")
    assert run.status == 1
    assert run.stdout.startswith(f"bot: unreachable: {JOB} is not completed: its state is running")
    assert "; waiting" not in run.stderr


def test_an_older_checkpoint_is_told_as_older(project: Project, together: TogetherServer) -> None:
    """What `lock --upgrade` refuses to take is not called newer."""
    locked(project, {"bot": bot(checkpoint="all")})
    together.job(JOB).checkpoints = {10: {"merged": merged_archive(10)}}
    run = project.doit("outdated")
    assert run.status == 1
    assert "bot: older: its newest checkpoint upstream is step 10, and step 20 is" in run.stdout
    assert "doit lock --upgrade bot" not in run.stderr


def test_what_is_not_locked_is_not_asked(project: Project, server: FaultyServer) -> None:
    """A new or changed entry has nothing to be compared with: the command is `doit lock`."""
    locked(project, {"one": toy(server, ["a.bin"])})
    project.declare({"one": toy(server, ["a.bin", "b.bin"]), "two": toy(server, ["c.bin"])})
    asked = len(server.requests)
    run = project.doit("outdated")
    assert run.status == 1
    assert sorted(run.stdout.splitlines()) == [
        "one: not locked: models.yaml changed since it was locked",
        "two: not locked: models.lock does not have it yet",
    ]
    assert "`doit lock`" in run.stderr
    assert len(server.requests) == asked


def test_named_models_alone_are_asked(project: Project, server: FaultyServer) -> None:
    """Names choose; an unknown one is an error that lists those there are."""
    locked(project, {"one": toy(server, ["a.bin"]), "two": toy(server, ["b.bin"])})
    asked = len(server.requests)
    assert project.doit("outdated", "two").stdout == "two: up to date\n"
    assert [seen.path for seen in server.requests[asked:]] == ["/toy/b.bin"]
    run = project.doit("outdated", "three")
    assert (run.status, run.stdout) == (3, "")
    assert "no model 'three'" in run.stderr
    assert "one, two" in run.stderr


@pytest.mark.parametrize("words", [[], ["--json"]])
def test_offline_is_one_line(project: Project, server: FaultyServer, words: list[str]) -> None:
    """MODELMAKE_OFFLINE: nobody is asked, nothing is on standard output."""
    locked(project, {"one": toy(server, ["a.bin"])})
    asked = server.connections
    run = project.doit("outdated", *words, MODELMAKE_OFFLINE="1")
    assert (run.status, run.stdout, len(run.error_lines)) == (1, "", 1)
    assert "MODELMAKE_OFFLINE" in run.stderr
    assert server.connections == asked


def test_a_silent_host_holds_up_no_other(
    project: Project, server: FaultyServer, together: TogetherServer
) -> None:
    """A provider is told while another says nothing; Ctrl-C then ends it in one line."""
    never = threading.Event()
    locked(project, {"silent": toy(server, ["a.bin"]), "bot": bot()})
    server.always("/toy/a.bin", timing.stall_before_headers(never))
    asked = len(server.requests)
    process = project.start("outdated")
    assert process.stdout is not None
    assert process.stdout.readline() == "bot: up to date\n"
    wait_until(lambda: len(server.requests) > asked)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    run = finish(process)
    never.set()
    assert time.monotonic() - began < END_SECONDS
    assert (run.status, run.stderr) == (130, f"{GOES_ON}\n")


def test_it_works_where_the_lock_may_not_be_written(project: Project, server: FaultyServer) -> None:
    """In CI it looks as anywhere, and leaves models.lock alone."""
    locked(project, {"one": toy(server, ["a.bin"])})
    text = project.lock.read_bytes()
    server.put("/toy/a.bin", b"longer" * 1000)
    run = project.doit("outdated", CI="true", MODELMAKE_LOCKED="1")
    assert run.status == 1
    assert run.stdout.startswith("one: newer: ")
    assert project.lock.read_bytes() == text
