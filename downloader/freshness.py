"""Whether a target is up to date, and why: judged from its stat, its receipt and the lock."""

import os
import stat
import time
from pathlib import Path
from typing import Self

from downloader.artifact import Artifact
from downloader.receipts import Receipt

SHOWN_TIME = "%Y-%m-%d %H:%M"
IN_ITS_PLACE = {stat.S_IFDIR: "a folder", stat.S_IFLNK: "a symbolic link"}


class Rule(str):
    """The rule that makes a target stale, in words.

    Attributes:
        must_fetch: Whether other bytes are wanted than stand there, as far as can be told without
            reading; where not, reading them may prove that they are right.
    """

    __slots__ = ("must_fetch",)
    must_fetch: bool

    def __new__(cls, text: str, *, must_fetch: bool) -> Self:
        """Return the rule of this text."""
        rule = super().__new__(cls, text)
        rule.must_fetch = must_fetch
        return rule


NEVER_FETCHED = Rule("never fetched", must_fetch=True)
NOT_PINNED = Rule(
    "no SHA-256 of it in models.lock yet: it is pinned when it comes", must_fetch=True
)
PIN_LOST = Rule("fetched, and not pinned in models.lock yet", must_fetch=False)
NEVER_VERIFIED = Rule(
    "there, with the right size, and never verified here: its bytes are to be read",
    must_fetch=False,
)
NOT_UNPACKED = Rule("not unpacked yet", must_fetch=False)


def why_stale(artifact: Artifact, target: Path, receipt: Receipt | None) -> Rule | None:
    """Return the rule that makes the target stale, or None when it is up to date.

    One stat and no reading: it is asked for every file of every run.

    Args:
        artifact: What the lock wants.
        target: Where it should be.
        receipt: What was noted when it was last verified.
    """
    try:
        status = target.lstat()
    except OSError:
        return _why_missing(receipt)
    if not stat.S_ISREG(status.st_mode):
        what = IN_ITS_PLACE.get(stat.S_IFMT(status.st_mode), "something that is no file")
        return Rule(f"{what} stands in its place", must_fetch=True)
    if artifact.sha256 is None:
        return PIN_LOST if receipt and receipt.asked else NOT_PINNED
    if artifact.size not in (None, status.st_size):
        size = f"{status.st_size:,} bytes there, and models.lock wants {artifact.size:,}"
        return Rule(f"size: {size}", must_fetch=True)
    return _why_unproven(artifact, receipt, status)


def why_fresh(receipt: Receipt) -> str:
    """Return why a target that is not stale is up to date."""
    return f"verified {_time(receipt)} as sha256:{receipt.sha256}; size and time unchanged since"


def _why_missing(receipt: Receipt | None) -> Rule:
    if receipt is None:
        return NEVER_FETCHED
    return Rule(f"missing: it was here, verified {_time(receipt)}", must_fetch=True)


def _why_unproven(
    artifact: Artifact, receipt: Receipt | None, status: os.stat_result
) -> Rule | None:
    if receipt is None:
        return NEVER_VERIFIED
    is_same = receipt.matches(status)
    if receipt.sha256 != artifact.sha256:
        text = f"models.lock changed: it wants other bytes than those verified {_time(receipt)}"
        return Rule(text, must_fetch=is_same)
    if is_same:
        return None
    return Rule(f"changed since it was verified {_time(receipt)}", must_fetch=False)


def _time(receipt: Receipt) -> str:
    try:
        return time.strftime(SHOWN_TIME, time.localtime(receipt.verified))
    except (OverflowError, ValueError, OSError):  # a receipt may say anything
        return "at some time"
