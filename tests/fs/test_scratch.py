"""Names of scratch files, and what goes when their process is gone."""

import os
from pathlib import Path

import pytest

from downloader.fs import scratch
from downloader.fs.rooted_path import RootedPath
from downloader.fs.scratch import is_unfinished, machine, own_name, owner_of, sweep, unfinished

DEAD = 4_190_000
"""Below Linux's largest number of a process, and hardly in use."""


@pytest.fixture(autouse=True)
def processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process alone be alive."""
    kill = os.kill

    def answer(process: int, number: int) -> None:
        if process == DEAD:
            raise ProcessLookupError
        kill(process, number)

    monkeypatch.setattr(os, "kill", answer)


def test_a_name_of_our_own_says_whose_it_is() -> None:
    """With a stem or without, and half copied to another file; no two are one."""
    for name in (own_name(), own_name("a-b.bin", ".part"), own_name("-x")):
        owner = owner_of(name)
        assert owner
        assert (owner.machine, owner.process) == (machine(), os.getpid())
        assert owner.is_alive
        assert not owner.is_gone
    half = unfinished(RootedPath(Path("/folder"), own_name()))
    assert owner_of(half.name) == owner_of(half.name[1:].rpartition(".new")[0].rpartition(".")[0])
    assert len({own_name() for _ in range(100)}) == 100


@pytest.mark.parametrize("length", [1, 200, 255])
def test_an_unfinished_file_has_a_name_that_is_short_enough(length: int) -> None:
    """It stands beside its target, whatever that is called."""
    for letter in ("x", "字"):
        name = letter * (length // len(letter.encode()) or 1)
        found = unfinished(RootedPath(Path("/folder"), name))
        assert len(found.name.encode()) <= 255
        assert is_unfinished(found.name)
        assert owner_of(found.name) is None


LEFT = {
    f"{machine()}-{DEAD}-0123abcd": True,
    f"{machine()}-{os.getpid()}-0123abcd": True,
    f".{machine()}-{DEAD}-0123abcd-89ab.new": True,
    f".{machine()}-{DEAD}-0123abcd.89ab.new": True,
    f"{machine()}-{'9' * 40}-0123abcd": True,
    f"{machine()}-1-0123abcd": False,
    f"000000-{DEAD}-0123abcd": False,
    f"{machine()}-²-0123abcd": False,
    f"{machine()}-٣-0123abcd": False,
    f"{machine()}--0123abcd": False,
    f"{machine()}-": False,
    machine(): False,
    ".new": False,
    "..new": False,
    ".a.new": False,
    "my-notes-1-2.txt": False,
}
"""By name: whether it is removed."""


@pytest.mark.parametrize("is_folder", [False, True], ids=["file", "folder"])
def test_what_dead_processes_left_is_removed(tmp_path: Path, is_folder: bool) -> None:
    """And nothing else: no living one's, no other machine's, no foreign one."""
    ours = [own_name(), own_name("stem")]
    for name in (*LEFT, *ours):
        if is_folder:
            (tmp_path / name / "deep").mkdir(parents=True)
        else:
            (tmp_path / name).write_bytes(b"left")
    sweep(RootedPath(tmp_path))
    kept = {name for name, is_removed in LEFT.items() if not is_removed}
    assert {path.name for path in tmp_path.iterdir()} == {*kept, *ours}


def test_a_folder_that_is_not_there_has_nothing_to_sweep(tmp_path: Path) -> None:
    """Nor has a file in its place."""
    sweep(RootedPath(tmp_path, "gone"))
    (tmp_path / "file").write_bytes(b"")
    sweep(RootedPath(tmp_path, "file"))
    assert scratch.is_alive(os.getpid())
