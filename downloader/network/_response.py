"""Read one reply strictly: its head, its body by its framing, and whether it is a file at all.

Every number in a head is checked before it is believed: a length that is negative, doubled or not a
number is an error, as in curl's tests 178, 394, 415 and 771.

A body is framed by length, in chunks, or until the connection closes (RFC 9112 §6). Python's
http.client reads chunks leniently: a bare line feed makes it lose bytes in silence, and a cut
trailer passes for an end. Here each framing ends in one way only, and everything else is an error.
Status codes, error pages with status 200 and pointers are refused.
"""

import base64
import binascii
import contextlib
import http.client
import re
import socket
import ssl
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from http import HTTPStatus
from types import TracebackType
from typing import Protocol, Self

import msgspec
from urllib3 import HTTPResponse
from urllib3.util import wait_for_read

from downloader.artifact import is_etag
from downloader.errors import (
    AccessDenied,
    BadResponse,
    ConnectionLost,
    LinkExpired,
    ModelmakeError,
    NotFound,
    ServerBusy,
    TransferError,
    shown,
)
from downloader.network._connection import FILL_BYTES, Request
from downloader.network.failures import translated
from downloader.network.ranges import Range, parse_content_range
from downloader.urls import Location, has_same_origin, redact

RATE_LIMIT = r'"([a-z-]{1,40})" *; *r=([0-9]{1,9}) *; *t=([0-9]{1,6})\b'
QUOTA = r"[^,]*;q=([0-9]{1,9};w=[0-9]{1,6})\b"
ERROR_NAME = r"[A-Za-z]{1,40}"


class RateLimit(msgspec.Struct, frozen=True):
    """A header `RateLimit: "api";r=0;t=55` (draft-ietf-httpapi-ratelimit-headers-09).

    Attributes:
        name: Of the limit.
        left: How many requests it still admits.
        reset_seconds: When it begins anew.
        policy: `q=500;w=300`, requests in seconds, without the first two characters; or empty.
    """

    name: str
    left: int
    reset_seconds: float
    policy: str = ""

    @property
    def wait_seconds(self) -> float | None:
        """Seconds until it admits a request; None if it does now."""
        return None if self.left else self.reset_seconds + 1

    def __str__(self) -> str:
        """Say which limit it is, for a message."""
        quota, _, window = self.policy.partition(";w=")
        of = f" of {int(quota):,} requests in {window} s" if window else ""
        return f"the rate limit '{self.name}'{of}"


HeaderValues = Callable[[str], Sequence[str]]

LENGTH = re.compile(r"[0-9]{1,18}")
MD5_BYTES = 16


