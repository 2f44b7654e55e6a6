"""One attempt: ask for what is missing, check that the reply is it, and append its bytes."""

import hashlib
import threading
from http import HTTPStatus

from downloader.artifact import Artifact, Location
from downloader.errors import (
    BadResponse,
    DigestMismatch,
    Interrupted,
    ModelmakeError,
    SizeMismatch,
)
from downloader.hashing import BUFFER_BYTES
from downloader.progress import Observer
from downloader.transfer.head import is_strong
from downloader.transfer.journal import Binding
from downloader.transfer.partial import Partial
from downloader.transfer.refusals import (
    check_body_start,
    cut_short,
    excerpt,
    page_in_place_of,
    refusal,
)
from downloader.transfer.reply import Reply
from downloader.transfer.resuming import (
    accepted_range,
    changed,
    conditions,
    is_whole_by_416,
    refuse_coding,
)
from downloader.transfer.transport import Transport
from downloader.urls import redact

REFUSAL_BYTES = 4096
START_BYTES = 512
REPLAN = frozenset({HTTPStatus.PRECONDITION_FAILED, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE})


def binding_for(artifact: Artifact, location: Location) -> Binding:
    """Return what a partial's bytes belong to when they come from this location."""
    place = hashlib.sha256(location.url.encode()).hexdigest()
    return Binding(
        path=artifact.path, place=place, size=artifact.size, sha256=artifact.sha256, validator=None
    )


