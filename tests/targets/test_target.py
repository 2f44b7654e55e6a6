"""What `decide` asks of one file, and whether another look is worth it."""

import errno
import os
from pathlib import Path

import pytest

from downloader.errors import Stop, StoreError
from downloader.targets.plan import Planner, Target
from downloader.targets.shared import SharedStore
from tests.projects import http, lock, project, sha256
from tests.targets.one_model import BYTES, put
from tests.targets.one_model import target as place

URL = "http://127.0.0.1:9/a.bin"
PINNED = {"url": URL, "sha256": sha256(BYTES)}
UNPINNED = {"url": URL}
OTHER_WISH = {"url": URL.replace("a.bin", "b.bin"), "path": "a.bin"}
BLIND = "downloader.fs.digests.sha256_of"


def target(folder: Path, file: dict[str, str]) -> Target:
    """Return the file of a project of one model, as another process would see it."""
    lock(folder, {"m": http(file)}, is_offline=True)
    seen = project(folder, store="off")
    return Target(Planner(seen, SharedStore(seen, Stop())), "m", seen.artifact("m", "a.bin"))


@pytest.mark.parametrize("file", [PINNED, UNPINNED], ids=["pinned", "unpinned"])
def test_what_another_process_made_is_found(tmp_path: Path, file: dict[str, str]) -> None:
    """Nothing at first, then the file with its receipt."""
    mine, other = target(tmp_path, file), target(tmp_path, file)
    assert mine.decide().action == "fetch"
    assert mine.again() is None
    put(tmp_path, BYTES)
    other.note(sha256(BYTES))
    assert mine.again() == sha256(BYTES)


def test_a_receipt_that_comes_after_the_file_is_seen(tmp_path: Path) -> None:
    """Between its rename and its receipt an unpinned file looks as if nobody knew it."""
    put(tmp_path, BYTES)
    mine = target(tmp_path, UNPINNED)
    assert mine.decide().action == "fetch"
    assert mine.again() is None
    target(tmp_path, UNPINNED).note(sha256(BYTES))
    assert mine.again() == sha256(BYTES)


def test_wrong_bytes_are_not_hashed_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing changed, the second look costs one stat."""
    put(tmp_path, BYTES[::-1])
    mine = target(tmp_path, PINNED)
    assert mine.decide().action == "fetch"
    monkeypatch.setattr(BLIND, None)
    assert mine.again() is None


def test_an_unpinned_file_of_another_wish_is_not_believed(tmp_path: Path) -> None:
    """The receipt answers what was asked when it was written, and nothing else."""
    put(tmp_path, BYTES)
    target(tmp_path, UNPINNED).note(sha256(BYTES))
    assert target(tmp_path, UNPINNED).decide().action == "adopt"
    assert target(tmp_path, OTHER_WISH).decide().action == "fetch"


def test_a_receipt_of_other_bytes_spares_the_hashing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock names other bytes of the same size now: those that stand there were hashed once."""
    put(tmp_path, BYTES)
    target(tmp_path, PINNED).note(sha256(BYTES))
    other = target(tmp_path, {"url": URL, "sha256": sha256(BYTES[::-1])})
    monkeypatch.setattr(BLIND, None)
    assert other.decide().action == "fetch"


def test_a_target_that_cannot_be_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bad sector is an error of the disk, named, and not a traceback."""

    def refuse(path: Path) -> str:
        raise StoreError(f"Cannot read {path}: {os.strerror(errno.EIO)}.")

    put(tmp_path, BYTES)
    monkeypatch.setattr(BLIND, refuse)
    found = target(tmp_path, PINNED).decide()
    assert found.action == "refuse"
    assert str(found.error) == f"Cannot read {place(tmp_path)}: Input/output error."
