"""Whether a target is up to date, and why not: judged from its stat, its receipt and the lock."""

import os
import stat
from pathlib import Path

from downloader.artifact import Artifact
from downloader.receipts import Receipt


def why_stale(artifact: Artifact, target: Path, receipt: Receipt | None) -> str | None:
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
        return "missing"
    if not stat.S_ISREG(status.st_mode):
        return "no regular file"
    if artifact.sha256 is None:
        return "not pinned in models.lock yet"
    if artifact.size not in (None, status.st_size):
        return f"size {status.st_size:,}, and {artifact.size:,} is wanted"
    return _why_unproven(artifact, receipt, status)


def _why_unproven(
    artifact: Artifact, receipt: Receipt | None, status: os.stat_result
) -> str | None:
    if receipt is None:
        return "never verified here"
    if receipt.sha256 != artifact.sha256:
        return "models.lock wants other bytes"
    return None if receipt.matches(status) else "changed since it was verified"
