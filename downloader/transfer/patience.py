"""How long one request may keep us waiting: a bound on every silence, and a least speed.

Only the time spent waiting for the socket counts, on the monotonic clock: neither our own
throttle, nor a slow disk, nor a clock that is set meanwhile makes a server slow (rows C3, C14).
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LEAST_BYTES_A_SECOND = 1024
"""Less, over a whole window, is a server that drips (curl's --speed-limit is the same idea)."""


def least_bytes(seconds: float) -> int:
    """Return how many bytes so much waiting must bring."""
    return math.ceil(LEAST_BYTES_A_SECOND * seconds)


class TooSlow(TimeoutError):  # noqa: N818 - as TimedOut
    """Bytes came, and too few of them."""


class Patience:
    """The waiting time that is left for the present step of one request.

    A step is one of: dialling, with all handshakes; waiting for the head; a window of the body,
    which ends when enough bytes have come, so that a steady flow never runs out of time.

    Args:
        seconds: For each step (MODELMAKE_TIMEOUT).
        sharers: Returns how many requests share the network now: they share the least speed too.
    """

    def __init__(self, seconds: float, sharers: Callable[[], int] = lambda: 1) -> None:
        self.seconds, self._sharers = seconds, sharers
        self._is_body = False
        self.begin_step()

    def begin_step(self) -> None:
        """Begin with the whole time again."""
        self._left, self._got = self.seconds, 0

    def begin_body(self) -> None:
        """From now on, bytes earn time."""
        self._is_body = True
        self.begin_step()

    @property
    def left(self) -> float:
        """Seconds that the next wait may take.

        Raises:
            TooSlow: The time is used up, though something came.
            TimeoutError: It is used up, and nothing came.
        """
        if self._left > 0:
            return self._left
        raise self._over()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Count the block as waiting.

        Raises:
            TooSlow: The block timed out, and bytes had come in this step.
        """
        began = time.monotonic()
        try:
            yield
        except TimeoutError:
            raise self._over() from None
        finally:
            self._left -= time.monotonic() - began

    def got(self, count: int) -> None:
        """Note bytes that came."""
        self._got += count
        if self._is_body and self._got >= self._enough_bytes:
            self.begin_step()

    @property
    def _enough_bytes(self) -> int:
        return least_bytes(self.seconds / max(self._sharers(), 1))

    def _over(self) -> TimeoutError:
        return TooSlow("too slow") if self._got else TimeoutError("nothing came")
