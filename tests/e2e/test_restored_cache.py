"""A model's folder that a CI cache, tar or git brought back moves no byte again."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.content import pinned_toy
from tests.e2e.project import Project
from tests.e2e.watching import without_dialling, without_sockets
from tests.servers.faulty import FaultyServer

FILES = 9
NANOSECONDS = 10**9


@pytest.fixture
def clone(fetched: Project, tmp_path: Path) -> Project:
    """Give another job's clone: dodo.py, models.yaml, models.lock, and CI set."""
    clone = Project(tmp_path / "clone", **fetched.variables, CI="true")
    for file in (fetched.manifest, fetched.lock):
        shutil.copyfile(file, clone.folder / file.name)
    return clone


def without_receipts(saved: Path, clone: Path) -> None:
    """Bring back the files alone, as a cache of other paths would."""
    shutil.copytree(saved, clone, ignore=shutil.ignore_patterns(".modelmake"))


def without_times(saved: Path, clone: Path) -> None:
    """Bring back all, each file as old as this moment: a git checkout, `tar -m`."""
    shutil.copytree(saved, clone, copy_function=shutil.copyfile)


def with_whole_seconds(saved: Path, clone: Path) -> None:
    """Bring back all as a zip archive does, GitLab's cache for one."""
    shutil.copytree(saved, clone)
    for file in filter(Path.is_file, clone.rglob("*")):
        seconds = file.stat().st_mtime_ns // NANOSECONDS * NANOSECONDS
        os.utime(file, ns=(seconds, seconds))


def by_tar(saved: Path, clone: Path) -> None:
    """Bring back all as `tar --posix` does, GitHub's cache for one; it keeps nanoseconds."""
    archive = clone.parent / "cache.tar"
    subprocess.run(["tar", "--posix", "-cf", archive, "-C", saved.parent, saved.name], check=True)
    subprocess.run(["tar", "-xf", archive, "-C", clone.parent], check=True)


@pytest.mark.parametrize("bring_back", [without_receipts, without_times, with_whole_seconds])
def test_a_restored_cache_is_hashed_once_and_moves_nothing(
    fetched: Project,
    clone: Project,
    server: FaultyServer,
    tmp_path: Path,
    bring_back: Callable[[Path, Path], None],
) -> None:
    """Without receipts or times all is read once, no request is sent; then nothing is to do."""
    bring_back(fetched.folder / "models", clone.folder / "models")
    before = len(server.requests)
    first = clone.doit(**without_dialling(tmp_path / "first"))
    assert first.status == 0, first.text
    assert first.stdout.startswith(f"{FILES} verified in place in ")
    second = clone.doit(**without_sockets(tmp_path / "second"))
    assert (second.status, second.stdout, second.stderr) == (0, "Nothing to do.\n", "")
    assert len(server.requests) == before
    assert clone.lock.read_bytes() == fetched.lock.read_bytes()


def test_a_cache_with_receipts_and_times_is_not_even_hashed(
    fetched: Project, clone: Project, tmp_path: Path
) -> None:
    """A tar archive with its nanoseconds leaves nothing to do, and opens no socket."""
    by_tar(fetched.folder / "models", clone.folder / "models")
    run = clone.doit(**without_sockets(tmp_path / "watch"))
    assert (run.status, run.stdout, run.stderr) == (0, "Nothing to do.\n", "")


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_models_in_a_git_checkout(fetched: Project, clone: Project, tmp_path: Path) -> None:
    """Models that are committed, receipts and all, are hashed once after a checkout."""

    def git(*words: str) -> None:
        own = ("-c", "user.name=t", "-c", "user.email=t@example.org")
        subprocess.run(["git", *own, *words], cwd=fetched.folder, check=True, capture_output=True)

    git("init", "-q")
    git("add", "-f", "models")
    git("commit", "-qm", "models")
    git("worktree", "add", "-q", str(tmp_path / "checkout"))
    shutil.move(tmp_path / "checkout" / "models", clone.folder / "models")
    run = clone.doit(**without_dialling(tmp_path / "watch"))
    assert f"{FILES} verified in place" in run.stdout, run.text


def test_a_cache_of_an_older_lock_gives_what_it_has(
    fetched: Project, clone: Project, server: FaultyServer
) -> None:
    """What a prefix of the key restored is kept where it is right; the rest alone is fetched."""
    by_tar(fetched.folder / "models", clone.folder / "models")
    fetched.declare(
        {
            "gpt2-355M": {"source": "openai-gpt2", "size": "355M"},
            "one": pinned_toy(server, ["a.bin", "new.bin"]),
        }
    )
    assert fetched.doit("lock").status == 0
    for file in (fetched.manifest, fetched.lock):
        shutil.copyfile(file, clone.folder / file.name)
    before = len(server.requests)
    run = clone.doit()
    assert run.stdout.startswith("1 fetched (1.0 kB) in "), run.text
    assert {seen.path for seen in server.requests[before:]} == {"/toy/new.bin"}


def test_a_cache_with_a_damaged_file_is_mended(
    fetched: Project, clone: Project, server: FaultyServer
) -> None:
    """What a cache gives is believed no more than what a server sends."""
    without_times(fetched.folder / "models", clone.folder / "models")
    clone.target("one", "a.bin").write_bytes(b"x" * 1000)
    before = len(server.requests)
    run = clone.doit()
    assert run.status == 0, run.text
    assert {seen.path for seen in server.requests[before:]} == {"/toy/a.bin"}
    assert clone.target("one", "a.bin").read_bytes() == fetched.target("one", "a.bin").read_bytes()
