"""When a partial's bytes are synced and noted in its journal: bytes first, journal after."""

import os
import threading
from collections.abc import Callable, Sequence

from downloader.transfer.journal import Binding, Journal
from downloader.transfer.ranges import Range, total

SMALLEST_STEP_BYTES = 1 << 20
LARGEST_STEP_BYTES = 16 << 20
STEPS = 128


class Checkpoints:
    """The checkpoints of one open partial; safe to share between its connections.

    Args:
        descriptor: The open partial.
        journal: Where they are noted.

    Attributes:
        noted_bytes: How many bytes the journal vouches for.
    """

    def __init__(self, descriptor: int, journal: Journal) -> None:
        self._descriptor, self._journal = descriptor, journal
        self.noted_bytes = 0
        self._is_doubtful = False
        self._noting = threading.Lock()

    def is_due(self, present_bytes: int, size: int | None) -> bool:
        """Whether so much is there that it should be noted, of a file of this size."""
        step = min(max((size or 0) // STEPS, SMALLEST_STEP_BYTES), LARGEST_STEP_BYTES)
        return present_bytes - self.noted_bytes >= step

    def add(self, binding: Binding, ranges: Sequence[Range]) -> None:
        """Sync what was written, and note it, unless it is noted or cannot be resumed.

        Raises:
            OSError: It cannot be synced.
            StoreError: The journal cannot be written.
        """
        with self._noting:
            present = total(ranges)
            if self._is_doubtful or not binding.can_resume or present == self.noted_bytes:
                return
            self.sync(getattr(os, "fdatasync", os.fsync))
            self._journal.note(binding, ranges)
            self.noted_bytes = present

    def sync(self, sync: Callable[[int], None]) -> None:
        """Sync the partial, and note nothing more after a failure.

        Linux drops what it could not write and calls the next fsync a success, so a second one
        proves nothing (PostgreSQL's "fsyncgate", 2018): what came since the last checkpoint is
        lost.

        Raises:
            OSError: It cannot be synced.
        """
        try:
            sync(self._descriptor)
        except OSError:
            self._is_doubtful = True
            raise
