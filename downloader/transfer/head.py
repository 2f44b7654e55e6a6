"""What the head of a reply says: status, length, validator, range, patience. Pure.

Every number in it is checked before it is believed: a length that is negative, doubled or not a
number is an error, as in curl's tests 178, 394, 415 and 771.
"""

import base64
import binascii
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from downloader.errors import BadResponse
from downloader.gate import is_etag
from downloader.transfer.ranges import Range, parse_content_range

HeaderValues = Callable[[str], Sequence[str]]

LENGTH = re.compile(r"[0-9]{1,18}")
MD5_BYTES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The head of one reply; `place` is the URL as it may be shown."""

    status: int
    place: str
    values: HeaderValues

    def first(self, name: str) -> str:
        """Return the header's first value, or an empty text."""
        found = self.values(name)
        return found[0].strip() if found else ""

    @property
    def is_chunked(self) -> bool:
        """Whether the body comes in chunks.

        Raises:
            BadResponse: Another transfer coding is laid over it (curl tests 1546, 1722, 1723).
        """
        codings = ",".join(self.values("Transfer-Encoding")).strip().lower()
        if codings in ("", "chunked"):
            return codings == "chunked"
        raise BadResponse(f"{self.place} answered with the transfer coding {codings[:60]!r}.")

    @property
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
        return None if self.is_chunked else int(text)

    @property
    def has_known_end(self) -> bool:
        """Whether the framing tells the body's end from a broken connection."""
        return self.is_chunked or self.length is not None

    @property
    def coding(self) -> str:
        """The content coding, empty for identity."""
        coding = ",".join(self.values("Content-Encoding")).strip().lower()
        return "" if coding == "identity" else coding

    @property
    def etag(self) -> str | None:
        """The validator exactly as received: real Azure leaves out the quotes.

        None where it holds a control character: it could not be sent back.
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
            shown = ", ".join(found)[:60] or "none"
            raise BadResponse(
                f"{self.place} answered a range with the Content-Range {shown!r}."
            ) from None

    @property
    def md5(self) -> str | None:
        """The MD5 of the whole file in hex, where the server publishes one.

        On a 206, Content-MD5 would be that of the range; Azure moves the file's to another header.
        """
        is_range = self.status == HTTPStatus.PARTIAL_CONTENT
        names = ("x-ms-blob-content-md5",) if is_range else ("Content-MD5", "x-ms-blob-content-md5")
        for name in names:
            digest = _decoded(self.first(name))
            if len(digest) == MD5_BYTES:
                return digest.hex()
        return None

    @property
    def wait_seconds(self) -> float | None:
        """What Retry-After asks for, in seconds, None when it asks for nothing usable.

        A date is counted from the server's own Date, so that a wrong clock here does no harm.
        """
        text = self.first("Retry-After")
        if LENGTH.fullmatch(text):
            return float(text)
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
