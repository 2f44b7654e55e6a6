"""Bodies by their framing: each ends in one way only."""

import contextlib
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from downloader.errors import BadResponse, ConnectionLost, TransferError
from downloader.network._response import Body, ChunkedBody, SizedBody, UntilClosedBody, body_of
from tests.network.test_head import head

PLACE = "http://host/file"
CHUNKS = st.lists(st.binary(min_size=1, max_size=30), max_size=8)
READS = st.lists(st.integers(1, 25), min_size=1, max_size=20)


class Wire:
    """A stream whose calls give as many bytes as the script says, over and over.

    Args:
        data: What was sent before the connection ended.
        counts: The most bytes of each call.
    """

    def __init__(self, data: bytes, counts: list[int]) -> None:
        self._data = io.BytesIO(data)
        self._counts = counts
        self._calls = 0

    def readinto1(self, buffer: memoryview) -> int:
        """Give at most the next count."""
        count = self._counts[self._calls % len(self._counts)]
        self._calls += 1
        return self._data.readinto(buffer[:count])

    def readline(self, limit: int) -> bytes:
        """Give one line."""
        return self._data.readline(limit)

    @property
    def rest(self) -> bytes:
        """What nobody has read."""
        return self._data.read()


def chunked(parts: list[bytes], trailer: bytes = b"", extension: bytes = b"") -> bytes:
    sent = b"".join(b"%x%s\r\n%s\r\n" % (len(part), extension, part) for part in parts)
    return sent + b"0\r\n" + trailer + b"\r\n"


def read_all(body: Body, most_bytes: int = 16) -> bytes:
    buffer = memoryview(bytearray(most_bytes))
    parts = []
    while count := body.readinto(buffer):
        parts.append(bytes(buffer[:count]))
    assert body.readinto(buffer) == 0, "the end is the end"
    return b"".join(parts)


@given(CHUNKS, READS, st.integers(1, 40))
def test_any_split_into_reads_gives_the_chunked_bytes(
    parts: list[bytes], reads: list[int], buffer_bytes: int
) -> None:
    """However the wire splits them, the chunks' bytes come out, and nothing after them is read."""
    wire = Wire(chunked(parts) + b"HTTP/1.1", reads)
    assert read_all(ChunkedBody(PLACE, wire), buffer_bytes) == b"".join(parts)
    assert wire.rest == b"HTTP/1.1"


@given(st.binary(max_size=200), READS, st.integers(1, 40))
def test_any_split_into_reads_gives_the_sized_bytes(
    data: bytes, reads: list[int], buffer_bytes: int
) -> None:
    """A sized body is exactly as long as was said, and nothing after it is read."""
    wire = Wire(data + b"HTTP/1.1", reads)
    assert read_all(SizedBody(PLACE, wire, len(data)), buffer_bytes) == data
    assert wire.rest == b"HTTP/1.1"


@given(CHUNKS, READS, st.data())
def test_any_cut_of_a_chunked_body_is_an_error(
    parts: list[bytes], reads: list[int], data: st.DataObject
) -> None:
    """The end of the connection never passes for the end of a chunked body."""
    whole = chunked(parts, trailer=b"X-Sum: 1\r\n")
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    with pytest.raises(ConnectionLost):
        read_all(ChunkedBody(PLACE, Wire(cut, reads)))


@given(st.binary(min_size=1, max_size=200), READS, st.data())
def test_any_cut_of_a_sized_body_is_an_error(
    whole: bytes, reads: list[int], data: st.DataObject
) -> None:
    """A body shorter than was said is an error that names both numbers."""
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    with pytest.raises(ConnectionLost, match=f"after {len(cut)} of {len(whole)} bytes"):
        read_all(SizedBody(PLACE, Wire(cut, reads), len(whole)))


@given(CHUNKS, READS, st.data())
def test_any_damage_to_a_chunked_body_is_an_error_or_bytes(
    parts: list[bytes], reads: list[int], data: st.DataObject
) -> None:
    """Whatever byte of the framing or the data is another, nothing but our errors comes of it."""
    whole = bytearray(chunked(parts))
    whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(TransferError):
        read_all(ChunkedBody(PLACE, Wire(bytes(whole), reads)))


@pytest.mark.parametrize(
    "sent",
    [
        b"zz\r\nhello\r\n0\r\n\r\n",
        b"-5\r\nhello\r\n0\r\n\r\n",
        b"+5\r\nhello\r\n0\r\n\r\n",
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"5_0\r\nhello\r\n0\r\n\r\n",
        b"\r\nhello\r\n0\r\n\r\n",
        b"5\nhello\r\n0\r\n\r\n",
        b"5\r\nhello\n0\r\n\r\n",
        b"5\r\nhelloX\r\n0\r\n\r\n",
        b"FFFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n",
        b"5;a=\0b\r\nhello\r\n0\r\n\r\n",
        b"5\r\nhello\r\n0\r\nX: a\0b\r\n\r\n",
        b"5\r\nhello\r\n0\r\nno field\r\n\r\n",
        b"5\r\nhello\r\n0\n\n",
        b"5" + b";x" * 5000 + b"\r\nhello\r\n0\r\n\r\n",
        b"5\r\nhello\r\n0\r\n" + b"X: 1\r\n" * 101 + b"\r\n",
    ],
)
def test_broken_chunked_coding_is_an_error(sent: bytes) -> None:
    """Nothing is guessed at that RFC 9112 §7.1 does not allow (curl tests 36, 1116, 1416, 2106)."""
    with pytest.raises(BadResponse, match="RFC 9112"):
        read_all(ChunkedBody(PLACE, Wire(sent, [100])))


@pytest.mark.parametrize("extension", [b";name=value", b" ", b'\t;q="x"'])
def test_chunk_extensions_and_trailers_are_read_over(extension: bytes) -> None:
    """What the RFC allows around the data is not taken for data."""
    sent = chunked([b"hello", b"world"], b"X-Sum: 1\r\n", extension)
    assert read_all(ChunkedBody(PLACE, Wire(sent, [3]))) == b"helloworld"


def test_a_body_without_length_ends_with_the_connection() -> None:
    """Everything until the end is the body."""
    assert read_all(UntilClosedBody(Wire(b"hello", [2]))) == b"hello"


@pytest.mark.parametrize("status", [103, 204, 304])
def test_a_status_without_body_has_none_whatever_the_head_says(status: int) -> None:
    """Nobody waits for the body of a 204 on a connection that stays open (RFC 9112 §6.3)."""
    wire = Wire(b"HTTP/1.1 200 OK", [100])
    assert read_all(body_of(head(status, content_length="5"), wire)) == b""
    assert wire.rest == b"HTTP/1.1 200 OK"


def test_the_framing_decides_the_body() -> None:
    """Chunks come before a length, and a length before the end of the connection."""
    wire = Wire(chunked([b"hello"]), [100])
    both = head(content_length="3", transfer_encoding="chunked")
    assert read_all(body_of(both, wire)) == b"hello"
    assert read_all(body_of(head(content_length="3"), Wire(b"hello", [100]))) == b"hel"
    assert read_all(body_of(head(), Wire(b"hello", [100]))) == b"hello"
