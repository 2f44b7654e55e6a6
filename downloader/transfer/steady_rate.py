"""The rate at which a host's bytes arrive, told as soon as it is steady. Pure: others have clocks.

Time is cut into slices, each at least a round trip. Two slices in a row with about the same rate
are a measurement; a rate that still rises (TCP's slow start doubles it every round trip, RFC 5681)
or comes in bursts is measured longer, and then by its later half.
"""

from dataclasses import dataclass

SHORTEST_SLICE_SECONDS = 0.01
LONGEST_SLICE_SECONDS = 0.25
MOST_SLICES = 8
STEADY = 0.15
"""By which part of the larger of two rates they may differ and be about the same."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What arrived over some time.

    Attributes:
        count: How many bytes.
        seconds: How long it took.
        streams: How many replies were open meanwhile, on average.
        waits: What part of the time they waited for bytes: the rest is this machine's own work.
    """

    count: int
    seconds: float
    streams: float
    waits: float = 1.0

    @property
    def rate(self) -> float:
        """Bytes per second, of all replies together."""
        return self.count / self.seconds

    def __add__(self, other: "Measured") -> "Measured":
        """Return both as one."""
        seconds = self.seconds + other.seconds
        mine, others = self.seconds / seconds, other.seconds / seconds
        return Measured(
            count=self.count + other.count,
            seconds=seconds,
            streams=mine * self.streams + others * other.streams,
            waits=mine * self.waits + others * other.waits,
        )


class SteadyRate:
    """Measures anew from `begin` on."""

    def __init__(self, now: float) -> None:
        self._streams = 0
        self._streamed_seconds, self._waited_seconds = 0.0, 0.0
        self._noted_at = now
        self.begin(now)

    def begin(self, now: float) -> None:
        """Forget what was seen so far."""
        self._slices: list[Measured] = []
        self._begin_slice(now)

    def moved(self, count: int, waited_seconds: float) -> None:
        """Note bytes that arrived, and how long that took."""
        self._count += count  # two threads may lose one count: it is a measurement
        self._waited_seconds += waited_seconds

    def opened(self, change: int, now: float) -> None:
        """Note that so many replies more are open, or fewer."""
        self._streamed_seconds += self._streams * (now - self._noted_at)
        self._streams += change
        self._noted_at = now

    @property
    def streams(self) -> int:
        """How many replies are open."""
        return self._streams

    def look(self, now: float, round_trip_seconds: float) -> Measured | None:
        """Return what is measured now; None when it has to go on.

        Args:
            now: Seconds on the clock of all calls.
            round_trip_seconds: How long the host takes to answer.
        """
        self.opened(0, now)
        elapsed = now - self._slice_began
        if elapsed < slice_seconds(round_trip_seconds):
            return None
        streamed = self._streamed_seconds
        waits = min(self._waited_seconds / streamed, 1.0) if streamed and self._count else 1.0
        seen = Measured(self._count, elapsed, streamed / elapsed, waits)
        self._begin_slice(now)
        self._slices.append(seen)
        return self._settled()

    def _settled(self) -> Measured | None:
        if len(self._slices) > 1 and _are_alike(*self._slices[-2:]):
            return self._slices[-2] + self._slices[-1]
        if len(self._slices) < MOST_SLICES:
            return None
        first, *later = self._slices[MOST_SLICES // 2 :]
        return sum(later, start=first)

    def _begin_slice(self, now: float) -> None:
        self._slice_began = self._noted_at = now
        self._count, self._streamed_seconds, self._waited_seconds = 0, 0.0, 0.0


def _are_alike(one: Measured, two: Measured) -> bool:
    """Whether two slices show the same rate; silence may be that between two bursts."""
    slow, fast = sorted((one.rate, two.rate))
    return slow > 0 and fast - slow <= STEADY * fast


def slice_seconds(round_trip_seconds: float) -> float:
    """Return how long a slice is where an answer takes so long."""
    return min(max(round_trip_seconds, SHORTEST_SLICE_SECONDS), LONGEST_SLICE_SECONDS)
