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
    RemoteChanged,
    SizeMismatch,
)
from downloader.hashing import BUFFER_BYTES
from downloader.progress import Observer
from downloader.transfer.head import Head, is_strong
from downloader.transfer.journal import Binding
from downloader.transfer.partial import Partial
from downloader.transfer.ranges import parse_unsatisfied, range_header
from downloader.transfer.refusals import (
    check_body_start,
    cut_short,
    excerpt,
    page_in_place_of,
    refusal,
)
from downloader.transfer.reply import Reply
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
        with self._transport.open(
            self._location, _conditions(partial), is_pinned=self._artifact.is_pinned
        ) as reply:
            if reply.head.status == HTTPStatus.OK:
                self._begin_file(reply, partial)
            elif reply.head.status == HTTPStatus.PARTIAL_CONTENT and partial.have:
                self._check_same_version(reply.head, partial)
            elif _is_whole_by_416(reply.head, partial):
                return True
            else:
                raise self._refused(reply, partial)
            self.observer.started(partial.have, partial.binding.size)
            self._append_body(reply, partial)
        return partial.binding.size is None or partial.is_complete

    def _begin_file(self, reply: Reply, partial: Partial) -> None:
        """Take a 200: the whole file from its first byte on, whatever was asked for.

        Raises:
            SizeMismatch: It announces another length than the lock has.
            BadResponse: It is coded, or nothing could tell its end from a broken connection.
        """
        head = reply.head
        _refuse_coding(head)
        if partial.have:
            partial.reset()
        self._start = b""
        length, wanted = head.length, self._artifact.size
        if wanted is not None and length is not None and length != wanted:
            self._start = reply.read_start(REFUSAL_BYTES)
            raise self._wrong_size(length, wanted)
        self._md5 = self._artifact.md5 or head.md5
        if not (head.has_known_end or wanted or self._artifact.sha256 or self._md5):
            raise BadResponse(
                f"{head.place} tells neither length nor digest: a broken connection would pass "
                "for the end of the file.",
                hint="Give the file's sha256 in models.yaml.",
            )
        partial.bind(head.etag if is_strong(head.etag) else None, wanted or length)

    def _check_same_version(self, head: Head, partial: Partial) -> None:
        """Take a 206 only when it is exactly what was asked for, of the version we have.

        Several stores ignore If-Range, and some If-Match; so the reply's own words decide.

        Raises:
            BadResponse: It is another range, or several.
            RemoteChanged: It is of another version.
        """
        _refuse_coding(head)
        if head.first("Content-Type").lower().startswith("multipart/"):
            raise BadResponse(f"{head.place} answered one range with several.")
        span, total = head.content_range
        validator, size = partial.binding.validator, partial.binding.size
        has_wrong_end = size is not None and span.stop > size
        if span.start != partial.have or has_wrong_end or head.length not in (None, span.length):
            raise BadResponse(
                f"{head.place} answered bytes {span.start}-{span.stop - 1} of {total} "
                f"when those from {partial.have} on were asked for."
            )
        is_other_etag = None not in (validator, head.etag) and validator != head.etag
        if is_other_etag or (None not in (size, total) and size != total):
            raise _changed(head)
        partial.bind(validator, size or total)
        partial.is_joined = True
        self._md5 = self._md5 or head.md5

    def _refused(self, reply: Reply, partial: Partial) -> ModelmakeError:
        """Return the error for a reply that is no file; its body's start may say why."""
        is_replan = reply.head.status in REPLAN and partial.have > 0
        if is_replan:
            return _changed(reply.head)
        return refusal(reply.head, reply.read_start(REFUSAL_BYTES))

    def _append_body(self, reply: Reply, partial: Partial) -> None:
        buffer = memoryview(bytearray(min(BUFFER_BYTES, max(reply.head.length or BUFFER_BYTES, 1))))
        if partial.have == 0:
            self._append_start(reply, partial)
        while count := reply.readinto(buffer):
            self._append(partial, buffer[:count])
        size = partial.binding.size
        if size is not None and not reply.head.has_known_end and partial.have < size:
            raise cut_short(self._place, partial.have, size)

    def _append_start(self, reply: Reply, partial: Partial) -> None:
        """Look at the first bytes before any is written: an error page must leave no trace."""
        start = reply.read_some(START_BYTES)
        self._start = start
        if not self._artifact.is_pinned:
            check_body_start(reply.head, self._artifact.path, start)
        if start:
            self._append(partial, memoryview(start))

    def _append(self, partial: Partial, data: memoryview) -> None:
        if self._stop.is_set():
            raise Interrupted(f"{self._artifact.path} was interrupted.")
        size = partial.binding.size
        if size is not None and partial.have + len(data) > size:
            raise self._wrong_size(partial.have + len(data), size)
        partial.write(data)
        self.moved_bytes += len(data)
        self.observer.moved(len(data))

    def _wrong_size(self, got: int, wanted: int) -> SizeMismatch:
        return SizeMismatch(
            f"{self._place} gives {got:,} bytes or more, and {wanted:,} are wanted for "
            f"{self._artifact.path}{self._what_it_looks_like()}."
        )

    def _what_it_looks_like(self) -> str:
        if not self._start:
            return ""
        page = page_in_place_of(self._artifact.path, self._start)
        looks = f"it looks like {page}, " if page else ""
        return f"; {looks}it begins {excerpt(self._start)[:80]!r}"


def _conditions(partial: Partial) -> dict[str, str]:
    """Return the headers that ask for what is missing, of the version that is there."""
    if not partial.have:
        return {}
    conditions = {"Range": range_header(partial.have, partial.binding.size)}
    if partial.binding.validator:
        conditions["If-Match"] = partial.binding.validator
    return conditions


def _is_whole_by_416(head: Head, partial: Partial) -> bool:
    """Whether a 416 says that the partial, of unknown size so far, is the whole file."""
    if head.status != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or not partial.have:
        return False
    total = parse_unsatisfied(head.first("Content-Range"))
    return total == partial.have and partial.binding.size in (None, total)


def _changed(head: Head) -> RemoteChanged:
    return RemoteChanged(f"{head.place} changed while it was fetched.")


def _refuse_coding(head: Head) -> None:
    if head.coding:
        raise BadResponse(
            f"{head.place} sent the file coded as {head.coding[:40]!r}, unasked: its length "
            "and digest would not be the file's."
        )
