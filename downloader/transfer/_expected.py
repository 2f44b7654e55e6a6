"""What a file must turn out to be, and whether a reply is the rest of it.

A file is known by the lock, or else by what the server says of it. Several stores ignore If-Range,
and some If-Match; so the reply's own words decide.
"""

from collections.abc import Sequence
from http import HTTPStatus

from downloader.artifact import Artifact
from downloader.errors import (
    RESTORE_HINT,
    BadResponse,
    DigestMismatch,
    LockError,
    RemoteChanged,
    SizeMismatch,
    SourceError,
    shown,
)
from downloader.network.client import (
    Head,
    check_body_start,
    excerpt,
    is_strong,
    page_in_place_of,
)
from downloader.network.ranges import Range, merge, parse_unsatisfied, range_header
from downloader.transfer._journal import Binding
from downloader.transfer.partial import Partial
from downloader.urls import Location, redact

SHA256_DECIDES = "Give the file's sha256 in models.yaml: it decides which bytes are right."


class UnusableRange(BadResponse):
    """A 206 is not what was asked for; the whole file may still be had from its first byte on."""


def conditions(gap: Range, binding: Binding, *, wants_range: bool = False) -> dict[str, str]:
    """Return the headers that ask for the gap, of the version that is bound; none for a whole file.

    A gap that ends nowhere, at 0, is the rest of a file of unknown length.

    Args:
        gap: What is wanted.
        binding: What it is of.
        wants_range: Whether a whole file is asked for as a range too, if its length is known.
    """
    is_whole = not gap.start and gap.stop in (0, binding.size)
    if is_whole and not (wants_range and gap.stop):
        return {}
    wanted = {"Range": range_header(gap.start, gap.stop or None)}
    if binding.validator:
        wanted["If-Match"] = binding.validator
    return wanted


def accepted_range(head: Head, gap: Range, binding: Binding) -> tuple[Range, int | None]:
    """Take a 206 only when it is what `conditions` asked for.

    Returns:
        The range it carries, perhaps a shorter one (RFC 9110 §15.3.7), and the file's size in
        bytes, None when it does not tell.

    Raises:
        UnusableRange: It is another range, or several; or coded, and no SHA-256 is known.
        RemoteChanged: It is of another version.
    """
    is_pinned = binding.sha256 is not None
    try:
        span, total = _wanted_range(head, gap, is_pinned=is_pinned)
    except BadResponse as error:
        raise UnusableRange(str(error), hint=error.hint) from None
    # RFC 9110 §15.3.7: a 206 carries the ETag that the 200 had. Replicas behind a balancer have
    # others for the same bytes: if a SHA-256 is known, it decides.
    is_other_etag = binding.validator not in (None, head.etag) and not is_pinned
    if is_other_etag or (None not in (binding.size, total) and binding.size != total):
        raise changed(head, is_pinned=is_pinned)
    return span, total


def promises_ranges(head: Head) -> bool:
    """Whether the server says that it gives parts of the file.

    Azure's oldest dialect says nothing, and does; Azure names itself in its headers.
    """
    return head.status == HTTPStatus.PARTIAL_CONTENT or (
        head.first("Accept-Ranges").lower() == "bytes" or bool(head.first("x-ms-version"))
    )


def is_whole_by_416(head: Head, have: int, size: int | None) -> bool:
    """Whether a 416 says that the first `have` bytes, of unknown size so far, are the file."""
    if head.status != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or not have:
        return False
    total = parse_unsatisfied(head.first("Content-Range"))
    return total == have and size in (None, total)


def changed(head: Head, *, is_pinned: bool) -> RemoteChanged:
    """Return the error for a reply of another version of the file; raised if it comes twice."""
    return RemoteChanged(
        f"{head.place} changed while it was downloaded.", hint="" if is_pinned else SHA256_DECIDES
    )


def replaced(head: Head) -> SourceError:
    """Return the error for a file that has another validator than models.lock noted."""
    return SourceError(
        f"{head.place} is not the file any more that models.lock means.",
        hint="Run `doit lock --upgrade` to lock the new one.",
    )


