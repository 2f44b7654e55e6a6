"""A bound on the sum of all transfers' rates, kept smoothly (MODELMAKE_LIMIT_RATE)."""

import threading
import time

from downloader.disk.hashing import BUFFER_BYTES

SLICE_SECONDS = 0.002
"""What is read at once is written before it is paid for, on each connection: so it is little."""
CREDIT_SECONDS = 0.04
"""How much unused time is made up for: threads wake late, and the mean would fall short. No second
has more than this part of one above the bound, the first one included."""
SMALLEST_SLICE_BYTES = 1024


class Throttle:
    """Lets so many bytes a second pass, over all threads together.

    Args:
        bytes_per_second: The bound; None for none.
    """

    def __init__(self, bytes_per_second: int | None) -> None:
        self._rate = bytes_per_second
        self._paid_until = time.monotonic()
        self._paying = threading.Lock()

    @property
    def slice_bytes(self) -> int:
        """How much to read at once, so that the rate is even and not in jumps."""
        if self._rate is None:
            return BUFFER_BYTES
        return min(max(int(self._rate * SLICE_SECONDS), SMALLEST_SLICE_BYTES), BUFFER_BYTES)

    def pay(self, count: int, stop: threading.Event) -> None:
        """Wait until the bytes that just came were allowed to come, or the run is stopped."""
        if self._rate is None:
            return
        with self._paying:
            now = time.monotonic()
            self._paid_until = max(self._paid_until, now - CREDIT_SECONDS) + count / self._rate
            delay = self._paid_until - now
        if delay > 0:
            stop.wait(delay)
