"""A second name for a file's bytes where only a copy will do, and what ends it."""

from pathlib import Path

import pytest

from downloader.errors import Interrupted, StoreError
from downloader.fs.link import has_reflinks, link
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
