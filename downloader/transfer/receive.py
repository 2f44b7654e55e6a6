"""One attempt at a file: ask for what is missing, check that the replies are it, and write them.

The first reply decides: a 200 is the whole file, a 206 the first gap. Where it tells the file's
length and version, further connections may take segments of it meanwhile (crew.py).
"""

import functools
import time
from collections import Counter
from http import HTTPStatus

from downloader.artifact import Artifact, Location
from downloader.errors import Interrupted, ModelmakeError, ServerBusy, TransferError
from downloader.progress import Observer
from downloader.transfer.call import Calls
from downloader.transfer.crew import Crew
from downloader.transfer.draining import Drain
from downloader.transfer.expectation import Expectation
from downloader.transfer.head import Head
from downloader.transfer.journal import Binding
from downloader.transfer.line import Line
from downloader.transfer.partial import Partial
from downloader.transfer.ranges import Range, first_gap, total
from downloader.transfer.reply import Reply
from downloader.transfer.resuming import (
    UnusableRange,
    accepted_range,
    changed,
    conditions,
    is_whole_by_416,
)
from downloader.transfer.segments import Segment
from downloader.urls import redact

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
        if not self._host.enter(self._line.stop):
            raise Interrupted(f"{self._artifact.path} was interrupted.")
        try:
            while not self._is_complete_after_one_reply(partial):
                pass  # a 206 may be shorter than was asked for (RFC 9110 §15.3.7)
        except TransferError as error:
            if self._line.stop.is_set():
                raise Interrupted(f"{self._artifact.path} was interrupted.") from None
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
