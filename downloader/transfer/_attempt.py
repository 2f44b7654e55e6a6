"""Make one attempt at a file: ask for what is missing, check the replies, and write their bytes.

The first reply decides: a 200 is the whole file, a 206 the first gap. If it tells the file's length
and version, further connections may take segments of it meanwhile: they are opened as long as they
pay off, and end when the file is complete.
"""

import functools
import threading
import time
from collections import Counter
from collections.abc import Callable
from http import HTTPStatus
from types import TracebackType
from typing import Self

from downloader.artifact import Artifact
from downloader.errors import ModelmakeError, ServerBusy, SourceError, TooManyOpen, TransferError
from downloader.fs.digests import BUFFER_BYTES
from downloader.network.client import Calls, Head, Reply, cut_short
from downloader.network.ranges import Range, first_gap, total
from downloader.progress.events import Observer
from downloader.transfer._concurrency import Host, Line
from downloader.transfer._expected import (
    Expectation,
    UnusableRange,
    accepted_range,
    changed,
    conditions,
    is_whole_by_416,
)
from downloader.transfer._journal import Binding
from downloader.transfer._segments import Segment, Segments
from downloader.transfer.partial import Partial
from downloader.urls import Location, redact

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
        self._line.stop.check()
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
        self._line.stop.check()
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


class Crew:
    """Receives a file's segments on several connections; a context manager that ends them all.

    Args:
        host: Whose connections they are.
        segments: The file's work.
        receive: Receives one segment, or raises; called from several threads.
        is_over: Set when the attempt is to end; set here when it did.
        is_open: Whether others may take part at all.
    """

    def __init__(
        self,
        host: Host,
        segments: Segments,
        receive: Callable[[Segment], None],
        is_over: threading.Event,
        *,
        is_open: bool,
    ) -> None:
        self._host, self._segments, self._receive = host, segments, receive
        self._is_over = is_over
        self._is_open = is_open and segments.is_large
        self._is_offered = self._is_open
        self._helpers: list[threading.Thread] = []
        self._failure: Exception | None = None
        self._growing = threading.Lock()
        self._ending = threading.Condition()
        self._helping = 0

    def work(self) -> None:
        """Receive segments in this thread until no more is to be had, then wait for the others.

        Raises:
            ModelmakeError: This thread's connection failed, or another's failed for the file.
        """
        while not self._is_over.is_set() and (segment := self._take()):
            start = segment.position
            try:
                self._one(segment)
            except (SourceError, TransferError, TooManyOpen) as error:
                if not (error.retryable and self._waits_for_helper(error)):
                    raise
                if segment.position == start:
                    self._host.refused()
        self._join()
        if self._failure:
            raise self._failure

    def grow(self) -> bool:
        """Open a further connection, where there is work for it and the host allows it."""
        with self._growing:
            is_useful = self._is_open and not self._is_over.is_set()
            if not (is_useful and self._segments.is_shareable and self._host.try_enter()):
                return False
            helper = threading.Thread(target=self._help, name="modelmake-range", daemon=True)
            with self._ending:
                self._helping += 1
            try:
                helper.start()
            except RuntimeError:  # the system has no thread left
                self._is_open = False
                self._host.leave_further()
                with self._ending:
                    self._helping -= 1
                return False
            self._helpers.append(helper)
            return True

    def _take(self) -> Segment | None:
        self._host.advises(self._segments)
        return self._segments.take()

    def _waits_for_helper(self, error: ModelmakeError) -> bool:
        """Wait until a helper ends, whose place this thread may have; False where there is none.

        Where the server said how long to wait, helpers may go on meanwhile, and no longer: then
        the whole attempt waits.
        """
        asked = error.wait_seconds if isinstance(error, ServerBusy) else None
        until = time.monotonic() + (asked or 0.0)
        with self._ending:
            before = self._helping
            self._ending.wait_for(lambda: self._helping < before or not self._helping)
            self._ending.wait_for(lambda: not self._helping, max(until - time.monotonic(), 0.0))
            return before > 0 and time.monotonic() >= until

    def _join(self) -> None:
        with self._growing:
            helpers = tuple(self._helpers)
        for helper in helpers:
            helper.join()

    def _help(self) -> None:
        """Receive segments; a failure here is the file's only where it says the file changed."""
        has_left = False
        try:
            while not (has_left or self._is_over.is_set()):
                has_left = self._host.drop_surplus()
                segment = None if has_left else self._take()
                if segment is None:
                    break
                has_left = self._helped(segment)
        except _GivenUp:
            pass
        except Exception as error:  # noqa: BLE001 - told by the file's own thread, whatever it is
            self._failure = error
            self._is_over.set()
        finally:
            if not has_left:
                self._host.leave_further()
            with self._ending:
                self._helping -= 1
                self._ending.notify_all()

    def _helped(self, segment: Segment) -> bool:
        """Receive one segment, or give it back: the file's first connection has the patience.

        Returns:
            Whether the connection was dropped meanwhile, as one too many.
        """
        start = segment.position
        segment.is_further = True
        try:
            self._one(segment)
        except (SourceError, TransferError, TooManyOpen) as error:
            if not error.retryable:  # no ranges of this file for others, or no socket
                self._is_open = False
                self._segments.rejoin()
            elif segment.position == start:
                self._host.refused()
            raise _GivenUp from error
        return segment.is_dropped

    def _one(self, segment: Segment) -> None:
        try:
            self._receive(segment)
        finally:
            self._segments.give_back(segment)

    def __enter__(self) -> Self:
        if self._is_offered:
            self._host.offers(self.grow)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._is_offered:
            self._host.withdraws(self.grow)
        with self._growing:
            self._is_over.set()
        self._join()