def refuse_coding(head: Head, *, is_pinned: bool) -> None:
    """Refuse a body that may be another form of the file.

    Many servers put `Content-Encoding: gzip` on a stored .gz file. Then the bytes on the wire are
    the file, and only its SHA-256 can tell that from a body compressed for the transfer.

    Raises:
        BadResponse: It is coded, and no SHA-256 is known.
    """
    if head.coding and not is_pinned:
        coding = shown(head.coding, 60, is_reply=True)
        raise BadResponse(
            f"{head.place} sent the file with Content-Encoding '{coding}': these "
            "bytes may not be the file's own.",
            hint=SHA256_DECIDES,
        )


def _wanted_range(head: Head, gap: Range, *, is_pinned: bool) -> tuple[Range, int | None]:
    refuse_coding(head, is_pinned=is_pinned)
    is_typed_multipart = head.first("Content-Type").lower().startswith("multipart/")
    # Several ranges have no Content-Range of their own (RFC 9110 §15.3.7.2); a stored file may
    # have any type.
    if is_typed_multipart and not (is_pinned and head.first("Content-Range")):
        raise BadResponse(f"{head.place} answered one range with several.")
    span, total = head.content_range
    has_wrong_end = 0 < gap.stop < span.stop
    if span.start != gap.start or has_wrong_end or head.length not in (None, span.length):
        raise BadResponse(
            f"{head.place} answered bytes {span.start}-{span.stop - 1} of {total} "
            f"when those from {gap.start} on were asked for."
        )
    return span, total


START_BYTES = 512
MOST_START_BYTES = 64 << 10
"""What came along with them is taken in the same step: all of a small file."""
MOST_SPANS = 3
UNREADABLE = "\ufffd"
"""Placeholder for bytes that are not text: nobody learns anything from those."""


