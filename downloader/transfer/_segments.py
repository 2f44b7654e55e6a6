"""Which ranges of a file are still wanted, and which connection receives which. No I/O.

Segments are given out from the front of the file, so that the digest, which follows the first
bytes without a gap, is never far behind. At the end, those that would take longest are shared:
what a server has sent already of the part that another one gets comes for nothing, so one that a
fast connection holds is left to it.
"""

import threading
import time
from collections.abc import Callable, Iterable

from downloader.network.ranges import Range, merge

SMALLEST_SHARE_BYTES = 256 << 10
LARGE_BYTES = 2 << 20
FIRST_LENGTH_BYTES = 8 << 20
LEAST_SECONDS = 0.1
"""What would be there so soon is not shared: another connection begins no sooner."""
LONG_SECONDS = 0.5
PRIOR_SECONDS = 0.05
"""For so long a segment is taken to have come already, at the rate of them all: a rate that is
seen since a moment only is none."""
FIRST_RATE = 100e6
"""Bytes per second, while no rate is known: no connection is thought slow before it is seen."""


class Segment:
    """A range given to one connection; its end may move closer while bytes arrive.

    Attributes:
        position: Where the next byte goes.
        stop: Where it ends, for now.
        is_further: Whether it is another connection's than the file's first.
        is_dropped: Whether that connection was one too many, and ended.
        is_past: Whether its reply was read beyond its end, which a cut had moved: what follows
            there is no more what follows its position.
    """

    __slots__ = ("_began", "_start", "is_dropped", "is_further", "is_past", "position", "stop")

    def __init__(self, start: int, stop: int, now: float = 0.0) -> None:
        self.position, self.stop = start, stop
        self._start, self._began = start, now
        self.is_further = self.is_dropped = self.is_past = False

    @property
    def left(self) -> int:
        """How many bytes are still to come."""
        return self.stop - self.position

    def seconds_left(self, now: float, rate: float) -> float:
        """Return how long it will take at the rate that it has had.

        Args:
            now: Seconds on the clock of all segments.
            rate: What a connection gives as a rule, in bytes per second.
        """
        done = self.position - self._start + PRIOR_SECONDS * rate
        return self.left * (now - self._began + PRIOR_SECONDS) / done


class Segments:
    """The wanted ranges of a file of known size; safe to share between its connections.

    Attributes:
        length_bytes: How long a segment is, if there is enough.
        rate: What a connection gives as a rule, in bytes per second.
        least_seconds: What a segment must still take for another connection to get a part of it.
    """

    def __init__(
        self, size: int, present: Iterable[Range], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._changing = threading.Lock()
        self._free = _missing(size, present)
        self._held: list[Segment] = []
        self.length_bytes, self.least_seconds = FIRST_LENGTH_BYTES, LEAST_SECONDS
        self.rate = FIRST_RATE

    def take_rest(self) -> Segment:
        """Give out the first wanted range to its whole length; an empty one of an empty file."""
        with self._changing:
            return self._give(self._free.pop(0) if self._free else Range(0, 0))

    def take(self) -> Segment | None:
        """Give out the next segment; None when what is left is not worth a connection."""
        with self._changing:
            if not self._free:
                self._share()
            if not self._free:
                return None
            first = self._free.pop(0)
            cut = first.start + self.length_bytes
            if first.stop - cut >= SMALLEST_SHARE_BYTES:
                self._free.insert(0, Range(cut, first.stop))
                first = Range(first.start, cut)
            return self._give(first)

    def give_back(self, segment: Segment) -> None:
        """Take a segment back; what is missing of it is wanted again."""
        with self._changing:
            self._held.remove(segment)
            if segment.left > 0:
                self._free = merge([*self._free, Range(segment.position, segment.stop)])

    def rejoin(self) -> None:
        """Undo cuts: what is free goes to the segment before it, since no other will take it."""
        with self._changing:
            for segment in [held for held in self._held if not held.is_past]:
                for span in [span for span in self._free if span.start == segment.stop]:
                    segment.stop = span.stop
                    self._free.remove(span)

    def advance(self, segment: Segment, count: int) -> int:
        """Note bytes that arrived, and return how many of them no cut has given to another."""
        with self._changing:
            wanted = max(min(count, segment.left), 0)
            segment.position += wanted
            segment.is_past |= wanted < count
            return wanted

    def is_long(self, segment: Segment) -> bool:
        """Whether what is left of a segment is more than is on its way already, most likely."""
        with self._changing:
            return segment.seconds_left(self._clock(), self.rate) > LONG_SECONDS

    @property
    def is_large(self) -> bool:
        """Whether another connection may find work, if the first one proves slow."""
        with self._changing:
            most = max((segment.left for segment in self._held), default=0)
            return bool(self._free) or most >= LARGE_BYTES

    @property
    def is_shareable(self) -> bool:
        """Whether another connection would find work now."""
        with self._changing:
            return bool(self._free) or self._slowest() is not None

    def _give(self, span: Range) -> Segment:
        segment = Segment(*span, now=self._clock())
        self._held.append(segment)
        return segment

    def _slowest(self) -> Segment | None:
        """Return the held segment that will take longest; None when none is worth sharing."""
        now = self._clock()
        seconds = {
            segment: segment.seconds_left(now, self.rate)
            for segment in self._held
            if segment.left >= 2 * SMALLEST_SHARE_BYTES
        }
        slowest = max(seconds, key=seconds.__getitem__, default=None)
        is_worth = slowest is not None and seconds[slowest] >= self.least_seconds
        return slowest if is_worth else None

    def _share(self) -> None:
        """Cut the slowest held segment: behind one length, or in the middle near the end."""
        slowest = self._slowest()
        if slowest is not None:
            cut = slowest.position + min(self.length_bytes, slowest.left // 2)
            self._free = [Range(cut, slowest.stop)]
            slowest.stop = cut


def _missing(size: int, present: Iterable[Range]) -> list[Range]:
    missing, position = [], 0
    for start, stop in merge(present):
        if position < start:
            missing.append(Range(position, start))
        position = stop
    if position < size:
        missing.append(Range(position, size))
    return missing
