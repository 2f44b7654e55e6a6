"""What stands at a target, and whether another look is worth it."""

import errno
import os
from pathlib import Path

import pytest

from downloader.artifact import Artifact
from downloader.errors import StoreError
from downloader.targets import state
from downloader.targets.state import Target
from tests.transfer.desk import BODY, OLD, pinned, sha256, unpinned

ENTRY = "sha256:0"


def target(folder: Path, artifact: Artifact) -> Target:
    return Target(folder, artifact, ENTRY)


def test_what_another_process_made_is_found(tmp_path: Path) -> None:
    """Nothing at first, then the file with its receipt, pinned or not."""
    for artifact in (pinned(), unpinned()):
        mine, other = target(tmp_path, artifact), target(tmp_path, artifact)
        assert mine.present({}) is None
        assert mine.present_now() is None
        mine.path.path.write_bytes(BODY)
        other.note(sha256(BODY))
        assert mine.present_now() == sha256(BODY)
        mine.path.path.unlink()


def test_a_receipt_that_comes_after_the_file_is_seen(tmp_path: Path) -> None:
    """Between its rename and its receipt an unpinned file looks as if nobody knew it."""
    mine = target(tmp_path, unpinned())
    mine.path.path.write_bytes(BODY)
    assert mine.present({}) is None
    target(tmp_path, unpinned()).note(sha256(BODY))
    assert mine.present_now() == sha256(BODY)


def test_wrong_bytes_are_not_hashed_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing changed, the second look costs one stat."""
    mine = target(tmp_path, pinned(sized=False))
    mine.path.path.write_bytes(OLD)
    assert mine.present({}) is None
    monkeypatch.setattr("downloader.fs.digests.sha256_of", None)
    assert mine.present_now() is None


def test_an_unpinned_file_of_another_wish_is_not_believed(tmp_path: Path) -> None:
    """The receipt answers what was asked when it was written, and nothing else."""
    Target(tmp_path, unpinned(), "sha256:other").path.path.write_bytes(BODY)
    Target(tmp_path, unpinned(), "sha256:other").note(sha256(BODY))
    assert target(tmp_path, unpinned()).present(state.load_receipts(tmp_path)) is None


def test_a_target_that_cannot_be_read_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bad sector is an error of the disk, named, and not a traceback."""

    def refuse(_path: Path) -> str:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    mine = target(tmp_path, pinned())
    mine.path.path.write_bytes(BODY)
    monkeypatch.setattr("downloader.fs.digests.sha256_of", refuse)
    with pytest.raises(StoreError, match=r"Cannot read .*model\.bin: Input/output error"):
        mine.present({})


@pytest.mark.parametrize(
    ("content", "must"),
    [(None, True), (OLD, True), (bytes(len(BODY)), False)],
    ids=["none", "short", "same size"],
)
def test_one_look_tells_what_must_be_fetched(
    tmp_path: Path, content: bytes | None, must: bool
) -> None:
    """Nothing there, or another size; what has the right size may be right."""
    mine = target(tmp_path, pinned())
    if content is not None:
        mine.path.path.write_bytes(content)
    assert mine.must_be_fetched is must
