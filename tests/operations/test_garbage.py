"""What may go of a model's private folder and of a store: by kind, age and lock; no symlink."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from downloader.fs.locks import partial_name
from downloader.fs.rooted_path import RootedPath
from downloader.fs.scratch import machine
from downloader.operations.prune import (
    DAY_SECONDS,
    LEFTOVER,
    PARTIAL,
    QUARANTINED,
    Ages,
    Garbage,
    Wanted,
    of_model,
    of_store,
)

WEEK = Ages(time.time(), 7 * DAY_SECONDS)
NONE = Wanted(frozenset(), frozenset())
NAME = partial_name("a.bin")
WANTED = Wanted(frozenset({NAME}), frozenset({"kept.tar.zst"}))
DEAD = 2**22 + 1
"""Above the largest process number of Linux (proc(5), pid_max)."""


def put(path: Path, days: float = 0.0, content: bytes = b"data") -> Path:
    """Put a file of an age somewhere."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (WEEK.now - days * DAY_SECONDS,) * 2)
    return path


def found(folder: Path, wanted: Wanted | None = WANTED) -> dict[str, str]:
    """Return what may go of a model's folder: names with their kinds."""
    return {each.path.name: each.kind for each in of_model(folder, wanted, WEEK)}


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a file as the run that writes it does."""
    with path.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.mark.parametrize(
    ("name", "days", "wanted", "may_go"),
    [
        (NAME, 6.9, WANTED, False),
        (NAME, 7.1, WANTED, True),
        (NAME, 0.0, NONE, True),
        (NAME, 6.9, None, False),
        (NAME, 7.1, None, True),
        (f"x-000000-{DEAD}-0123abcd.part", 6.9, NONE, False),
        (f"x-000000-{DEAD}-0123abcd.part", 7.1, NONE, True),
        ("x-OURS-0123abcd.part", 99.0, NONE, False),
        ("x-DEAD-0123abcd.part", 7.1, NONE, True),
    ],
)
def test_partials_go_when_old_or_of_nothing(
    tmp_path: Path, name: str, days: float, wanted: Wanted | None, may_go: bool
) -> None:
    """One that a lock names may be gone on with for a week; one with an owner while that lives."""
    name = name.replace("OURS", f"{machine()}-{os.getpid()}")
    name = name.replace("DEAD", f"{machine()}-{DEAD}")
    put(tmp_path / ".modelmake" / "partials" / name, days)

    assert found(tmp_path, wanted) == ({name: PARTIAL} if may_go else {})


def test_a_partial_in_use_stays(tmp_path: Path) -> None:
    """However old: neither found, nor removed when it was taken after it was found."""
    partial = put(tmp_path / ".modelmake" / "partials" / NAME, 99)
    (garbage,) = of_model(tmp_path, WANTED, WEEK)
    with locked(partial):
        assert found(tmp_path) == {}
        assert not garbage.remove()
    assert partial.exists()
    assert garbage.remove()
    assert not partial.exists()
    assert garbage.remove(), "gone is gone"


def test_a_partial_goes_with_its_journal(tmp_path: Path) -> None:
    """A journal alone is a leftover; one beside a partial that stays, stays."""
    folder = tmp_path / ".modelmake" / "partials"
    put(folder / NAME, 99)
    journal = put((folder / NAME).with_suffix(".journal"), 99)
    put(folder / "alone.journal", 1)
    put(folder / "fresh.journal", 0)
    garbage = {each.path.name: each for each in of_model(tmp_path, WANTED, WEEK)}

    assert {name: each.kind for name, each in garbage.items()} == {
        NAME: PARTIAL,
        "alone.journal": LEFTOVER,
    }
    assert garbage[NAME].remove()
    assert not journal.exists()


def test_quarantined_files_go_when_old(tmp_path: Path) -> None:
    """A symlink that was set aside too, and not what it leads to; folders are nobody's."""
    aside = tmp_path / ".modelmake" / "quarantine"
    put(aside / "old", 8)
    put(aside / "new", 1)
    put(aside / "folder" / "old", 8)
    precious = put(tmp_path / "precious", 99)
    (aside / "link").symlink_to(precious)
    os.utime(aside / "link", (0, 0), follow_symlinks=False)

    assert found(tmp_path) == {"old": QUARANTINED, "link": QUARANTINED}
    for each in of_model(tmp_path, WANTED, WEEK):
        each.remove()
    assert precious.exists()


def test_leftovers_of_killed_runs_go(tmp_path: Path) -> None:
    """Half-written files after an hour; what a process owns when it is dead, elsewhere when old."""
    private = tmp_path / ".modelmake"
    put(private / ".receipts.0123abcd.new", 0.1)
    put(private / ".receipts.fresh.new", 0.0)
    put(private / "receipts", 99)
    put(private / "linking" / f"{machine()}-{DEAD}-0000aaaa")
    put(private / "linking" / f"{machine()}-{os.getpid()}-0000bbbb", 99)
    put(private / "unpacking" / f"{machine()}-{DEAD}-0000cccc" / "deep" / "a.bin")
    put(private / "unpacking" / f"000000-{DEAD}-0000dddd" / "a.bin")
    os.utime(private / "unpacking" / f"000000-{DEAD}-0000dddd", (0, 0))
    put(private / "unpacking" / f"000000-{DEAD}-0000eeee" / "a.bin")

    gone = {
        ".receipts.0123abcd.new",
        f"{machine()}-{DEAD}-0000aaaa",
        f"{machine()}-{DEAD}-0000cccc",
        f"000000-{DEAD}-0000dddd",
    }
    assert {*found(tmp_path)} == gone
    for each in of_model(tmp_path, WANTED, WEEK):
        assert each.kind == LEFTOVER
        assert each.remove()
    assert found(tmp_path) == {}
    assert (private / "receipts").exists()


