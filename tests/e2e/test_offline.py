"""MODELMAKE_OFFLINE: nothing is dialled; what is missing is told all at once, at the end."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

import downloader
from downloader.errors import OFFLINE_HINT, Offline
from tests.e2e.content import pinned_toy, toy
from tests.e2e.project import Project
from tests.e2e.together.projects import ARCHIVE, JOB, LORA_FILES, bot, usual_checkpoints
from tests.e2e.watching import without_dialling
from tests.servers.faulty import FaultyServer
from tests.servers.together.server import TogetherServer

OFFLINE = {"MODELMAKE_OFFLINE": "1"}
UNSHARE = ("unshare", "--net", "--map-root-user")


@pytest.fixture
def other(project: Project, server: FaultyServer, store: Path, tmp_path: Path) -> Project:
    """Give a locked project without files; another one has put half of them into the store."""
    names = ["a.bin", "b.bin", "c.bin", "d.bin"]
    models = {"one": pinned_toy(server, names[:2]), "two": pinned_toy(server, names[2:])}
    project.declare(models)
    assert project.doit("lock").status == 0
    filler = Project(tmp_path / "filler")
    filler.declare({"x": pinned_toy(server, ["a.bin", "c.bin"])})
    assert filler.doit().status == 0
    return project


def without_network(project: Project, folder: Path) -> Sequence[str]:
    """Take the network away by the kernel where that is allowed, and by a guard in any case."""
    project.variables |= {**OFFLINE, **without_dialling(folder)}
    tried = subprocess.run([*UNSHARE, "true"], check=False, capture_output=True)
    return UNSHARE if tried.returncode == 0 else ()


def test_what_is_here_or_in_the_store_is_enough(
    other: Project, server: FaultyServer, tmp_path: Path
) -> None:
    """It ends with 0 where nothing is missing, in a network namespace without any network."""
    asked = len(server.requests)
    other.before = without_network(other, tmp_path / "site")
    run = other.doit("fetch:one/a.bin", "fetch:two/c.bin")
    assert run.status == 0, run.text
    assert sorted(line.split()[0] for line in run.error_lines) == ["linked", "linked"]
    assert other.doit("fetch:one/a.bin").status == 0
    assert len(server.requests) == asked


def test_all_that_is_missing_is_told_at_the_end(
    other: Project, server: FaultyServer, tmp_path: Path
) -> None:
    """What is in the store is linked all the same; one list, by model, with sizes and advice."""
    other.before = without_network(other, tmp_path / "site")
    run = other.doit()
    assert run.status == 1
    assert other.target("one", "a.bin").is_file()
    assert other.target("two", "c.bin").is_file()
    assert run.error_lines[-6:] == [
        "2 files (2.0 kB) are neither here nor in the store, and MODELMAKE_OFFLINE is set:",
        "  one",
        "    b.bin (1.0 kB)",
        "  two",
        "    d.bin (1.0 kB)",
        f"  {OFFLINE_HINT}",
    ]
    assert "failed" not in run.stderr
    assert "2 not started" in run.stdout


def test_one_model(other: Project, tmp_path: Path) -> None:
    """`doit fetch:MODEL` tells of that model alone."""
    other.before = without_network(other, tmp_path / "site")
    run = other.doit("fetch:two")
    assert run.status == 1
    assert "1 file (1.0 kB) is neither here nor in the store" in run.stderr
    assert "b.bin" not in run.stderr


def test_a_long_list_ends_with_a_count(project: Project, server: FaultyServer) -> None:
    """Twenty files are named, and no line tells of one alone."""
    project.declare({"m": toy(server, [f"{number:02}.bin" for number in range(30)])})
    assert project.doit("lock").status == 0
    run = project.doit(**OFFLINE)
    assert run.status == 1
    assert len(run.error_lines) == 1 + 1 + 20 + 1 + 1
    assert "  and 10 files more" in run.stderr


def test_without_a_lock(project: Project, server: FaultyServer, tmp_path: Path) -> None:
    """`doit lock` writes what follows from models.yaml; only a provider's own files it cannot."""
    project.declare({"m": pinned_toy(server, ["a.bin"]), "bot": bot()})
    project.before = without_network(project, tmp_path / "site")
    run = project.doit("lock")
    assert run.status == 1
    assert "bot is not locked: Only its provider knows the files of bot" in run.stderr
    assert set(project.locked("m")) == {"a.bin"}
    assert server.connections == 0
    project.declare({"m": pinned_toy(server, ["a.bin"])})
    assert project.doit("lock").status == 0


def test_a_model_that_is_not_locked_keeps_no_other_out(
    other: Project, server: FaultyServer, tmp_path: Path
) -> None:
    """The others are linked; it is told why nothing is known of that one."""
    models = {"one": pinned_toy(server, ["a.bin"]), "bot": bot()}
    other.declare(models)
    other.before = without_network(other, tmp_path / "site")
    run = other.doit()
    assert run.status == 1
    assert other.target("one", "a.bin").is_file()
    assert run.stderr.count("Only its provider knows the files of bot") == 1


def test_an_unpacked_model_needs_no_key(project: Project, store: Path, tmp_path: Path) -> None:
    """Its files are linked from the store where nobody has a key for the provider."""
    with TogetherServer() as together:
        together.add_job(JOB, checkpoints=usual_checkpoints())
        keys = {"TOGETHER_API_KEY": together.key, "TOGETHER_BASE_URL": together.url}
        project.declare({"bot": bot(type="adapter", extract=True)})
        assert project.doit(**keys).status == 0
    shutil.rmtree(project.folder / "models")
    project.before = without_network(project, tmp_path / "site")
    run = project.doit()
    assert run.status == 0, run.text
    assert {each for each in LORA_FILES if project.target("bot", each).is_file()} == LORA_FILES
    assert project.target("bot", ARCHIVE).is_file()


def test_an_archive_that_is_missing_is_told_by_its_files(project: Project) -> None:
    """One list again, without a word of each file's failed unpacking."""
    with TogetherServer() as together:
        together.add_job(JOB, checkpoints=usual_checkpoints())
        keys = {"TOGETHER_API_KEY": together.key, "TOGETHER_BASE_URL": together.url}
        project.declare({"bot": bot(type="adapter", extract=True, keep_archive=False)})
        assert project.doit(**keys).status == 0
    shutil.rmtree(project.folder / "models")
    run = project.doit(**OFFLINE)
    assert run.status == 1
    assert f"{len(LORA_FILES)} files" in run.stderr
    assert "failed" not in run.stderr, run.text


def test_from_python_it_is_one_error(
    other: Project, server: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`downloader.sync` links what it can, and raises one error with the whole list."""
    monkeypatch.setenv("MODELMAKE_OFFLINE", "1")
    asked = server.connections
    with pytest.raises(Offline) as raised:
        downloader.sync(folder=other.folder)
    assert "2 files (2.0 kB)" in str(raised.value)
    assert "b.bin" in str(raised.value)
    assert "d.bin" in str(raised.value)
    assert server.connections == asked
    assert other.target("one", "a.bin").is_file()


def test_a_plan_says_what_is_missing(other: Project, tmp_path: Path) -> None:
    """Before anything is linked; it ends with 1."""
    other.before = without_network(other, tmp_path / "site")
    run = other.doit("plan")
    assert run.status == 1
    assert run.stdout.startswith("MODEL  LINK  MISSING")
    assert "2 files can neither be linked nor downloaded" in run.stderr
