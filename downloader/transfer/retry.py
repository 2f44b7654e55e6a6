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


def backoff_seconds(failures: int, jitter: float) -> float:
    """Return an exponential delay, between half and the whole of its bound."""
    doublings = min(max(failures - 1, 0), 16)
    bound: float = FIRST_DELAY_SECONDS * 2**doublings
    return min(bound, LONGEST_DELAY_SECONDS) * (0.5 + 0.5 * jitter)