class Head(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """The head of one reply; `place` is the URL as it may be shown."""

    status: int
    place: str
    values: HeaderValues
    names: Callable[[], Iterable[str]] = tuple

    @property
    def all(self) -> dict[str, str]:
        """The first value of each header, by its name in lower case."""
        return {name.lower(): self.first(name) for name in self.names()}

    def first(self, name: str) -> str:
        """Return the header's first value, or an empty text."""
        found = self.values(name)
        # Python strips NBSP and NEL too, which UTF-8 that is decoded as Latin-1 may end in.
        return found[0].strip(" \t") if found else ""

    @cached_property
    def is_chunked(self) -> bool:
        """Whether the body comes in chunks.

        `identity` is not a coding: RFC 2616 had it, and some servers still say it of a body that
        ends when they close the connection.

        Raises:
            BadResponse: Another transfer coding is laid over it (curl tests 1546, 1722, 1723).
        """
        codings = self._transfer_codings
        if codings in ("", "identity", "chunked"):
            return codings == "chunked"
        raise BadResponse(
            f"{self.place} answered with the transfer coding '{shown(codings, 60, is_reply=True)}'."
        )

    @cached_property
    def length(self) -> int | None:
        """The declared length of this body in bytes, None when it is not declared.

        Raises:
            BadResponse: The Content-Length is not one whole number (RFC 9112 §6.3).
        """
        found = {
            part.strip() for value in self.values("Content-Length") for part in value.split(",")
        }
        if not found:
            return None
        text = found.pop()
        if found or not LENGTH.fullmatch(text):
            raise BadResponse(f"{self.place} answered with an unusable Content-Length.")
        # RFC 9112 §6.3: a transfer coding overrides the length.
        return None if self.is_chunked or self._transfer_codings else int(text)

    @cached_property
    def _transfer_codings(self) -> str:
        return ",".join(self.values("Transfer-Encoding")).strip().lower()

    @property
    def has_known_end(self) -> bool:
        """Whether the framing tells the body's end from a broken connection."""
        return self.is_chunked or self.length is not None

    @property
    def coding(self) -> str:
        """The content coding, empty for identity."""
        coding = ",".join(self.values("Content-Encoding")).strip().lower()
        return "" if coding == "identity" else coding

    @cached_property
    def etag(self) -> str | None:
        """The validator exactly as received: real Azure leaves out the quotes.

        None if it holds a control character: it could not be sent back.
        """
        found = self.first("ETag")
        return found if is_etag(found) else None

    @property
    def content_range(self) -> tuple[Range, int | None]:
        """The range a 206 says it carries, and the file's size.

        Raises:
            BadResponse: It carries none, several, or a malformed one.
        """
        found = self.values("Content-Range")
        try:
            (text,) = found
            return parse_content_range(text)
        except ValueError:
            given = shown(", ".join(found), 60, is_reply=True) or "none"
            raise BadResponse(
                f"{self.place} answered a range with the Content-Range '{given}'."
            ) from None

    @property
    def md5(self) -> str | None:
        """The MD5 of the whole file in hex, if the server publishes one.

        On a 206, Content-MD5 would be that of the range; Azure moves the file's to another header.
        """
        is_range = self.status == HTTPStatus.PARTIAL_CONTENT
        names = ("x-ms-blob-content-md5",) if is_range else ("Content-MD5", "x-ms-blob-content-md5")
        for name in names:
            text = self.first(name)
            if text and len(digest := _decoded(text)) == MD5_BYTES:
                return digest.hex()
        return None

    @property
    def rate_limit(self) -> "RateLimit | None":
        """The rate limit that it counts against, if the server says how much of it is left."""
        found = re.match(RATE_LIMIT, self.first("RateLimit"))
        if found is None:
            return None
        name, left, seconds = found.groups()
        quota = re.match(QUOTA, self.first("RateLimit-Policy"))
        return RateLimit(name, int(left), float(seconds), quota[1] if quota else "")

    @property
    def error_code(self) -> str:
        """What the header X-Error-Code calls the error (Hugging Face); empty if there is none."""
        found = self.first("X-Error-Code")
        return found if re.fullmatch(ERROR_NAME, found) else ""

    @property
    def wait_seconds(self) -> float | None:
        """Seconds that Retry-After asks for; None if it is unusable.

        A date is counted from the server's own Date, so that a wrong clock here does no harm.
        """
        text = self.first("Retry-After")
        if LENGTH.fullmatch(text):
            return float(text)
        if not text and self.rate_limit:
            return self.rate_limit.wait_seconds
        until, now = _moment(text), _moment(self.first("Date"))
        if until is None:
            return None
        return max((until - (now or datetime.now(UTC))).total_seconds(), 0.0)


def is_strong(etag: str | None) -> bool:
    """Whether the validator promises the same bytes (RFC 9110 §8.8.1)."""
    return etag is not None and not etag.startswith("W/")


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""


def _moment(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


NO_ADVICE: Mapping[str, str] = {}
MOST_SAID = 120
"""Characters of a storage server's own words."""

DENIED = frozenset({401, 403, 407, 451})
WANTS_CREDENTIAL = frozenset({401, 403})
MAY_BE_EXPIRED = frozenset({400, 401, 403})
GONE = frozenset({404, 410})
BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
BUSY_CODES = frozenset({"SlowDown", "RequestTimeout", "InternalError", "ServerBusy"})
"""Error codes of object stores that mean "later" whatever the status (Nix: s3RetryableErrors)."""
EXPIRED = (
    rb"(?i)<Code>(ExpiredToken|ExpiredRequest|RequestExpired)</Code>|request has expired|"
    rb"signature (has )?expired|not valid in the specified time frame"
)
"""Replies of S3, R2, Google's and Azure's storage to an expired signed URL."""
ERROR_CODE = rb"<Code>([A-Za-z0-9]{1,60})</Code>"
REGISTRY_CODE = rb'\s*\{\s*"errors"\s*:\s*\[\s*\{[^{}]*?"code"\s*:\s*"([A-Z0-9_]{1,60})"'
"""The first code in a registry's error (OCI distribution-spec 1.1, error codes)."""

MARKUP_SUFFIXES = (".html", ".htm", ".xhtml", ".xml", ".svg")
TEXT_SUFFIXES = (".txt", ".text", ".md", ".rst", ".csv", ".tsv", ".tab", ".log")
JSON_SUFFIXES = (".json", ".jsonl", ".ndjson", ".jsonlines", ".jsonld", ".geojson", ".ipynb")
TEXT_TYPES = frozenset(
    {"text/plain", "text/csv", "text/tab-separated-values", "text/tsv", "text/markdown"}
)
DATA_TYPES = TEXT_TYPES | {
    "application/octet-stream",
    "application/jsonl",
    "application/jsonlines",
    "application/x-jsonlines",
    "application/ndjson",
    "application/x-ndjson",
    "application/json-seq",
}


class Page(msgspec.Struct, frozen=True):
    """A kind of page that comes instead of files.

    Attributes:
        pattern: How it begins.
        name: What it is.
        suffixes: A file of such a name may well begin so.
        types: The same of a Content-Type.
    """

    pattern: bytes
    name: str
    suffixes: tuple[str, ...]
    types: frozenset[str] = frozenset()


_MAY_BE_MARKUP = (*MARKUP_SUFFIXES, *TEXT_SUFFIXES)
PAGES = (
    Page(
        rb"(?i)\s*<(!doctype\s+html|html)\b",
        "an HTML page",
        _MAY_BE_MARKUP,
        TEXT_TYPES,
    ),
    Page(
        rb"\s*<\?xml[^>]*>\s*<Error>|\s*<Error>",
        "an XML error message",
        _MAY_BE_MARKUP,
        TEXT_TYPES,
    ),
    # A table may be stored with Git LFS too, so its suffix proves nothing.
    Page(
        rb"version https://git-lfs\.github\.com/spec/v1",
        "a Git LFS pointer",
        (*MARKUP_SUFFIXES, ".md", ".txt"),
    ),
    Page(
        rb'\s*\{\s*"(error|message)"\s*:',
        "a JSON error message",
        (*JSON_SUFFIXES, *TEXT_SUFFIXES),
        DATA_TYPES,
    ),
)
PAGE_HINT = "Open the URL in a browser: a proxy, a captive portal or a login may be in the way."
VIEWER_HINT = (
    "With `/blob/` it is the address of a page about the file: write `/resolve/` (Hugging Face) or "
    "`/raw/` (GitHub, GitLab) there."
)
SNIFF_HINT = "If that is the file, give its `sha256`, or write `sniff: false` in its entry."


def refusal(
    head: Head,
    body_start: bytes,
    credential_hint: str = "",
    advice: Mapping[str, str] = NO_ADVICE,
    said: str = "",
) -> ModelmakeError:
    """Return the error for a reply whose status means no file.

    Args:
        head: Its head; any status but 200 and 206.
        body_start: The first bytes of its body, where object stores say the cause.
        credential_hint: What to do if it wants a credential, or another one.
        advice: What to do by what it says, as of Location.
        said: How the body begins, if a storage server says there why it refuses a link.
    """
    code = head.error_code or error_code(body_start)
    hint = advice.get(code) or advice.get(head.first("X-Error-Message"), "")
    status = f"{head.status}{f' {code}' if code else ''}"
    if head.status in BUSY or code in BUSY_CODES:
        limit = head.rate_limit
        if limit and (reset := limit.wait_seconds) is not None:
            asked = head.wait_seconds
            return used_up(head.place, limit, reset if asked is None else asked, advice)
        return ServerBusy(_busy(head, status), hint=hint or None, wait_seconds=head.wait_seconds)
    if head.status in GONE:
        return NotFound(f"{head.place}: not found ({status}).", hint=hint or None, code=code)
    if head.status in DENIED or code == "PublicAccessNotPermitted":
        hint = hint or (credential_hint if head.status in WANTS_CREDENTIAL else "")
        if head.status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
            hint = "The proxy requires a log-in, as in HTTPS_PROXY=http://user:password@host."
        denied = f"{head.place}: access denied ({status})."
        denied += f" It says: '{said}'." if said and not code else ""
        return AccessDenied(denied, hint=hint or None, code=code)
    what = f"{head.place} answered with status {status} instead of the file."
    return BadResponse(what, hint=hint or None)


def used_up(
    place: str, limit: RateLimit, wait_seconds: float, advice: Mapping[str, str]
) -> ServerBusy:
    """Return the error for a request that a rate limit does not admit yet.

    Args:
        place: What was to be asked, as it may be shown.
        limit: The limit.
        wait_seconds: When to ask again.
        advice: As of Location.
    """
    what = f"{place}: {limit} is used up; it starts again in {wait_seconds:.0f} s."
    more = advice.get("RateLimit", "")
    return ServerBusy(f"{what} {more}".strip(), wait_seconds=wait_seconds, is_window=True)


def _busy(head: Head, said: str) -> str:
    asked = head.wait_seconds
    wish = "" if asked is None else f"; it asks to wait {asked:.0f} s"
    return f"{head.place}: server busy ({said}){wish}."


def error_code(body_start: bytes) -> str:
    """Return the <Code> of an object store's XML error, or a registry's code; else ''."""
    match = re.search(ERROR_CODE, body_start) or re.match(REGISTRY_CODE, body_start)
    return match[1].decode("ascii") if match else ""


def is_expired(status: int, body_start: bytes) -> bool:
    """Whether a storage server refuses a signed URL for its age alone."""
    return status in MAY_BE_EXPIRED and re.search(EXPIRED, body_start) is not None


def page_in_place_of(path: str, body_start: bytes, content_type: str = "") -> str | None:
    """Return what the body is, when it cannot be the file `path`; None when it may be.

    Args:
        path: The artifact's path; a page is accepted if the suffix promises one.
        body_start: The first bytes that came.
        content_type: What the server calls them.
    """
    media_type = content_type.partition(";")[0].strip().lower()
    for page in PAGES:
        if re.match(page.pattern, body_start):
            may_be_file = path.lower().endswith(page.suffixes) or media_type in page.types
            return None if may_be_file else page.name
    return None


def excerpt(body_start: bytes) -> str:
    """Return the first bytes as they may be shown, with lines joined."""
    return shown(" ".join(body_start.decode("utf-8", "replace").split()), is_reply=True)


def check_body_start(head: Head, path: str, body_start: bytes) -> None:
    """Refuse an error page that came with status 200.

    Raises:
        ServerBusy: It is an object store's message that means "later".
        BadResponse: It is another page, message or pointer.
    """
    page = page_in_place_of(path, body_start, head.first("Content-Type"))
    if page is None:
        return
    if error_code(body_start) in BUSY_CODES:
        raise ServerBusy(_busy(head, f"{head.status} {error_code(body_start)}"))
    raise BadResponse(
        f"{head.place} answered with {page} instead of {path}: '{excerpt(body_start)}'.",
        hint=f"{VIEWER_HINT if '/blob/' in head.place else PAGE_HINT} {SNIFF_HINT}",
    )


def cut_short(place: str, got: int, expected: int | None) -> ConnectionLost:
    """Return the error for a body that ended early; both counts in bytes of this body."""
    of = "" if expected is None else f" of {expected:,}"
    return ConnectionLost(f"{place} closed the connection after {got:,}{of} bytes.")


BODILESS = frozenset({*range(100, 200), HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})
CHUNK_SIZE = rb"([0-9A-Fa-f]{1,15})[ \t]*(;[^\x00\r\n]*)?\r\n"
FIELD_LINE = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\x00\r\n]*\r\n"
LONGEST_LINE_BYTES = 8192
MOST_TRAILER_LINES = 100


class Stream(Protocol):
    """Source of a body: the buffered socket of http.client."""

    def readinto1(self, buffer: memoryview, /) -> int:
        """Read what one call to the socket gives; 0 at the end."""

    def readline(self, limit: int, /) -> bytes:
        """Read one line, its end included; at most `limit` bytes."""


class Body(Protocol):
    """The bytes of one reply."""

    def readinto(self, buffer: memoryview) -> int:
        """Read at least one byte into the buffer, and return how many; 0 when it is complete.

        Raises:
            ConnectionLost: It ended before it was complete.
            BadResponse: Its framing is broken.
        """


def body_of(head: Head, stream: Stream) -> Body:
    """Return the body that follows this head.

    Raises:
        BadResponse: The head's framing headers contradict each other.
    """
    if head.status in BODILESS:  # whatever the head says, or a kept-alive one would never end
        return SizedBody(head.place, stream, 0)
    length = head.length
    if head.is_chunked:
        return ChunkedBody(head.place, stream)
    return UntilClosedBody(stream) if length is None else SizedBody(head.place, stream, length)


class SizedBody:
    """As many bytes as Content-Length says."""

    def __init__(self, place: str, stream: Stream, length: int) -> None:
        self._place, self._stream, self._length = place, stream, length
        self._left = length

    def readinto(self, buffer: memoryview) -> int:
        """See Body."""
        if not self._left:
            return 0
        count = self._stream.readinto1(buffer[: self._left])
        if not count:
            raise cut_short(self._place, self._length - self._left, self._length)
        self._left -= count
        return count


class UntilClosedBody:
    """Everything until the server closes; only a digest or a known size can say it is whole."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def readinto(self, buffer: memoryview) -> int:
        """See Body."""
        return self._stream.readinto1(buffer)


class ChunkedBody:
    """Chunks, each with its length before it, and an empty one at the end."""

    def __init__(self, place: str, stream: Stream) -> None:
        self._place, self._stream = place, stream
        self._left = self._got = 0
        self._is_complete = False

    def readinto(self, buffer: memoryview) -> int:
        """See Body."""
        if not self._left and not self._is_complete:
            self._begin_chunk()
        if self._is_complete:
            return 0
        count = self._stream.readinto1(buffer[: self._left])
        if not count:
            raise cut_short(self._place, self._got, None)
        self._left -= count
        self._got += count
        if not self._left:
            self._expect(b"\r\n")
        return count

    def _begin_chunk(self) -> None:
        match = re.fullmatch(CHUNK_SIZE, self._line())
        if not match:
            raise self._broken("a chunk size")
        self._left = int(match[1], 16)
        if not self._left:
            self._read_trailer()
            self._is_complete = True

    def _read_trailer(self) -> None:
        for _ in range(MOST_TRAILER_LINES):
            line = self._line()
            if line == b"\r\n":
                return
            if not re.fullmatch(FIELD_LINE, line):
                raise self._broken("a trailer")
        raise self._broken("an endless trailer")

    def _expect(self, end: bytes) -> None:
        if self._line() != end:
            raise self._broken("a chunk's end")

    def _line(self) -> bytes:
        line = self._stream.readline(LONGEST_LINE_BYTES)
        if not line.endswith(b"\n") and len(line) < LONGEST_LINE_BYTES:
            raise ConnectionLost(str(cut_short(self._place, self._got, None)))
        return line

    def _broken(self, part: str) -> BadResponse:
        return BadResponse(f"{self._place} sent {part} that breaks chunked coding (RFC 9112 §7.1).")


REFUSAL_BYTES = 4096
"""Bytes of an error's body that are read for its cause."""


class Reply:
    """The head of the final reply and its body; a context manager that gives the connection back.

    A connection whose body was not read to its end is closed: the next file must not begin with
    this one's tail (curl test 1479).
    """

    def __init__(
        self,
        url: str,
        response: HTTPResponse,
        request: Request,
        *,
        is_redirected: bool,
        is_bodiless: bool = False,
    ) -> None:
        self.url = url
        self._raw = response
        self._request, self._is_redirected = request, is_redirected
        self._is_complete = is_bodiless
        self.head = Head(
            status=response.status,
            place=redact(url),
            values=self._raw.headers.getlist,
            names=self._raw.headers.keys,
        )
        self._body: Body | None = None
        self.asked: Location | None = None
        """What was asked, if that is an object store, with what to do about its refusals."""

    def readinto(self, buffer: memoryview, *, fills: bool = False) -> int:
        """Read body bytes as they were received, never decoded; 0 at the complete end.

        Args:
            buffer: Where to.
            fills: Whether to read on while more is there already: chunks may be short.

        Raises:
            ConnectionLost: The body ended before it was complete.
            TimedOut: No byte, or too few, came in time.
            BadResponse: The framing is broken.
        """
        count, wanted = 0, min(len(buffer), FILL_BYTES) if fills else 0
        try:
            with translated(self.url, self._request.deadline.seconds):
                body = self._body or self._begin_body()
                while more := body.readinto(buffer[count:]):
                    count += more
                    if count >= wanted or not self._has_more_now():
                        return count
        except TransferError:  # it comes again when nothing is left to lose
            if not count:
                raise
            return count
        # After an interim status, which http.client takes for the last, the real reply follows.
        self._is_complete = self.head.status >= HTTPStatus.OK
        return count

    def _begin_body(self) -> Body:
        stream = self._stream()
        is_bodiless = self._is_complete  # before anything was read: a HEAD
        self._body = (
            SizedBody(self.head.place, stream, 0) if is_bodiless else body_of(self.head, stream)
        )
        return self._body

    def _has_more_now(self) -> bool:
        sock = self._socket()
        if sock is None:
            return False
        is_decrypted = isinstance(sock, ssl.SSLSocket) and sock.pending() > 0
        return is_decrypted or wait_for_read(sock, timeout=0)

    def read_some(self, least_bytes: int, most_bytes: int = 0) -> bytes:
        """Return the first bytes of the body: all of one shorter than `least_bytes`.

        Args:
            least_bytes: So many are waited for.
            most_bytes: So many are taken when they come along with them.

        Raises:
            TransferError: As readinto.
        """
        buffer = memoryview(bytearray(max(least_bytes, most_bytes)))
        filled = 0
        while filled < least_bytes and (count := self.readinto(buffer[filled:])):
            filled += count
        return bytes(buffer[:filled])

    def refusal(self, location: Location) -> ModelmakeError:
        """Return the error for a reply that is not a file; its body's start may say why.

        Args:
            location: What was asked; its hint is for a refusal by its own origin.
        """
        start = self._read_start()
        if self.asked:
            from downloader.network._signing import explained  # noqa: PLC0415 - few files are in one

            hint, advice = self.asked.credential_hint, self.asked.advice
            return explained(refusal(self.head, start, hint, advice), self.head, start)
        if self._is_redirected and is_expired(self.head.status, start):
            return LinkExpired(f"{self.head.place} says that its signed URL has expired.")
        if has_same_origin(self.url, location.url):
            return refusal(self.head, start, location.credential_hint, location.advice)
        return refusal(self.head, start, said=excerpt(start)[:MOST_SAID])

    @property
    def peer(self) -> str:
        """The address of the connection; empty if a proxy connected."""
        return self._request.peer

    def _read_start(self) -> bytes:
        with contextlib.suppress(ModelmakeError):  # it breaks off, and is not wanted anyway
            return self.read_some(REFUSAL_BYTES)
        return b""

    def _stream(self) -> Stream:
        response = self._raw._fp  # noqa: SLF001 - urllib3 offers no read without a copy
        if not isinstance(response, http.client.HTTPResponse):
            raise TransferError(
                "urllib3 was replaced by another package in this environment.",
                hint="Uninstall niquests and urllib3-future, then `pip install urllib3`.",
            )
        return response.fp

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the connection back when the body was read to its end, else close it."""
        if self._is_complete and self._raw._fp is not None:  # noqa: SLF001
            self._raw._fp.close()  # noqa: SLF001 - tells http.client that the reply is read
            self._raw.release_conn()
        else:
            self._raw.close()
        self._request.close()

    def _socket(self) -> socket.socket | None:
        """Return the socket itself; http.client lets go of it if the server will close."""
        stream = getattr(self._raw._fp, "fp", None)  # noqa: SLF001
        found = getattr(getattr(stream, "raw", None), "sock", None)
        return found if isinstance(found, socket.socket) else None
