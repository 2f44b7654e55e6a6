"""When to try again, and after how long. Pure policy: no clock, no sleep, no network."""

from dataclasses import dataclass

from downloader.errors import ModelmakeError, ServerBusy

FIRST_DELAY_SECONDS = 0.5
LONGEST_DELAY_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How patient to be.

    Attributes:
        retries: Attempts in a row that may bring no new byte.
        max_wait_seconds: The longest Retry-After that is waited for.
    """

    retries: int
    max_wait_seconds: float

    def delay_seconds(self, error: ModelmakeError, failures: int, jitter: float) -> float | None:
        """Return how long to wait before the next attempt, or None to give up.

        Args:
            error: What ended the attempt.
            failures: Attempts in a row without progress, this one included; 0 when it made some.
            jitter: A random number in [0, 1), so that a matrix of jobs does not come back at once.
        """
        if not error.retryable or failures >= self.retries:
            return None
        asked = error.wait_seconds if isinstance(error, ServerBusy) else None
        if asked is None:
            return backoff_seconds(failures, jitter)
        if asked > self.max_wait_seconds:
            return None
        return max(asked, 0.0) * (1 + 0.1 * jitter)


class Tally:
    """Counts attempts in a row without progress.

    A few bytes are none, else a server that drips would be asked for ever; nor are bytes that came
    before and were thrown away, else one without ranges that always breaks off would be.

    Args:
        present: Bytes that are there before the first attempt.
        least: How many more of them are progress.
    """

    def __init__(self, present: int, least: int) -> None:
        self._furthest, self._least = present, least
        self._failures = 0

    def failed(self, present: int) -> int:
        """Note an attempt that failed, and return how many did in a row; 0 after progress."""
        if present >= self._furthest + self._least:
            self._furthest, self._failures = present, 0
        else:
            self._failures += 1
        return self._failures


def backoff_seconds(failures: int, jitter: float) -> float:
    """Return an exponential delay, between half and the whole of its bound."""
    doublings = min(max(failures - 1, 0), 16)
    bound: float = FIRST_DELAY_SECONDS * 2**doublings
    return min(bound, LONGEST_DELAY_SECONDS) * (0.5 + 0.5 * jitter)