def test_archives_of_entries_that_are_no_more_go(tmp_path: Path) -> None:
    """Wherever their paths put them; none where nobody can tell."""
    folder = tmp_path / ".modelmake" / "archives"
    put(folder / "kept.tar.zst", 99)
    put(folder / "sub" / "kept.tar.zst", 1)
    put(folder / "gone.tar.zst", 0)

    assert found(tmp_path) == {"kept.tar.zst": LEFTOVER}
    (garbage,) = of_model(tmp_path, WANTED, WEEK)
    assert garbage.path.parent.name == "sub"
    assert found(tmp_path, None) == {}


def test_leftovers_of_the_store_go(tmp_path: Path) -> None:
    """Half blobs, half notes, notes of claims whose file nobody writes; never anything else."""
    growing = put(tmp_path / "m" / ".modelmake" / "partials" / "grows.part")
    other = put(tmp_path / "other")
    shard = tmp_path / "store" / "sha256" / "ab"
    stay = [
        put(shard / ("ab" * 32), 99),
        put(shard / "stranger", 99),
        put(tmp_path / "store" / "mine.new", 99),
        put(tmp_path / "store" / "growing" / "1", 99, os.fsencode(growing)),
        put(tmp_path / "store" / "growing" / "2", 0, b"/nowhere"),
        put(tmp_path / "store" / "projects" / "x.json", 99),
    ]
    go = [
        put(shard / ".0123abcd.new", 1),
        put(tmp_path / "store" / ".format.0123abcd.new", 1),
        put(tmp_path / "store" / "projects" / ".x.json.0123abcd.new", 1),
        put(tmp_path / "store" / "growing" / "3", 1, b"/nowhere"),
        put(tmp_path / "store" / "growing" / "4", 1, b"\0\xff"),
        put(tmp_path / "store" / "growing" / "5", 1, os.fsencode(other)),
        put(tmp_path / "store" / "quarantine" / "old", 8),
    ]
    with locked(growing), locked(other):
        garbage = list(of_store(tmp_path / "store", WEEK))

    assert {each.path.path for each in garbage} == {*go}
    for each in garbage:
        assert each.remove()
    assert all(each.exists() for each in stay)


def test_a_second_name_frees_nothing(tmp_path: Path) -> None:
    """What removing gives back is told, not what it seems to."""
    folder = tmp_path / ".modelmake" / "quarantine"
    put(folder / "alone", 8, b"1234")
    os.link(put(folder / "shared", 8), tmp_path / "target")

    freed = {each.path.name: each.frees_bytes for each in of_model(tmp_path, NONE, WEEK)}
    assert freed == {"alone": 4, "shared": 0}


@pytest.mark.parametrize("level", [".modelmake", ".modelmake/partials", ".modelmake/archives"])
def test_no_symlink_is_followed(tmp_path: Path, level: str) -> None:
    """What lies behind one is somebody else's, whatever it is called."""
    model, outside = tmp_path / "model", tmp_path / "outside"
    for name in ("partials", "archives"):
        put(model / ".modelmake" / name / f"{NAME}", 99)
    (model / level).rename(outside)
    (model / level).symlink_to(outside)
    before = sorted(outside.rglob("*"))
    for each in of_model(model, NONE, WEEK):
        each.remove()

    assert sorted(outside.rglob("*")) == before


def test_a_store_behind_a_symlink_is_looked_at(tmp_path: Path) -> None:
    """The root itself may be one."""
    put(tmp_path / "larger" / "quarantine" / "old", 8)
    put(tmp_path / "larger" / "sha256" / "ab" / ".0123abcd.new", 8)
    (tmp_path / "store").symlink_to("larger")

    assert len(list(of_store(tmp_path / "store", WEEK))) == 2


def test_what_cannot_be_listed_is_passed_over(tmp_path: Path) -> None:
    """A file in a folder's place, or nothing at all."""
    put(tmp_path / ".modelmake", 99)

    assert found(tmp_path) == {}
    assert list(of_store(tmp_path / "nowhere", WEEK)) == []


def test_a_folder_is_removed_with_its_symlinks_only(tmp_path: Path) -> None:
    """What was unpacked may hold links."""
    precious = put(tmp_path / "precious", 99)
    left = tmp_path / "left"
    left.mkdir()
    (left / "link").symlink_to(precious)
    (left / "folder").symlink_to(tmp_path)
    Garbage(kind=LEFTOVER, path=RootedPath.of(left), frees_bytes=0, why="").remove()

    assert not left.exists()
    assert precious.exists()
