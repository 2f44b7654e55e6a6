"""What one file is when it is held against the lock, and the words for it. Reads nothing."""

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass

from downloader.artifact import Artifact

OK, UNPINNED, EXTRA = "ok", "unpinned", "extra"
STATES = ("missing", "wrong kind", "unreadable", "changed", UNPINNED, EXTRA)
"""All but OK, in the order in which they are told."""

SHOWN_SPANS = 3
SHOWN_DIGITS = 16
"""Of a SHA-256: enough to tell two apart, and to find one in models.lock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What one file is.

    Attributes:
        model: The model's name.
        path: The file's path below the model's folder.
        state: "ok"; or one of STATES: "unpinned" where nothing says which bytes are right, "extra"
            where the lock does not name the file.
        size: Its length in bytes, 0 when there is none.
        detail: What is there and what is wanted, to be read after the path.
    """

    model: str
    path: str
    state: str
    size: int
    detail: str = ""

    @property
    def is_bad(self) -> bool:
        """Whether a file that the lock names is not what it says.

        An extra file is not bad: all that was asked for is there, and it may be the user's own.
        """
        return self.state not in (OK, EXTRA)

    @property
    def line(self) -> str:
        """One line for people and for grep."""
        return f"{self.state}: {self.model}/{self.path} {self.detail}"


def at_a_glance(artifact: Artifact, status: os.stat_result | None) -> tuple[str, str] | None:
    """Return state and detail of a file as far as one lstat tells them; None: it has to be read."""
    if status is None:
        wanted = "" if artifact.size is None else f", and {artifact.size:,} bytes are wanted"
        return "missing", f"is not there{wanted}"
    if not stat.S_ISREG(status.st_mode):
        return "wrong kind", f"is {kind(status.st_mode)}, and a file is wanted"
    if artifact.size not in (None, status.st_size):
        return "changed", f"is {status.st_size:,} bytes, and {artifact.size:,} are wanted"
    if artifact.sha256 is None:
        return UNPINNED, f"is {status.st_size:,} bytes, and models.lock has no SHA-256 of it yet"
    return None


def when_read(artifact: Artifact, sha256: str) -> tuple[str, str]:
    """Return state and detail of a file whose SHA-256 is known."""
    if sha256 == artifact.sha256:
        return OK, ""
    wanted = str(artifact.sha256)[:SHOWN_DIGITS]
    return "changed", f"is sha256:{sha256[:SHOWN_DIGITS]}…, and sha256:{wanted}… is wanted"


def by_pieces(spans: Sequence[tuple[int, int]]) -> tuple[str, str]:
    """Return state and detail of a file whose pieces were checked; `spans`: where it is wrong."""
    if not spans:
        return OK, ""
    shown = ", ".join(f"{start:,}-{stop - 1:,}" for start, stop in spans[:SHOWN_SPANS])
    more = f" and {len(spans) - SHOWN_SPANS:,} more places" * (len(spans) > SHOWN_SPANS)
    return "changed", f"is not what models.lock means in bytes {shown}{more}"


def kind(mode: int) -> str:
    """Return what stands there in place of a file."""
    if stat.S_ISDIR(mode):
        return "a folder"
    return "a symbolic link" if stat.S_ISLNK(mode) else "a device, pipe or socket"
