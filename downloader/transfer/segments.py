"""Which ranges of a file are still wanted, and which connection receives which. No I/O.

Segments are given out from the front of the file, so that the digest, which follows the first
bytes without a gap, is never far behind. One that a slow connection holds is shared at the end.
"""

import threading
from collections.abc import Iterable

from downloader.transfer.ranges import Range, merge

SMALLEST_SHARE_BYTES = 1 << 20
FIRST_LENGTH_BYTES = 8 << 20


class Segment:
    """A range given to one connection; its end may move closer while bytes arrive.

    Attributes:
        position: Where the next byte goes.
        stop: Where it ends, for now.
    """

    __slots__ = ("position", "stop")

    def __init__(self, start: int, stop: int) -> None:
        self.position, self.stop = start, stop

    @property
    def left(self) -> int:
        """How many bytes are still to come."""
        return self.stop - self.position


class Segments:
    """The wanted ranges of a file of known size; safe to share between its connections."""

    def __init__(self, size: int, present: Iterable[Range]) -> None:
        self._changing = threading.Lock()
        self._free = _missing(size, present)
        self._held: list[Segment] = []
        self.length_bytes = FIRST_LENGTH_BYTES

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
            for segment in self._held:
                for span in [span for span in self._free if span.start == segment.stop]:
                    segment.stop = span.stop
                    self._free.remove(span)

    def advance(self, segment: Segment, count: int) -> int:
        """Note bytes that arrived, and return how many of them no cut has given to another."""
        with self._changing:
            wanted = max(min(count, segment.left), 0)
            segment.position += wanted
            return wanted

    @property
    def is_shareable(self) -> bool:
        """Whether another connection would find work."""
        with self._changing:
            most = max((segment.left for segment in self._held), default=0)
            return bool(self._free) or most >= 2 * SMALLEST_SHARE_BYTES

    def _give(self, span: Range) -> Segment:
        segment = Segment(*span)
        self._held.append(segment)
        return segment

    def _share(self) -> None:
        """Cut the longest held segment: behind one length, or in the middle near the end."""
        longest = max(self._held, key=lambda segment: segment.left, default=None)
        if longest is None or longest.left < 2 * SMALLEST_SHARE_BYTES:
            return
        kept = min(self.length_bytes, longest.left // 2)
        cut = longest.position + kept
        self._free = [Range(cut, longest.stop)]
        longest.stop = cut


def _missing(size: int, present: Iterable[Range]) -> list[Range]:
    missing, position = [], 0
    for start, stop in merge(present):
        if position < start:
            missing.append(Range(position, start))
        position = stop
    if position < size:
        missing.append(Range(position, size))
    return missing
