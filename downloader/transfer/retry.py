"""When to try again, and after how long. Pure policy: no clock, no sleep, no network.

A matrix of CI jobs starts at the same second and is refused at the same second, each with the same
Retry-After. RFC 9110 (10.2.3) lets a server say how long to wait, not who may come first: so each
adds a random part of its own, as wide as its own backoff, which doubles while they are refused.
Nothing is put off before the first request: a run that has nothing to fetch, or a server with room
for all, would pay for it, and the first refusal spreads the rest.
"""

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
        asked = max(asked, 0.0)
        return asked + max(0.1 * asked, _bound_seconds(failures)) * jitter


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
    return _bound_seconds(failures) * (0.5 + 0.5 * jitter)


def _bound_seconds(failures: int) -> float:
    doublings = min(max(failures - 1, 0), 16)
    bound: float = FIRST_DELAY_SECONDS * 2**doublings
    return min(bound, LONGEST_DELAY_SECONDS)