class _GivenUp(Exception):  # noqa: N818
    """A helper ends, and its segment is wanted again."""


TRIES = 3
"""How often one place may give a piece wrong."""
REPLAN = frozenset({HTTPStatus.PRECONDITION_FAILED, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE})


class Receiver:
    """Receives one artifact from one location, over as many attempts as it takes."""

    def __init__(
        self, line: Line, artifact: Artifact, location: Location, observer: Observer
    ) -> None:
        self._line, self._artifact, self._location = line, artifact, location
        self._host = line.pool.host(location.url)
        self._expectation = Expectation(artifact, redact(location.url))
        self.observer = observer
        self._drains: list[Drain] = []
        self._may_share = True
        self._calls = Calls()
        self._wrong, self._is_again = Counter[Range](), False
        self._dropped_bytes = 0

    @property
    def moved_bytes(self) -> int:
        """Bytes of the file that came over the wire so far."""
        return sum(drain.moved_bytes for drain in self._drains)

    def progress_bytes(self, partial: Partial) -> int:
        """Return how far it is: bytes that are there, and those of pieces that proved wrong."""
        return partial.present + self._dropped_bytes

    def receive(self, partial: Partial) -> None:
        """Bring the partial to its full length.

        Raises:
            ModelmakeError: This attempt failed; what it wrote is good as far as it goes.
        """
        if partial.ranges and not partial.binding.can_resume:
            partial.reset()  # nothing could tell whether more bytes are of the same version
        if partial.is_complete and self._is_right(partial):
            return
        self._host.enter(self._line.stop)
        try:
            while not self._is_complete_after_one_reply(partial):
                pass  # a 206 may be shorter than was asked for (RFC 9110 §15.3.7)
        except TransferError as error:
            self._line.stop.check()
            if isinstance(error, ServerBusy):
                self._host.refused()
            raise
        finally:
            self._host.leave()

    def verify(self, partial: Partial) -> None:
        """Compare what came with what is expected.

        Raises:
            IntegrityError: It is not the file.
            StoreError: It could not be read back.
        """
        partial.settle()
        self._expectation.verify(partial)

    def _is_complete_after_one_reply(self, partial: Partial) -> bool:
        gap = first_gap(partial.ranges, partial.binding.size or 0)
        self._calls = Calls()
        with self._ask(gap, partial.binding) as reply:
            status = reply.head.status
            if status == HTTPStatus.OK:
                self._begin(reply, partial)
            elif status == HTTPStatus.PARTIAL_CONTENT and partial.ranges:
                self._take_range(reply.head, partial, gap)
            elif is_whole_by_416(reply.head, partial.have, partial.binding.size):
                return True
            else:
                raise self._refused(reply, partial)
            self.observer.started(partial.present, partial.binding.size)
            return self._receive_from(reply, partial)

    def _begin(self, reply: Reply, partial: Partial) -> None:
        """Take a 200: the whole file, or the whole again in place of a wrong piece.

        Raises:
            ModelmakeError: It is not the file.
        """
        self._is_again = bool(self._wrong)
        self._wrong.clear()
        self._expectation.begin(reply, partial, self._line.throttle.slice_bytes)

    def _is_right(self, partial: Partial) -> bool:
        """Judge the pieces of a whole file; those that proved wrong are dropped, to be asked for.

        Raises:
            DigestMismatch: This place gave the same piece wrong too often: where it knows no
                ranges, in the whole file a second time.
            StoreError: What was written cannot be read back.
        """
        if not partial.judge.has_pieces:
            return True
        partial.settle()
        if partial.judge.is_hopeless:
            raise self._expectation.wrong_pieces([])
        wrong = partial.drop_wrong()
        self._wrong.update(wrong)
        self._dropped_bytes += total(wrong)
        if often := [span for span in wrong if self._is_again or self._wrong[span] >= TRIES]:
            raise self._expectation.wrong_pieces(often)
        return not wrong

    def _ask(self, gap: Range, binding: Binding) -> Reply:
        """Ask for the gap, and count the reply to the host as long as it is open."""
        began = time.monotonic()
        wanted = conditions(gap, binding)
        reply = self._line.transport.open(
            self._location, wanted, is_pinned=self._artifact.is_pinned, calls=self._calls
        )
        if reply.head.status in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
            self._host.began(time.monotonic() - began)
            reply.when_closed(self._host.ended)
        return reply

    def _take_range(self, head: Head, partial: Partial, gap: Range) -> None:
        """Take a 206 for the first gap.

        Raises:
            UnusableRange: It is not what was asked for.
            RemoteChanged: It is of another version.
        """
        _, total = accepted_range(head, gap, partial.binding)
        size = partial.binding.size
        partial.bind(partial.binding.validator, total if size is None else size)
        partial.is_joined = True
        self._expectation.learn(head)

    def _refused(self, reply: Reply, partial: Partial) -> ModelmakeError:
        """Return the error for a reply that is no file."""
        if reply.head.status in REPLAN and partial.ranges:
            return changed(reply.head)
        return reply.refusal(self._location)

    def _receive_from(self, reply: Reply, partial: Partial) -> bool:
        """Receive the file from this reply on, and return whether it is all there."""
        size = partial.binding.size
        drain = Drain(self._line, self._host, self._expectation, self.observer, partial)
        self._drains.append(drain)
        first = drain.segments.take_rest()
        receive = functools.partial(self._receive_segment, drain)
        is_open = size is not None and partial.binding.can_resume and self._gives_ranges(reply.head)
        with Crew(self._host, drain.segments, receive, drain.is_over, is_open=is_open) as crew:
            try:
                drain.write(reply, first, _stop_of(reply.head, size))
                drain.segments.give_back(first)
                reply.close()
                if size is not None:
                    crew.work()
            except BaseException:
                drain.is_over.set()
                self._calls.hang_up()
                raise
        is_whole_reply = reply.head.status == HTTPStatus.OK
        return is_whole_reply if size is None else partial.have == size and self._is_right(partial)

    def _gives_ranges(self, head: Head) -> bool:
        """Whether further connections may be tried: promised, and not yet found to be untrue.

        Azure's oldest dialect promises nothing, and keeps more; Azure names itself in its headers.
        """
        is_promised = head.status == HTTPStatus.PARTIAL_CONTENT or (
            head.first("Accept-Ranges").lower() == "bytes" or bool(head.first("x-ms-version"))
        )
        return is_promised and self._may_share

    def _receive_segment(self, drain: Drain, segment: Segment) -> None:
        """Ask for one segment and receive it.

        Raises:
            ModelmakeError: It did not come, or not as it was asked for.
        """
        partial = drain.partial
        gap = Range(segment.position, segment.stop)
        with self._ask(gap, partial.binding) as reply:
            if reply.head.status == HTTPStatus.OK:
                self._may_share = False
                raise UnusableRange(f"{reply.head.place} answers a range with the whole file.")
            if reply.head.status != HTTPStatus.PARTIAL_CONTENT:
                raise self._refused(reply, partial)
            try:
                span, _ = accepted_range(reply.head, gap, partial.binding)
            except UnusableRange:
                self._may_share = False
                raise
            partial.is_joined = True
            drain.write(reply, segment, span.stop)


def _stop_of(head: Head, size: int | None) -> int | None:
    """Return where the first reply's body ends in the file, as far as it tells."""
    return head.content_range[0].stop if head.status == HTTPStatus.PARTIAL_CONTENT else size
