"""A lock that may not be obeyed is told as such by every command, with what mends it."""

import os
import subprocess
import sys

import pytest

from tests.e2e.content import pinned_toy, toy
from tests.e2e.project import REPOSITORY, Project
from tests.e2e.together.projects import bot
from tests.servers.faulty import FaultyServer
from tests.servers.together.server import TogetherServer

WAYS = [[], ["fetch:one"], ["lock"], ["models/one/a.bin"], ["ensure"], ["sync"]]
ENSURE = "import downloader; downloader.ensure('one')"
SYNC = "import downloader; downloader.sync()"


def refused(project: Project, words: list[str]) -> str:
    """Run what must be refused where the lock may not be written, and return its last lines."""
    if words not in (["ensure"], ["sync"]):
        run = project.doit(*words, MODELMAKE_LOCKED="1")
        assert run.status == 1
        assert run.stderr.count("failed ") == 1
        return run.stderr
    script = ENSURE if words == ["ensure"] else SYNC
    environment = {**os.environ, **project.variables, "MODELMAKE_LOCKED": "1"}
    ended = subprocess.run(
        [sys.executable, "-c", script],
        cwd=project.folder,
        env={**environment, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    script = f"try:\n {script}\nexcept downloader.errors.ModelmakeError as e: print(e.report())"
    return subprocess.run(
        [sys.executable, "-c", f"import downloader.errors\n{script}"],
        cwd=project.folder,
        env={**environment, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


@pytest.mark.sampled(keep=7)
@pytest.mark.parametrize("words", WAYS)
@pytest.mark.parametrize("state", ["missing", "stale", "unpinned"])
def test_locked_refuses_with_the_command_that_mends_it(
    project: Project, server: FaultyServer, words: list[str], state: str
) -> None:
    """Whichever way one comes: one failure, nothing asked or written, one command."""
    project.declare({"one": toy(server, ["a.bin"])})
    if state != "missing":
        assert project.doit("lock").status == 0
    if state == "stale":
        project.declare({"one": toy(server, ["a.bin"], include=["*"])})
    text, asked = project.lock.exists() and project.lock.read_bytes(), len(server.requests)
    said = refused(project, words)
    assert {"missing": "is missing", "stale": "is stale: one changed", "unpinned": "pins no"}[
        state
    ] in said
    command = "`doit" if state == "unpinned" else "`doit lock`"
    assert f"On your machine, without MODELMAKE_LOCKED: {command}" in said
    assert ", then commit models.lock." in said
    assert (project.lock.exists() and project.lock.read_bytes()) == text
    assert len(server.requests) == asked


def test_a_missing_lock_is_told_once_for_all_kinds_of_models(
    project: Project, server: FaultyServer, together: TogetherServer
) -> None:
    """A model whose provider is to be asked repeats nothing; the provider is not asked."""
    project.declare({"one": toy(server, ["a.bin"]), "bot": bot(), "bot2": bot(checkpoint=10)})
    run = project.doit(MODELMAKE_LOCKED="1")
    assert run.status == 1
    assert run.stderr.count("models.lock is missing.") == 1
    assert together.requests == []


def test_an_optional_model_may_be_unpinned(project: Project, server: FaultyServer) -> None:
    """CI that never fetches it need not pin it; named, it is refused with its own command."""
    project.declare(
        {"one": pinned_toy(server, ["a.bin"]), "big": toy(server, ["b.bin"], optional=True)}
    )
    assert project.doit("lock").status == 0
    assert project.doit("lock", "--check", CI="true").status == 0
    run = project.doit("lock", "--check", "big", CI="true")
    assert run.status == 1
    assert "On your machine: `doit fetch:big`, then commit models.lock." in run.stderr
    assert "MODELMAKE_LOCKED" not in run.stderr, "CI is not told to switch the guard off"
    assert project.doit("lock", "--check", "big").status == 0, "a person may fetch and pin"


def test_check_looks_at_the_named_models_alone(project: Project, server: FaultyServer) -> None:
    """What is stale elsewhere is not held against them."""
    project.declare({"one": toy(server, ["a.bin"]), "two": toy(server, ["b.bin"])})
    assert project.doit("lock").status == 0
    project.declare({"one": toy(server, ["a.bin"]), "two": toy(server, ["c.bin"])})
    assert project.doit("lock", "--check", "one").stdout == "models.lock is up to date for one.\n"
    assert project.doit("lock", "--check", "two").status == 1
    assert "is stale: two changed." in project.doit("lock", "--check").stderr


BROKEN = {
    "newer": ('"version": 1', '"version": 2', "Update modelmake"),
    "conflict": ('"models": {', '<<<<<<< ours\n"models": {', "git checkout --ours models.lock"),
    "upper case": ('"sha256":"', '"md5":"' + "A" * 32 + '","sha256":"', "lower-case"),
    "twice": ('"source": "http"', '"source": "http", "source": "http"', "'source' twice"),
    "another URL": ("/toy/a.bin", "/toy/x.bin", "does not follow from models.yaml for one/a.bin"),
    "another digest": ('"sha256":"', '"sha256":"0', "models.lock"),
}


@pytest.mark.sampled(keep=3)
@pytest.mark.parametrize(("old", "new", "said"), BROKEN.values(), ids=BROKEN)
def test_a_broken_lock_is_status_1_for_every_command(
    project: Project, server: FaultyServer, old: str, new: str, said: str
) -> None:
    """Two lines, what and what to do; CI tells it from a mistake on the command line (2, 3)."""
    project.declare({"one": pinned_toy(server, ["a.bin"])})
    assert project.doit("lock").status == 0
    text = project.lock.read_text()
    assert old in text
    project.lock.write_text(text.replace(old, new, 1))
    for words in (["lock", "--check"], ["lock"], [], ["outdated"]):
        run = project.doit(*words)
        assert (run.status, len(run.error_lines)) == (1, 2), run.text
        assert said in run.stderr
