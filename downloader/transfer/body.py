"""The body of a reply, by its framing (RFC 9112 §6): by length, in chunks, or until closed.

Python's http.client reads chunks leniently: a bare line feed makes it lose bytes in silence, and
a cut trailer passes for an end. Here each framing ends in one way only, and all else is an error.
"""

import re
from http import HTTPStatus
from typing import Protocol

from downloader.errors import BadResponse, ConnectionLost
from downloader.transfer.head import Head
from downloader.transfer.refusals import cut_short

BODILESS = frozenset({*range(100, 200), HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})
CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(;[^\x00\r\n]*)?\r\n")
FIELD_LINE = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\x00\r\n]*\r\n")
LONGEST_LINE_BYTES = 8192
MOST_TRAILER_LINES = 100


class Stream(Protocol):
    """What a body is read from: the buffered socket of http.client."""

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
        match = CHUNK_SIZE.fullmatch(self._line())
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
            if not FIELD_LINE.fullmatch(line):
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
