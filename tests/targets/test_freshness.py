"""What one look decides about a target: a row a rule."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from downloader.artifact import Artifact
from downloader.fs.files import look
from downloader.targets.plan import NEVER_VERIFIED, Decision, decide, decisions, why_fresh, wish_of
from downloader.targets.state import Receipt

SHA = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
OTHER_SHA = SHA[::-1]
MTIME_NS = 1_700_000_000_123_456_789


ENTRY = "sha256:0"


def receipt(
    size: int = 4, mtime_ns: int = MTIME_NS, sha256: str = SHA, asked: str | None = None
) -> Receipt:
    return Receipt(
        path="f",
        size=size,
        mtime_ns=mtime_ns,
        sha256=sha256,
        verified=1_700_000_000,
        asked=asked,
    )


def wanted(size: int | None = 4, sha256: str | None = SHA) -> Artifact:
    return Artifact(path="f", size=size, sha256=sha256)


def glance(artifact: Artifact, target: Path, noted: Receipt | None) -> Decision:
    return decide(artifact, look(target), noted, ENTRY)


VERIFIED = "2023-11-14 22:13"

RULES = [
    (wanted(), receipt(), ""),
    (wanted(size=None), receipt(), ""),
    (
        wanted(sha256=None),
        receipt(),
        "no SHA-256 of it in models.lock yet: it is pinned when it comes",
    ),
    (wanted(size=1234), receipt(), "size: 4 bytes there, and models.lock wants 1,234"),
    (wanted(size=0), receipt(), "size: 4 bytes there, and models.lock wants 0"),
    (wanted(), None, f"{NEVER_VERIFIED}"),
    (
        wanted(sha256=OTHER_SHA),
        receipt(),
        f"models.lock changed: it wants other bytes than those verified {VERIFIED}",
    ),
    (wanted(), receipt(mtime_ns=MTIME_NS + 1), f"changed since it was verified {VERIFIED}"),
    (wanted(), receipt(mtime_ns=MTIME_NS - 1), f"changed since it was verified {VERIFIED}"),
    (wanted(size=None), receipt(size=5), f"changed since it was verified {VERIFIED}"),
]


@pytest.fixture(autouse=True)
def greenwich(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let times be told in UTC."""
    if not hasattr(time, "tzset"):
        pytest.skip("the time zone is the machine's here")
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(("artifact", "noted", "why"), RULES)
def test_a_file_that_is_there_is_judged_by_these_rules(
    tmp_path: Path, artifact: Artifact, noted: Receipt | None, why: str
) -> None:
    """Each way to be stale is told by its name, and only a proven target is up to date."""
    target = tmp_path / "f"
    target.write_bytes(b"test")
    os.utime(target, ns=(MTIME_NS, MTIME_NS))
    found = glance(artifact, target, noted)
    assert (found.why, found.action == "present") == (why, not why)


def test_a_target_that_is_not_there_is_missing(tmp_path: Path) -> None:
    """A receipt does not stand in for the file, nor does a folder that cannot be entered."""
    gone = f"missing: it was here, verified {VERIFIED}"
    assert glance(wanted(), tmp_path / "f", receipt()).why == gone
    (tmp_path / "file").touch()
    assert glance(wanted(), tmp_path / "file" / "f", receipt()).why == gone
    assert glance(wanted(), tmp_path / "f", None).why == "not here"


def test_a_folder_in_its_place_is_no_regular_file(tmp_path: Path) -> None:
    """A folder is never up to date."""
    assert glance(wanted(), tmp_path, receipt()).why == "a folder stands in its place"


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
    assert glance(wanted(), link, receipt()).why == "a symbolic link stands in its place"


def test_judging_reads_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked for every file of every run, so no file is opened for it."""
    target = tmp_path / "f"
    target.write_bytes(b"test")

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("opened")

    monkeypatch.setattr("builtins.open", refuse)
    monkeypatch.setattr("io.open", refuse)
    monkeypatch.setattr("os.open", refuse)
    assert glance(wanted(), target, receipt()).why == f"changed since it was verified {VERIFIED}"


@pytest.mark.parametrize("is_there", [True, False])
def test_a_folder_that_is_not_there_is_looked_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_there: bool
) -> None:
    """A model that was never fetched costs one stat, however many files it has."""
    looked, lstat = list[str](), os.lstat
    folder = tmp_path / "models" / "m"
    if is_there:
        folder.mkdir(parents=True)

    def noting(path: str) -> os.stat_result:
        looked.append(path)
        return lstat(path)

    monkeypatch.setattr(os, "lstat", noting)
    found = [each for _, each in decisions(folder, [wanted()] * 3, "")]
    assert [each.rule for each in found] == ["missing"] * 3
    assert len(looked) == 3 * is_there


def test_why_a_target_is_up_to_date() -> None:
    """When it was verified, as what, and what has not changed since."""
    assert why_fresh(receipt()) == (
        f"verified {VERIFIED} as sha256:{SHA}; size and time unchanged since"
    )


def test_a_receipt_of_no_time_that_can_be_shown() -> None:
    """A receipt is read from a file that anything may stand in."""
    noted = Receipt(path="f", size=4, mtime_ns=MTIME_NS, sha256=SHA, verified=10**18)
    assert "at some time" in why_fresh(noted)


NEEDS_BYTES = [
    (wanted(), receipt(), False),
    (wanted(size=5), receipt(), True),
    (wanted(), None, False),
    (wanted(sha256=OTHER_SHA), receipt(), True),
    (wanted(sha256=OTHER_SHA), receipt(mtime_ns=1), False),
    (wanted(), receipt(mtime_ns=1), False),
    (wanted(sha256=None), None, True),
    (wanted(sha256=None), receipt(asked=wish_of(wanted(sha256=None), ENTRY)), False),
    (wanted(sha256=None), receipt(asked=wish_of(wanted(sha256=None), "sha256:1")), True),
    (wanted(size=5, sha256=None), receipt(asked=wish_of(wanted(sha256=None), ENTRY)), True),
]


@pytest.mark.parametrize(("artifact", "noted", "needs_bytes"), NEEDS_BYTES)
def test_what_reading_may_settle_is_not_to_be_fetched(
    tmp_path: Path, artifact: Artifact, noted: Receipt | None, needs_bytes: bool
) -> None:
    """Bytes are wanted where size, lock or receipt prove others there; else they may be right."""
    target = tmp_path / "f"
    target.write_bytes(b"test")
    os.utime(target, ns=(MTIME_NS, MTIME_NS))
    assert glance(artifact, target, noted).needs_bytes == needs_bytes
