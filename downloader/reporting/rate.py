"""How fast bytes come, and how long the rest will take. Pure: the caller brings the clock."""

from collections import deque

WINDOW_SECONDS = 8.0
"""Long enough to be calm, short enough to tell that something changed."""
LEAST_SECONDS = 0.5
"""Before that a rate would be noise."""


class Rate:
    """A rate over the last seconds.

    Args:
        began: The clock's time when counting began.
    """

    def __init__(self, began: float) -> None:
        self._samples = deque([(began, 0)])

    def per_second(self, now: float, moved_bytes: int) -> float:
        """Note how many bytes came until now, and return the rate.

        Args:
            now: The clock's time in seconds; never earlier than at the last call.
            moved_bytes: All that came over the wire since counting began.
        """
        samples = self._samples
        samples.append((now, moved_bytes))
        while len(samples) > 2 and now - samples[1][0] >= WINDOW_SECONDS:  # noqa: PLR2004
            samples.popleft()
        began, before = samples[0]
        seconds = now - began
        return (moved_bytes - before) / seconds if seconds >= LEAST_SECONDS else 0.0


def seconds_left(missing_bytes: int, per_second: float) -> float | None:
    """Return how long the rest takes at this rate, None where nothing moves."""
    if missing_bytes <= 0:
        return 0.0
    return missing_bytes / per_second if per_second >= 1 else None
