"""A second name for a file's bytes where only a copy will do, and what ends it."""

import os
from pathlib import Path

import pytest

from downloader.errors import Interrupted, StoreError
from downloader.fs.link import has_reflinks, link, needs_room
from downloader.fs.rooted_path import RootedPath
from tests.projects import sha256

CONTENT = b"weights" * 400_000


@pytest.mark.parametrize("stop_at", [1, 4], ids=["while written", "while read again"])
def test_a_copy_that_is_stopped_leaves_nothing(tmp_path: Path, stop_at: int) -> None:
    """Three steps of a MiB are written; then all is read again."""
    (tmp_path / "a").write_bytes(CONTENT)
    steps = iter(range(1, stop_at + 1))

    def watch() -> None:
        if next(steps) == stop_at:
            raise Interrupted("Stopped.")

    with pytest.raises(Interrupted):
        link(tmp_path / "a", RootedPath.of(tmp_path / "b"), ("copy",), sha256(CONTENT), watch)
    assert not (tmp_path / "b").exists()


def test_a_copy_of_other_bytes_is_removed(tmp_path: Path) -> None:
    """What was read before it was copied may have changed since."""
    (tmp_path / "a").write_bytes(CONTENT)
    with pytest.raises(StoreError, match="other bytes"):
        link(tmp_path / "a", RootedPath.of(tmp_path / "b"), ("copy",), sha256(b"before"))
    assert not (tmp_path / "b").exists()


def test_asking_for_reflinks_leaves_nothing(tmp_path: Path) -> None:
    """Whatever the answer is."""
    assert has_reflinks(RootedPath.of(tmp_path)) in (True, False)
    assert not list(tmp_path.iterdir())


def test_what_takes_disk_space_of_its_own(tmp_path: Path) -> None:
    """A copy, whatever is on another disk, and a reflink where the disk has none."""
    folder = RootedPath(tmp_path)
    here = tmp_path.stat()
    elsewhere = os.stat_result([*here[:2], here.st_dev + 1, *here[3:]])

    assert needs_room("copy", here, folder)
    assert needs_room("auto", elsewhere, folder)
    assert not needs_room("auto", here, folder)
    assert not needs_room("hardlink", here, folder)
    assert needs_room("reflink", here, folder) is not has_reflinks(folder)
