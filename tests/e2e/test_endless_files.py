"""Files beside the models that never end, or are too large to be ours: one line, and no wait."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from downloader.fs.locks import partial_name
from tests.e2e.content import toy
from tests.e2e.project import Project
from tests.servers.faulty import FaultyServer

TEBIBYTE = 1 << 40


def sparse(path: Path) -> None:
    """Make a file of holes that is longer than any memory."""
    with path.open("wb") as file:
        file.truncate(TEBIBYTE)


def device(path: Path) -> None:
    """Make a name of a device without an end."""
    path.symlink_to("/dev/zero")


KINDS: dict[str, Callable[[Path], None]] = {"FIFO": os.mkfifo, "holes": sparse, "device": device}


@pytest.fixture
def synced(project: Project, server: FaultyServer) -> Project:
    """Give a project whose model is up to date."""
    project.declare({"one": toy(server, ["a.bin"])})
    assert project.doit().status == 0
    return project


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["models.yaml", "models.lock", "models/one/.modelmake/receipts"])
@pytest.mark.parametrize("command", ["list", "run", "verify"])
def test_it_is_refused_by_name(synced: Project, name: str, kind: str, command: str) -> None:
    """Nothing is read of it; what a user may have linked elsewhere is looked at first as well."""
    path = synced.folder / name
    path.unlink()
    KINDS[kind](path)
    run = synced.doit(command)

    if name.endswith("receipts") and kind == "device":
        assert "an error in modelmake itself" not in run.text  # a symlink there counts as no file
        return
    assert run.status in {1, 2}, run.text
    why = "it is larger than 256 MiB" if kind == "holes" else "it is not a regular file"
    assert f"{name} cannot be read: {why}" in run.text or f"Cannot read {name}: {why}" in run.text
    assert "Traceback" not in run.text
    assert len([line for line in run.error_lines if not line.startswith("  ")]) <= 2


@pytest.mark.parametrize("kind", KINDS)
def test_doits_database_is_begun_anew(synced: Project, kind: str) -> None:
    """It is a hint only: nothing is lost with it, and what stands in its place is replaced."""
    path = synced.folder / ".doit.db"
    KINDS[kind](path)
    run = synced.doit()

    assert run.status == 0, run.text
    assert ".doit.db" in run.stderr
    assert "begun anew" in run.stderr
    assert synced.doit().text == "Nothing to do.\n"


@pytest.mark.parametrize("kind", ["FIFO", "holes"])
def test_a_journal_is_refused_by_name(project: Project, server: FaultyServer, kind: str) -> None:
    """Its partial is begun anew, or the file fails with one line."""
    project.declare({"one": toy(server, ["a.bin"])})
    assert project.doit("lock").status == 0
    partials = project.target("one", ".modelmake/partials")
    partials.mkdir(parents=True)
    name = partial_name("a.bin")
    (partials / name).write_bytes(b"x")
    KINDS[kind]((partials / name).with_suffix(".journal"))
    run = project.doit()

    assert "Traceback" not in run.text
    assert "an error in modelmake itself" not in run.text
    assert run.status == (0 if kind == "FIFO" else 1), run.text