class Expectation:
    """Judges replies and the whole file against one artifact.

    Attributes:
        first_bytes: The file's first bytes as they came.
        etag: The validator of the last reply that was taken.
        md5: The MD5 that is known of the file, in hex.
    """

    def __init__(self, artifact: Artifact, location: Location) -> None:
        self._artifact, self._place = artifact, redact(location.url)
        self._is_sniffed = location.is_sniffed
        self.md5 = artifact.md5
        self._coding = ""
        self.etag: str | None = None
        self.first_bytes = b""

    def begin(self, head: Head, first_bytes: bytes, partial: Partial) -> None:
        """Take a 200, the whole file from its first byte on, and bind the partial to it.

        Nothing is written before, and nothing older is dropped: an error page leaves no trace.

        Args:
            head: The reply's.
            first_bytes: The file's first bytes as they came: all of a small one.
            partial: What is to take it.

        Raises:
            SizeMismatch: It announces another length than the lock has.
            BadResponse: It is an error page, or nothing could tell its end from a broken
                connection.
        """
        self.first_bytes, self._coding = first_bytes, head.coding
        length, wanted = head.length, self._artifact.size
        known = partial.binding.size if partial.ranges else wanted
        is_other_length = known is not None and length not in (None, known)
        has_digest = self._artifact.is_pinned or self._artifact.git_sha1
        if self._is_sniffed and (is_other_length or not has_digest):
            check_body_start(head, self._artifact.path, self._start)
        if wanted is not None and length is not None and length != wanted:
            raise self.wrong_size(length, wanted)
        self.md5, self.etag = self._artifact.md5 or head.md5, head.etag
        is_judged = wanted is not None or self._artifact.is_pinned or self.md5
        if not (head.has_known_end or is_judged):
            raise BadResponse(
                f"{head.place} sends neither length nor checksum, so a broken connection would "
                "look like the end of the file.",
                hint="Give the file's sha256 in models.yaml.",
            )
        if partial.ranges:
            partial.reset()
        size = length if wanted is None else wanted
        validator = head.etag if is_strong(head.etag) else None
        partial.bind(validator, size, with_md5=self.md5 is not None)

    def learn(self, head: Head) -> None:
        """Take in what a 206 says of the whole file."""
        self.md5, self.etag = self.md5 or head.md5, head.etag

    def verify(self, partial: Partial) -> None:
        """Compare the whole file with the lock, or with what the server said of it.

        Raises:
            SizeMismatch: It has another length.
            DigestMismatch: It has another digest.
            LockError: It is what the root in models.lock means, and not what the SHA-256 does.
        """
        size = partial.binding.size
        if size is not None and partial.have != size:
            raise self.wrong_size(partial.have, size)
        wanted, got, kind = self._artifact.sha256, partial.verifier.sha256, "sha256"
        if wanted is None:
            wanted, kind = self._published
            got = (wanted and partial.digest(kind)) or ""
        if partial.verifier.has_pieces and got and wanted != got:
            raise LockError(
                f"models.lock has a root of other bytes than its sha256 for {self._artifact.path}.",
                hint=RESTORE_HINT,
            )
        if wanted is not None and wanted != got:
            raise DigestMismatch(
                f"{self._place} sent {partial.have:,} bytes with {kind}:{got} instead of "
                f"{kind}:{wanted}{self._what_it_looks_like()}.",
                hint=self._what_to_do(),
            )

    def wrong_size(self, got: int, wanted: int) -> SizeMismatch:
        """Return the error for a file of another length; both in bytes."""
        or_more = " or more" if got > wanted else ""
        return SizeMismatch(
            f"{self._place} sent {got:,} bytes{or_more} instead of {wanted:,} for "
            f"{self._artifact.path}{self._what_it_looks_like()}.",
            hint=self._what_to_do() if self._is_vouched_for else None,
        )

    def wrong_pieces(self, spans: Sequence[Range]) -> DigestMismatch:
        """Return the error for pieces that proved wrong.

        Args:
            spans: Where they lie, after they were fetched again; none if all that came is wrong.
        """
        what = f"sent another file than models.lock means as {self._artifact.path}"
        if spans := merge(spans):
            where = ", ".join(f"{start:,}-{stop - 1:,}" for start, stop in spans[:MOST_SPANS])
            more = ", …" * (len(spans) > MOST_SPANS)
            what = f"sent bytes {where}{more} of {self._artifact.path} wrong each time"
        return DigestMismatch(
            f"{self._place} {what}{self._what_it_looks_like() * (not spans)}.",
            hint="The server or a proxy damages the file." if spans else self._what_to_do(),
        )

    @property
    def _published(self) -> tuple[str | None, str]:
        """What is known of the whole file instead of its SHA-256, and its kind."""
        if self._artifact.git_sha1:
            return self._artifact.git_sha1, "git-sha1"
        return self.md5, "md5"

    @property
    def _is_vouched_for(self) -> bool:
        """Whether its SHA-256 is somebody's word, which locking again does not change."""
        return self._artifact.is_pinned and not self._artifact.first_use

    @property
    def _start(self) -> bytes:
        return self.first_bytes[:START_BYTES]

    def _what_to_do(self) -> str:
        if self._artifact.first_use:
            return (
                "Its SHA-256 was pinned on first use. To accept the new file, remove the model "
                "from models.lock and run `doit`."
            )
        return (
            "The file may have changed, or a proxy may have sent a page. If you mean another file, "
            "correct its sha256 or URL in models.yaml."
        )

    def _what_it_looks_like(self) -> str:
        if self._coding:
            coding = shown(self._coding, 40, is_reply=True)
            return f"; it came with Content-Encoding '{coding}'"
        if not self.first_bytes:
            return ""
        page = page_in_place_of(self._artifact.path, self._start)
        looks = f"; it looks like {page}" if page else ""
        start = excerpt(self._start)[:80]
        begins = f"{',' if page else ';'} it begins '{start}'" * (
            bool(page) or UNREADABLE not in start
        )
        return f"{looks}{begins}"
