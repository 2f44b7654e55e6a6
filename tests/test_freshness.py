"""Whether a target is up to date: a row a rule."""

import os
from pathlib import Path

import pytest

from downloader.artifact import Artifact
from downloader.freshness import why_stale
from downloader.receipts import Receipt

SHA = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
OTHER_SHA = SHA[::-1]
MTIME_NS = 1_700_000_000_123_456_789


def receipt(size: int = 4, mtime_ns: int = MTIME_NS, sha256: str = SHA) -> Receipt:
    return Receipt(path="f", size=size, mtime_ns=mtime_ns, sha256=sha256, verified=0)


def wanted(size: int | None = 4, sha256: str | None = SHA) -> Artifact:
    return Artifact(path="f", size=size, sha256=sha256)


RULES = [
    (wanted(), receipt(), None),
    (wanted(size=None), receipt(), None),
    (wanted(sha256=None), receipt(), "not pinned in models.lock yet"),
    (wanted(size=1234), receipt(), "size 4, and 1,234 is wanted"),
    (wanted(size=0), receipt(), "size 4, and 0 is wanted"),
    (wanted(), None, "never verified here"),
    (wanted(sha256=OTHER_SHA), receipt(), "models.lock wants other bytes"),
    (wanted(), receipt(mtime_ns=MTIME_NS + 1), "changed since it was verified"),
    (wanted(), receipt(mtime_ns=MTIME_NS - 1), "changed since it was verified"),
    (wanted(size=None), receipt(size=5), "changed since it was verified"),
]


@pytest.mark.parametrize(("artifact", "noted", "why"), RULES)
def test_a_file_that_is_there_is_judged_by_these_rules(
    tmp_path: Path, artifact: Artifact, noted: Receipt | None, why: str | None
) -> None:
    """Each way to be stale is told by its name, and only a proven target is up to date."""
    target = tmp_path / "f"
    target.write_bytes(b"test")
    os.utime(target, ns=(MTIME_NS, MTIME_NS))
    assert why_stale(artifact, target, noted) == why


def test_a_target_that_is_not_there_is_missing(tmp_path: Path) -> None:
    """A receipt does not stand in for the file, nor does a folder that cannot be entered."""
    assert why_stale(wanted(), tmp_path / "f", receipt()) == "missing"
    (tmp_path / "file").touch()
    assert why_stale(wanted(), tmp_path / "file" / "f", receipt()) == "missing"


def test_a_folder_in_its_place_is_no_regular_file(tmp_path: Path) -> None:
    """A folder is never up to date."""
    assert why_stale(wanted(), tmp_path, receipt()) == "no regular file"


def test_a_link_to_the_right_bytes_is_no_regular_file(tmp_path: Path) -> None:
    """A symlink is not followed, even where what it leads to would be right."""
    right = tmp_path / "right"
    right.write_bytes(b"test")
    os.utime(right, ns=(MTIME_NS, MTIME_NS))
    link = tmp_path / "f"
    try:
        link.symlink_to(right)
    except OSError:
        pytest.skip("symlinks are not allowed here")
    assert why_stale(wanted(), link, receipt()) == "no regular file"


def test_judging_reads_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked for every file of every run, so no file is opened for it."""
    target = tmp_path / "f"
    target.write_bytes(b"test")

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("opened")

    monkeypatch.setattr("builtins.open", refuse)
    monkeypatch.setattr("io.open", refuse)
    monkeypatch.setattr("os.open", refuse)
    assert why_stale(wanted(), target, receipt()) == "changed since it was verified"
