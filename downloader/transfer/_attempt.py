"""Receive one file from one location: ask for what is missing, check replies, write their bytes.

The first reply decides: a 200 is the whole file, a 206 the first gap. If it tells the file's length
and version, further connections may take segments of it meanwhile: they are opened as long as they
pay off, and end when the file is complete.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from types import TracebackType
from typing import TYPE_CHECKING, Self

from downloader.artifact import Artifact, bytes_text
from downloader.errors import (
    BadResponse,
    IntegrityError,
    LinkExpired,
    ModelmakeError,
    RemoteChanged,
    ServerBusy,
    SourceError,
    StoreError,
    TooManyOpen,
    TransferError,
)
from downloader.fs.run_token import leave
from downloader.network.client import CancelScope, Client, Head, Reply, cut_short, is_strong
from downloader.network.failures import Retries
from downloader.network.ranges import Range, first_gap, total
from downloader.progress.events import Observer
from downloader.transfer._concurrency import HostLimiter
from downloader.transfer._expected import (
    MOST_START_BYTES,
    START_BYTES,
    Expectation,
    UnusableRange,
    accepted_range,
    changed,
    conditions,
    is_whole_by_416,
    promises_ranges,
    refuse_coding,
    replaced,
)
from downloader.transfer._segments import SMALLEST_SHARE_BYTES, Segment, Segments
from downloader.transfer._verifier import THREADED_BYTES
from downloader.transfer.partial import Partial
from downloader.urls import Location

if TYPE_CHECKING:
    from downloader.transfer._exchange import Exchange

ENDLESS = 1 << 62
"""End of a file of unknown length, for the arithmetic."""


class Connections:
    """Receives a file's segments on several connections; a context manager that ends them all.

    Args:
        limiter: Says how many there may be.
        segments: The file's work.
        receive: Receives one segment, or raises; called from several threads.
        is_open: Whether there may be further ones at all.

    Attributes:
        segments: As above.
        is_over: Set when the attempt is to end.
        is_refused: Whether a further connection got what the first one did not: an error, another
            version, or nothing. Then this file is no longer shared.
    """

    def __init__(
        self,
        limiter: HostLimiter,
        segments: Segments,
        receive: Callable[[Segment], None],
        *,
        is_open: bool,
    ) -> None:
        self._limiter, self.segments, self._receive = limiter, segments, receive
        self.is_over = threading.Event()
        self._is_open = is_open and segments.is_large
        self._is_registered = self._is_open
        self.is_refused = False
        self._workers: list[threading.Thread] = []
        self._failure: Exception | None = None
        self._growing = threading.Lock()
        self._ending = threading.Condition()
        self._working = 0

    def work(self) -> None:
        """Receive segments in this thread until no more is to be had, then wait for the others.

        Raises:
            ModelmakeError: This thread's connection failed, or another's failed for the file.
        """
        while not self.is_over.is_set() and (segment := self._take()):
            start = segment.position
            try:
                self._one(segment)
            except (SourceError, TransferError, TooManyOpen) as error:
                if not (error.retryable and self._waits_for_worker(error)):
                    raise
                if segment.position == start:
                    self._limiter.refused()
        self._join()
        failure, self._failure = self._failure, None
        try:
            if failure:
                raise failure
        finally:
            del failure  # its traceback holds this frame: a cycle

    def open_further(self) -> bool:
        """Open a further connection, if there is work for it and the host allows it."""
        with self._growing:
            is_useful = self._is_open and not self.is_over.is_set()
            if not (is_useful and self.segments.is_shareable and self._limiter.try_acquire()):
                return False
            worker = threading.Thread(
                target=self._work_further, name="modelmake-range", daemon=True
            )
            with self._ending:
                self._working += 1
            try:
                worker.start()
            except RuntimeError:  # the system has no thread left
                self._is_open = False
                self._limiter.release(is_further=True)
                with self._ending:
                    self._working -= 1
                return False
            self._workers.append(worker)
            return True

    def _take(self) -> Segment | None:
        self._limiter.size_segments(self.segments)
        return self.segments.take()

    def _waits_for_worker(self, error: ModelmakeError) -> bool:
        """Wait until a worker ends, whose place this thread may have; False if there is none.

        If the server said how long to wait, workers may continue meanwhile, and no longer: then
        the whole attempt waits.
        """
        asked = error.wait_seconds if isinstance(error, ServerBusy) else None
        until = time.monotonic() + (asked or 0.0)
        with self._ending:
            before = self._working
            self._ending.wait_for(lambda: self._working < before or not self._working)
            self._ending.wait_for(lambda: not self._working, max(until - time.monotonic(), 0.0))
            return before > 0 and time.monotonic() >= until

    def _join(self) -> None:
        with self._growing:
            workers = tuple(self._workers)
        for worker in workers:
            worker.join()

    def _work_further(self) -> None:
        """Receive segments; a server's failure here is never the file's."""
        is_released = False
        try:
            while self._is_open and not (is_released or self.is_over.is_set()):
                is_released = self._limiter.drop_surplus()
                segment = None if is_released else self._take()
                if segment is None:
                    break
                is_released = self._receive_further(segment)
        except _GaveUp:
            pass
        except Exception as error:  # noqa: BLE001 - the file's own thread raises it
            self._failure = error  # the disk's, or a bug
            self.is_over.set()
        finally:
            if not is_released:
                self._limiter.release(is_further=True)
            with self._ending:
                self._working -= 1
                self._ending.notify_all()

    def _receive_further(self, segment: Segment) -> bool:
        """Receive one segment, or give it back: the file's first connection has the patience.

        Returns:
            Whether the connection was dropped meanwhile, as one too many.
        """
        start = segment.position
        segment.is_further = True
        try:
            self._one(segment)
        except ModelmakeError as error:
            if isinstance(error, StoreError) and not isinstance(error, TooManyOpen):
                raise
            if isinstance(error, ServerBusy) and segment.position == start:
                self._limiter.refused()
            is_transient = error.retryable and segment.position > start
            is_transient |= isinstance(error, (ServerBusy, LinkExpired)) or self.is_over.is_set()
            if not is_transient:
                self._is_open, self.is_refused = False, True
                self.segments.rejoin()
            raise _GaveUp from error
        return segment.is_dropped

    def _one(self, segment: Segment) -> None:
        try:
            self._receive(segment)
        finally:
            self.segments.give_back(segment)

    def __enter__(self) -> Self:
        if self._is_registered:
            self._limiter.register(self.open_further)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._is_registered:
            self._limiter.unregister(self.open_further)
        with self._growing:
            self.is_over.set()
        self._join()
        del self._receive  # the download's own: a cycle would keep its buffers for the collector


class _GaveUp(Exception):  # noqa: N818
    """A further connection ends, and its segment is wanted again."""


WHOLE = Range(0, 0)
"""What is asked for without a Range header."""
TRIES = 3
"""Number of times that one location may send a wrong piece."""
OTHER_VERSION = frozenset(
    {HTTPStatus.PRECONDITION_FAILED, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE}
)
"""Statuses for a range of a version that the server does not have."""


class Download:
    """One artifact from one location, over as many attempts as it takes.

    Args:
        transport: Opens the connections.
        limiter: Says how many there may be.
        artifact: What is wanted.
        location: Where it comes from.
        observer: Told how it goes.
        partial: Where the bytes go.
        exchange: With peers that may have pieces of the file, until it ends; None without any.

    Attributes:
        moved_bytes: Bytes of the file that were downloaded so far.
    """

    _connections: Connections
    _scope: CancelScope

    def __init__(  # noqa: PLR0913 - each is another part of it
        self,
        *,
        transport: Client,
        limiter: HostLimiter,
        artifact: Artifact,
        location: Location,
        observer: Observer,
        partial: Partial,
        exchange: "Exchange | None" = None,
    ) -> None:
        self.transport, self.limiter = transport, limiter
        self.artifact, self.location = artifact, location
        self.observer, self.partial, self.exchange = observer, partial, exchange
        self.moved_bytes = self._dropped_bytes = 0
        self._expectation = Expectation(artifact, location)
        self._stop = transport.stop
        self._counting = threading.Lock()
        self._may_share = True
        self._is_doubted = self._is_from_start = self._is_again = False
        self._resumed_bytes = partial.present
        self._wrong = Counter[Range]()

    def run(self) -> None:
        """Fill the partial with verified bytes, starting over once if versions may be mixed.

        One server may be many machines. So another version is believed only if the same request,
        with no other beside it, shows one twice.

        Raises:
            IntegrityError: A whole, unmixed download has the wrong bytes.
            ModelmakeError: The bytes did not arrive: it failed for good, or too often in a row.
        """
        partial, may_start_over = self.partial, True
        retries = self._retries()
        while True:
            try:
                with retries:
                    try:
                        self._attempt()
                    finally:
                        retries.present = self._present_bytes
                    partial.verifier.finish()
                    self._expectation.verify(partial)
                    return
            except (IntegrityError, UnusableRange) as error:
                if isinstance(error, RemoteChanged) and not self._is_doubted:
                    self._is_doubted, self._may_share = True, False
                    continue
                is_joined = partial.is_joined and not partial.verifier.has_pieces
                is_mixed = is_joined or isinstance(error, (RemoteChanged, UnusableRange))
                if not (may_start_over and is_mixed):
                    raise
                self._start_over(f"{error}")
                if not isinstance(error, (RemoteChanged, UnusableRange)):
                    partial.reset()  # proved wrong: a kill must not leave it to a later run
                retries, may_start_over = self._retries(), False

    @property
    def etag(self) -> str | None:
        """The validator that the location gave."""
        return self._expectation.etag

    @property
    def md5(self) -> str | None:
        """The published MD5 that the bytes were compared with, in hex; None if it was another."""
        is_otherwise_known = self.artifact.is_pinned or self.artifact.git_sha1
        return None if is_otherwise_known else self._expectation.md5

    def _start_over(self, why: str) -> None:
        """Ask for the whole file next, on one connection; what there is goes once that comes."""
        self._leave_peers()
        self._tell_lost(why)
        self._is_from_start, self._may_share, self._is_doubted = True, False, False

    def _tell_lost(self, why: str) -> None:
        """Say that what an earlier run left is useless; what came in this run is not reported."""
        if self._resumed_bytes:
            count, self._resumed_bytes = bytes_text(self._resumed_bytes), 0
            self.observer.notice(f"cannot resume, downloads {count} again: {why}")

    def _retries(self) -> Retries:
        """Return what tries again; bytes of pieces that proved wrong are progress too."""
        return self.transport.retries(
            lambda error, *next_one: self.observer.waiting(str(error), *next_one),
            self._present_bytes,
            self.location.retries,
        )

    @property
    def _present_bytes(self) -> int:
        """How many bytes count as progress: those of the download that goes on."""
        return 0 if self._is_from_start else self.partial.present + self._dropped_bytes

    def _attempt(self) -> None:
        """Bring the partial to its full length.

        Raises:
            ModelmakeError: This attempt failed; what it wrote is good as far as it goes.
        """
        partial = self.partial
        if partial.ranges and not partial.binding.can_resume:
            partial.reset()  # nothing could tell whether more bytes are of the same version
        while self.exchange and (gap := self.exchange.next_gap(self._stop.check)):
            with self._at_host():
                self._is_complete_after_one_reply(gap)
        if self.exchange:
            self.exchange.settle(self._stop.check)
        if partial.is_complete and not self._is_from_start and self._is_right():
            return
        self._leave_peers()  # what proved wrong comes from here
        with self._at_host():
            while not self._is_complete_after_one_reply(None):
                pass  # a 206 may be shorter than was asked for (RFC 9110 §15.3.7)

    @contextmanager
    def _at_host(self) -> Iterator[None]:
        """Take this file's place among those that ask the host."""
        self.limiter.acquire(self._stop)
        try:
            yield
        except TransferError as error:
            self._stop.check()
            if isinstance(error, ServerBusy):
                self.limiter.refused()
            raise
        finally:
            self.limiter.release()
            if self.exchange:
                self.exchange.recount()

    def _leave_peers(self) -> None:
        """Get what is missing from here alone from now on."""
        if self.exchange:
            self.exchange.leave()
            self.exchange = None

    def _is_complete_after_one_reply(self, claimed: Range | None) -> bool:
        """Ask for the first gap, and receive it and all that further connections bring meanwhile.

        Args:
            claimed: The gap, if peers may have others; then the file is not looked at as a whole.

        Raises:
            ModelmakeError: The reply is not a part of the file, or a connection failed.
        """
        partial = self.partial
        self._scope = CancelScope()
        is_rest = bool(partial.ranges) and not self._is_from_start
        gap = first_gap(partial.ranges, partial.binding.size or 0) if is_rest else self._whole
        gap = claimed if self.exchange and claimed else gap
        with self._ask(gap) as reply:
            start = b""
            if reply.head.status == HTTPStatus.OK:
                self._leave_peers()  # the server knows no ranges
                refuse_coding(reply.head, is_pinned=self.artifact.is_pinned)
                most = min(self.limiter.throttle.slice_bytes, MOST_START_BYTES)
                start = reply.read_some(START_BYTES, most)
            if self._is_whole(reply, start, gap, is_rest=is_rest):
                return True
            size = partial.binding.size
            if size is None or size >= THREADED_BYTES:
                leave()  # small files need not wait for this one
            can_resume = partial.binding.can_resume and promises_ranges(reply.head)
            if self.exchange:
                segments = self.exchange.segments(gap)
            else:
                self.observer.started(partial.present, size, is_resumable=can_resume)
                segments = Segments(ENDLESS if size is None else size, partial.ranges)
            first = segments.take_rest()
            is_open = can_resume and self._may_share and size is not None
            self._connections = connections = Connections(
                self.limiter, segments, self._receive_segment, is_open=is_open
            )
            with connections:
                try:
                    self._write_body(reply, first, _stop_of(reply.head, size))
                    segments.give_back(first)
                    reply.close()
                    if size is not None:
                        self._receive_segments(reply.head)
                except BaseException:
                    connections.is_over.set()
                    self._scope.cancel()
                    raise
                finally:
                    self._may_share &= not connections.is_refused
        if size is None:
            return reply.head.status == HTTPStatus.OK
        return not self.exchange and partial.have == size and self._is_right()

    @property
    def _locked_etag(self) -> str | None:
        """The validator that an object must have: no SHA-256 says yet which bytes are meant.

        A mirror has others for the same bytes.
        """
        etag, is_meant = self.artifact.etag, self.location.bucket is not None
        is_needed = is_meant and not self.artifact.is_pinned and is_strong(etag)
        return etag if is_needed else None

    @property
    def _whole(self) -> Range:
        """What asks for the whole file: a range if the server serves large ones by ranges only."""
        has_digest = self.artifact.is_pinned and self.artifact.size
        return Range(0, has_digest) if has_digest and self.location.wants_range else WHOLE

    def _is_whole(self, reply: Reply, start: bytes, gap: Range, *, is_rest: bool) -> bool:
        """Take the head of a reply; returns whether it says that nothing is missing.

        Args:
            reply: Whose body is the file, or its first gap.
            start: How the body of a 200 begins.
            gap: What was asked for.
            is_rest: Whether that is the rest of what was begun.

        Raises:
            ModelmakeError: It is neither.
        """
        partial, head = self.partial, reply.head
        if head.status == HTTPStatus.OK:
            self._is_again = bool(self._wrong)  # the whole again, instead of a wrong piece
            self._wrong.clear()
            self._expectation.begin(head, start, partial)
            self._is_from_start = self._is_doubted = False
            if is_rest:
                self._tell_lost(f"{head.place} sent the whole file instead of its rest.")
        elif head.status == HTTPStatus.PARTIAL_CONTENT and gap != WHOLE:
            if partial.ranges and not is_rest:
                partial.reset()
            self._take_range(head, gap)
            self._is_from_start = self._is_from_start and is_rest
        elif is_rest and is_whole_by_416(head, partial.have, partial.binding.size):
            return True
        else:
            raise self._refused(reply, is_rest=is_rest)
        return False

    def _receive_segments(self, head: Head) -> None:
        """Receive what further connections took of a reply and did not bring.

        Raises:
            UnusableRange: The server gave the whole file, and does not give its parts.
            ModelmakeError: As `Connections.work`.
        """
        try:
            self._connections.work()
        except (SourceError, BadResponse) as error:
            if head.status != HTTPStatus.OK:
                raise
            raise UnusableRange(str(error), hint=error.hint) from None

    def _is_right(self) -> bool:
        """Check the pieces of a whole file; wrong ones are dropped, to be downloaded again.

        Raises:
            DigestMismatch: This place gave the same piece wrong too often: if it knows no
                ranges, in the whole file a second time.
            StoreError: What was written cannot be read back.
        """
        partial = self.partial
        if not partial.verifier.has_pieces:
            return True
        partial.verifier.finish()
        if partial.verifier.is_other_file:
            raise self._expectation.wrong_pieces([])
        wrong = partial.drop_bad_pieces()
        self._wrong.update(wrong)
        self._dropped_bytes += total(wrong)
        if often := [span for span in wrong if self._is_again or self._wrong[span] >= TRIES]:
            raise self._expectation.wrong_pieces(often)
        return not wrong

    def _ask(self, gap: Range) -> Reply:
        """Ask for a range; if the server has another version and a SHA-256 is known, for any."""
        reply, binding = self._open(gap), self.partial.binding
        is_refused = reply.head.status == HTTPStatus.PRECONDITION_FAILED
        if not (is_refused and binding.sha256 and binding.validator):
            return reply
        reply.close()
        self.partial.drop_validator()
        return self._open(gap)

    def _open(self, gap: Range) -> Reply:
        began = time.monotonic()
        wanted = conditions(gap, self.partial.binding, wants_range=self.location.wants_range)
        if self._locked_etag:
            wanted.setdefault("If-Match", self._locked_etag)
        reply = self.transport.open(
            self.location,
            wanted,
            is_pinned=self.artifact.is_pinned,
            scope=self._scope,
        )
        if reply.head.status in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
            if self._locked_etag and reply.head.etag not in (None, self._locked_etag):
                reply.close()  # some stores do not heed If-Match
                raise replaced(reply.head)
            self.limiter.answered(time.monotonic() - began)
        return reply

    def _take_range(self, head: Head, gap: Range) -> None:
        """Take a 206 for the first gap.

        Raises:
            UnusableRange: It is not what was asked for.
            RemoteChanged: It is of another version.
        """
        partial = self.partial
        _, total = accepted_range(head, gap, partial.binding)
        size, validator = partial.binding.size, partial.binding.validator
        if head.etag not in (None, validator):
            validator = None  # another machine's for the same bytes: it would refuse ours
        partial.bind(validator, total if size is None else size)
        partial.is_joined, self._is_doubted = True, False
        self._expectation.learn(head)

    def _refused(self, reply: Reply, *, is_rest: bool) -> ModelmakeError:
        """Return the error for a reply that is not a file, or no rest of the one that was begun."""
        if reply.head.status == HTTPStatus.PRECONDITION_FAILED and self._locked_etag:
            return replaced(reply.head)
        if reply.head.status in OTHER_VERSION and is_rest:
            return changed(reply.head, is_pinned=self.artifact.is_pinned)
        return reply.refusal(self.location)

    def _receive_segment(self, segment: Segment) -> None:
        """Ask for one segment and receive it.

        Raises:
            ModelmakeError: It did not come, or not as it was asked for.
        """
        partial = self.partial
        gap = Range(segment.position, segment.stop)
        with self._ask(gap) as reply:
            if reply.head.status == HTTPStatus.OK:
                raise UnusableRange(f"{reply.head.place} answers a range with the whole file.")
            if reply.head.status != HTTPStatus.PARTIAL_CONTENT:
                raise self._refused(reply, is_rest=True)
            span, _ = accepted_range(reply.head, gap, partial.binding)
            partial.is_joined = True
            self._write_body(reply, segment, span.stop)

    def _write_body(self, reply: Reply, segment: Segment, stop: int | None) -> None:
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
        limiter, is_over = self.limiter, self._connections.is_over
        buffer = self.partial.buffer()
        limiter.began()
        try:
            if reply.head.status == HTTPStatus.OK:
                buffer = self._write_start(buffer, segment, stop)
            end = ENDLESS if stop is None else stop
            while not is_over.is_set():
                left = min(segment.stop, end) - segment.position
                if left <= 0:
                    break
                # A cut leaves half of it or more: what is read at once never crosses the cut.
                most = min(left, limiter.read_bytes, max(left // 4, SMALLEST_SHARE_BYTES))
                began = time.monotonic()
                count = reply.readinto(buffer[:most], fills=True)
                limiter.moved(count, time.monotonic() - began)
                if not count or is_over.is_set():  # what came after an abort is not believed
                    break
                buffer = self._put(buffer, count, segment)
                if self._is_dropped(segment):
                    return
        finally:
            limiter.ended()
        self._stop.check()
        if stop is not None and not is_over.is_set():
            self._check_end(reply, segment, stop, buffer)

    def _is_dropped(self, segment: Segment) -> bool:
        """End a further connection that is one too many, unless it is done soon."""
        if segment.is_further and self._connections.segments.is_long(segment):
            segment.is_dropped = self.limiter.drop_surplus()
        return segment.is_dropped

    def _write_start(self, buffer: memoryview, segment: Segment, stop: int | None) -> memoryview:
        start = self._expectation.first_bytes
        if stop is not None and len(start) > stop:
            raise self._expectation.wrong_size(len(start), stop)
        buffer[: len(start)] = start
        return self._put(buffer, len(start), segment) if start else buffer

    def _put(self, buffer: memoryview, count: int, segment: Segment) -> memoryview:
        self._stop.check()
        position = segment.position
        wanted = self._connections.segments.advance(segment, count)
        with self._counting:
            self.moved_bytes += count
        # What a cut gave to another connection is left to that one: each byte is written once.
        spare = buffer
        if wanted:
            self.limiter.worked(1)
            try:
                spare = self.partial.put(position, buffer, wanted)
            finally:
                self.limiter.worked(-1)
        if self.partial.verifier.is_other_file:
            raise self._expectation.wrong_pieces([])
        self.observer.moved(wanted)
        self.limiter.throttle.pay(count, self._stop)
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


def _stop_of(head: Head, size: int | None) -> int | None:
    """Return where the first reply's body ends in the file, as far as it tells."""
    return head.content_range[0].stop if head.status == HTTPStatus.PARTIAL_CONTENT else size
