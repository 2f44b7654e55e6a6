"""The bytes of replies into a partial, along the segments that they were asked for."""

import threading
import time
from http import HTTPStatus

from downloader.disk.hashing import BUFFER_BYTES
from downloader.errors import Interrupted
from downloader.progress import Observer
from downloader.transfer.expectation import Expectation
from downloader.transfer.line import Line
from downloader.transfer.partial import Partial
from downloader.transfer.pool import Host
from downloader.transfer.refusals import cut_short
from downloader.transfer.reply import Reply
from downloader.transfer.segments import Segment, Segments

ENDLESS = 1 << 62
"""Where a file of unknown length ends, for the arithmetic."""
FEW_STREAMS = 4
SHARED_BYTES = 256 << 10
"""What each of more connections than that reads at once."""


class Drain:
    """Receives for one attempt; shared by its connections.

    Attributes:
        partial: Where the bytes go.
        segments: What is still wanted of the file.
        is_over: Set when the attempt is to end.
        moved_bytes: How many bytes came so far.
    """

    def __init__(
        self,
        line: Line,
        host: Host,
        expectation: Expectation,
        observer: Observer,
        partial: Partial,
    ) -> None:
        self._line, self._host = line, host
        self._expectation, self._observer = expectation, observer
        self.partial = partial
        size = partial.binding.size
        self.segments = Segments(ENDLESS if size is None else size, partial.ranges)
        self.is_over = threading.Event()
        self.moved_bytes = 0
        self._counting = threading.Lock()

    def write(self, reply: Reply, segment: Segment, stop: int | None) -> None:
        """Write the reply's bytes along the segment, which may be cut shorter meanwhile.

        Args:
            reply: Whose body.
            segment: Where its bytes belong.
            stop: Where the body ends, if it keeps its promise; None when it made none.

        Raises:
            TransferError: The body broke off, or the run was stopped.
            SizeMismatch: It has more or fewer bytes than the file.
            StoreError: The disk refused them.
        """
        buffer = self.partial.buffer()
        if reply.head.status == HTTPStatus.OK:
            buffer = self._write_start(buffer, segment, stop)
        end = ENDLESS if stop is None else stop
        while not self.is_over.is_set():
            left = min(segment.stop, end) - segment.position
            if left <= 0:
                break
            began = time.monotonic()
            count = reply.fill(buffer[: min(left, self._most_at_once)])
            self._host.moved(count, time.monotonic() - began)
            if not count or self.is_over.is_set():  # what came after an abort is not believed
                break
            buffer = self._put(buffer, count, segment)
            if self._is_dropped(segment):
                return
        if self._line.stop.is_set():
            raise Interrupted(f"{self.partial.binding.path} was interrupted.")
        if stop is not None and not self.is_over.is_set():
            self._check_end(reply, segment, stop, buffer)

    @property
    def _most_at_once(self) -> int:
        """How much to read at once: many connections with large buffers would fill the memory."""
        many = BUFFER_BYTES if self._host.streams <= FEW_STREAMS else SHARED_BYTES
        return min(self._line.throttle.slice_bytes, many)

    def _is_dropped(self, segment: Segment) -> bool:
        """End a further connection that is one too many, unless it is done soon."""
        if segment.is_further and self.segments.is_long(segment):
            segment.is_dropped = self._host.drop_surplus()
        return segment.is_dropped

    def _write_start(self, buffer: memoryview, segment: Segment, stop: int | None) -> memoryview:
        start = self._expectation.first_bytes
        if stop is not None and len(start) > stop:
            raise self._expectation.wrong_size(len(start), stop)
        buffer[: len(start)] = start
        return self._put(buffer, len(start), segment) if start else buffer

    def _put(self, buffer: memoryview, count: int, segment: Segment) -> memoryview:
        if self._line.stop.is_set():
            raise Interrupted(f"{self.partial.binding.path} was interrupted.")
        position = segment.position
        wanted = self.segments.advance(segment, count)
        with self._counting:
            self.moved_bytes += count
        # What a cut gave to another connection is left to that one: each byte is written once.
        spare = self.partial.put(position, buffer, wanted) if wanted else buffer
        if self.partial.judge.is_hopeless:
            raise self._expectation.wrong_pieces([])
        self._observer.moved(wanted)
        self._line.throttle.pay(count, self._line.stop)
        return spare

    def _check_end(self, reply: Reply, segment: Segment, stop: int, buffer: memoryview) -> None:
        """Tell a body that ended where it promised from one that broke off or went on.

        Raises:
            ConnectionLost: It ended early.
            SizeMismatch: It has more bytes than the file.
        """
        if segment.position < min(stop, segment.stop):
            if reply.head.is_chunked and reply.head.status == HTTPStatus.OK:
                raise self._expectation.wrong_size(segment.position, stop)
            raise cut_short(reply.head.place, segment.position, stop)
        if segment.position >= stop and reply.readinto(buffer[:1]):
            raise self._expectation.wrong_size(stop + 1, stop)