class Receiver:
    """Receives one artifact from one location, over as many attempts as it takes.

    Attributes:
        moved_bytes: Bytes of the file that came over the wire so far.
    """

    def __init__(
        self,
        transport: Transport,
        stop: threading.Event,
        artifact: Artifact,
        location: Location,
        observer: Observer,
    ) -> None:
        self._transport, self._stop = transport, stop
        self._artifact, self._location = artifact, location
        self.observer = observer
        self.moved_bytes = 0
        self._md5 = artifact.md5
        self._start = b""

    def receive(self, partial: Partial) -> None:
        """Bring the partial to its full length.

        Raises:
            ModelmakeError: This attempt failed; what it wrote is good as far as it goes.
        """
        if partial.have and not partial.binding.can_resume:
            partial.reset()  # nothing could tell whether more bytes are of the same version
        while not partial.is_complete and not self._is_complete_after_one_reply(partial):
            pass  # a 206 may be shorter than was asked for (RFC 9110 §15.3.7)

    def verify(self, partial: Partial) -> None:
        """Compare what came with the lock, or with what the server said of it.

        Raises:
            SizeMismatch: It has another length.
            DigestMismatch: It has another digest.
        """
        size = partial.binding.size
        if size is not None and partial.have != size:
            raise self._wrong_size(partial.have, size)
        wanted, got, kind = self._artifact.sha256, partial.sha256, "sha256"
        if wanted is None and partial.md5 is not None:
            wanted, got, kind = self._md5, partial.md5, "md5"
        if wanted is not None and wanted != got:
            raise DigestMismatch(
                f"{self._place} gave {partial.have:,} bytes with {kind}:{got}, "
                f"and {kind}:{wanted} is wanted{self._what_it_looks_like()}.",
                hint="Another version may stand there now, or a page in the way.",
            )

    @property
    def _place(self) -> str:
        return redact(self._location.url)

    def _is_complete_after_one_reply(self, partial: Partial) -> bool:
        wanted = conditions(partial.have, partial.binding)
        with self._transport.open(
            self._location, wanted, is_pinned=self._artifact.is_pinned
        ) as reply:
            status = reply.head.status
            if status == HTTPStatus.OK:
                stop = self._begin_file(reply, partial)
            elif status == HTTPStatus.PARTIAL_CONTENT and partial.have:
                stop = self._continue_file(reply, partial)
            elif is_whole_by_416(reply.head, partial.have, partial.binding.size):
                return True
            else:
                raise self._refused(reply, partial)
            self.observer.started(partial.have, partial.binding.size)
            self._append_body(reply, partial, stop)
        return status == HTTPStatus.OK or partial.is_complete

    def _begin_file(self, reply: Reply, partial: Partial) -> int | None:
        """Take a 200: the whole file from its first byte on, whatever was asked for.

        Returns:
            The file's size in bytes; None when nobody told.

        Raises:
            SizeMismatch: It announces another length than the lock has.
            BadResponse: It is coded, an error page, or nothing could tell its end from a broken
                connection.
        """
        head, wanted = reply.head, self._artifact.size
        refuse_coding(head)
        self._look_at_start(reply)
        self._md5 = self._artifact.md5 or head.md5
        is_judged = wanted is not None or self._artifact.is_pinned or self._md5
        if not (head.has_known_end or is_judged):
            raise BadResponse(
                f"{head.place} tells neither length nor digest: a broken connection would pass "
                "for the end of the file.",
                hint="Give the file's sha256 in models.yaml.",
            )
        if partial.have:
            partial.reset()
        size = head.length if wanted is None else wanted
        partial.bind(head.etag if is_strong(head.etag) else None, size)
        return size

    def _look_at_start(self, reply: Reply) -> None:
        """Look at the first bytes before any is written, and before any older one is dropped.

        Raises:
            SizeMismatch: The announced length is another than the lock's.
            BadResponse: An error page stands in the file's place: it leaves no trace.
        """
        length, wanted = reply.head.length, self._artifact.size
        wrong_length = None if wanted is None or length == wanted else length
        self._start = reply.read_some(START_BYTES)
        if wrong_length is not None or not self._artifact.is_pinned:
            check_body_start(reply.head, self._artifact.path, self._start)
        if wanted is not None and wrong_length is not None:
            raise self._wrong_size(wrong_length, wanted)

    def _continue_file(self, reply: Reply, partial: Partial) -> int:
        """Take a 206, and return where the range it carries ends.

        Raises:
            BadResponse: It is not what was asked for.
            RemoteChanged: It is of another version.
        """
        span, total = accepted_range(reply.head, partial.have, partial.binding)
        size = partial.binding.size
        partial.bind(partial.binding.validator, total if size is None else size)
        partial.is_joined = True
        self._md5 = self._md5 or reply.head.md5
        return span.stop

    def _refused(self, reply: Reply, partial: Partial) -> ModelmakeError:
        """Return the error for a reply that is no file; its body's start may say why."""
        is_replan = reply.head.status in REPLAN and partial.have > 0
        if is_replan:
            return changed(reply.head)
        return refusal(reply.head, reply.read_start(REFUSAL_BYTES))

    def _append_body(self, reply: Reply, partial: Partial, stop: int | None) -> None:
        """Append the whole body, which ends at byte `stop` of the file where that is known."""
        buffer = memoryview(bytearray(min(BUFFER_BYTES, max(reply.head.length or BUFFER_BYTES, 1))))
        if partial.have == 0:
            self._append(partial, memoryview(self._start), stop)
        while count := reply.readinto(buffer):
            self._append(partial, buffer[:count], stop)
        if stop is None or partial.have == stop:
            return
        if reply.head.is_chunked and reply.head.status == HTTPStatus.OK:
            raise self._wrong_size(partial.have, stop)
        raise cut_short(self._place, partial.have, stop)

    def _append(self, partial: Partial, data: memoryview, stop: int | None) -> None:
        if self._stop.is_set():
            raise Interrupted(f"{self._artifact.path} was interrupted.")
        if stop is not None and partial.have + len(data) > stop:
            raise self._wrong_size(partial.have + len(data), stop)
        if not data:
            return
        partial.write(data)
        self.moved_bytes += len(data)
        self.observer.moved(len(data))

    def _wrong_size(self, got: int, wanted: int) -> SizeMismatch:
        or_more = " or more" if got > wanted else ""
        return SizeMismatch(
            f"{self._place} gives {got:,} bytes{or_more}, and {wanted:,} are wanted for "
            f"{self._artifact.path}{self._what_it_looks_like()}."
        )

    def _what_it_looks_like(self) -> str:
        if not self._start:
            return ""
        page = page_in_place_of(self._artifact.path, self._start)
        looks = f"it looks like {page}, " if page else ""
        return f"; {looks}it begins {excerpt(self._start)[:80]!r}"
