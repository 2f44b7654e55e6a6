"""How few calls to the system a small file costs: each hands the interpreter to another thread."""

import collections
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from downloader.fs import space
from downloader.fs.space import DiskBudget
from tests.transfer.desk import BODY, PATH, Desk, pinned

SMALL = BODY[:20_000]

Counted = collections.Counter[str]


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    """Give a count of the calls that change what is on the disk, by their name."""
    counts = Counted()

    def counting(name: str, call: Callable[..., object]) -> Callable[..., object]:
        def count(*arguments: Any, **named: Any) -> object:
            counts[name] += 1
            return call(*arguments, **named)

        return count

    for name in ("ftruncate", "unlink", "fsync", "replace"):
        monkeypatch.setattr(os, name, counting(name, getattr(os, name)))
    write = counting("pwrite", os.pwrite)
    monkeypatch.setattr("downloader.fs.open_file._pwrite", write)
    return counts


def test_a_small_file_is_written_once(desk: Desk, counted: Counted) -> None:
    """One write, one sync of it and of its folder, one rename; nothing is emptied or removed."""
    desk.server.put(PATH, SMALL)
    desk.target.parent.mkdir()
    desk.fetch(pinned(SMALL))
    assert counted == {"pwrite": 1, "fsync": 2, "replace": 1}


def test_a_partial_of_no_journal_is_emptied(desk: Desk, counted: Counted) -> None:
    """What somebody left under the partial's name is not taken for its start."""
    desk.server.put(PATH, SMALL)
    job = desk.job(pinned(SMALL))
    job.partial.parent.path.mkdir(parents=True)
    job.partial.path.write_bytes(b"x" * 30_000)
    desk.run(job)
    assert desk.target.read_bytes() == SMALL
    assert counted["ftruncate"] == 1


def test_a_journal_of_no_partial_is_removed(desk: Desk) -> None:
    """It would vouch for bytes that a later run might leave."""
    desk.server.put(PATH, SMALL)
    job = desk.job(pinned(SMALL))
    journal = job.partial.with_suffix(".journal")
    journal.parent.path.mkdir(parents=True)
    journal.path.write_text("of an older run")
    desk.run(job)
    assert desk.partials == []


def test_many_files_of_a_folder_are_planned_by_one_look(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The disk of a folder is looked up once, not once a file."""
    looks: list[Path] = []

    def disk_of(folder: Path) -> tuple[int, Path]:
        looks.append(folder)
        return 1, tmp_path

    monkeypatch.setattr(space, "disk_of", disk_of)
    DiskBudget().plan([(tmp_path / "partials" / str(number), 1) for number in range(50)])
    assert looks == [tmp_path / "partials"]
