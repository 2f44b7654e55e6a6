"""The chunked coding of RFC 9112 §7.1, honest and broken."""

from collections.abc import Iterable, Iterator

from tests.servers.exchange import Exchange, Fault
from tests.servers.reply import Drop, Reply, Stage, Step

CHUNK_BYTES = 4096
LAST_CHUNK = b"0\r\n\r\n"


def chunk(data: bytes, end_of_line: bytes = b"\r\n") -> bytes:
    """Return data as one chunk."""
    return f"{len(data):x}".encode() + end_of_line + data + end_of_line


def cut(steps: Iterable[Step], size: int) -> Iterator[Step]:
    """Yield the steps with their bytes cut to at most `size`."""
    for step in steps:
        if isinstance(step, bytes):
            yield from (step[at : at + size] for at in range(0, len(step), size))
        else:
            yield step


def coded(
    size: int, end_of_line: bytes = b"\r\n", after: tuple[Step, ...] = (LAST_CHUNK,)
) -> Stage:
    """Return a stage that sends chunks of `size` bytes, and `after` them."""

    def stage(steps: Iterable[Step]) -> Iterator[Step]:
        for piece in cut(steps, size):
            yield chunk(piece, end_of_line) if isinstance(piece, bytes) else piece
        yield from after

    return stage


def sent_by(stage: Stage) -> Fault:
    """Return a fault: the body is sent as chunked, by this stage."""

    def fault(_: Exchange, reply: Reply) -> Reply:
        bare = reply.without("Content-Length").with_header("Transfer-Encoding", "chunked")
        return bare.through(stage)

    return fault


def chunked(size: int = CHUNK_BYTES) -> Fault:
    """Return no fault at all: the honest chunked coding, without Content-Length."""
    return sent_by(coded(size))


def with_length(*values: str) -> Fault:
    """Return a fault: the chunked coding and Content-Length as well (curl test 365)."""

    def fault(exchange: Exchange, reply: Reply) -> Reply:
        said = [value.format(n=len(reply.body)) for value in values or ("{n}",)]
        return chunked()(exchange, reply).with_header("Content-Length", *said)

    return fault


def ends_before_last(size: int = CHUNK_BYTES) -> Fault:
    """Return a fault: all chunks, and the connection ends before the one of size 0."""
    return sent_by(coded(size, after=(Drop(),)))


def ends_at_boundary(size: int = CHUNK_BYTES) -> Fault:
    """Return a fault: the connection ends after the first chunk (curl test 207)."""
    return ends_after_first(size, b"")


def ends_in_chunk(size: int = CHUNK_BYTES) -> Fault:
    """Return a fault: the connection ends inside the second chunk."""
    return ends_after_first(size, f"{size:x}\r\n".encode() + b"half")


def bad_size(text: bytes = b"zz", size: int = CHUNK_BYTES) -> Fault:
    """Return a fault: the second chunk has this for a size (curl test 36: no hex digit)."""
    return ends_after_first(size, text + b"\r\nhello\r\n" + LAST_CHUNK)


def overflowing_size(size: int = CHUNK_BYTES) -> Fault:
    """Return a fault: a size that fits no 64-bit integer (curl test 1416)."""
    return bad_size(b"F" * 17, size)


def ends_after_first(size: int, rest: bytes) -> Fault:
    """Return a fault: one honest chunk, then these bytes, then the connection ends."""

    def stage(steps: Iterable[Step]) -> Iterator[Step]:
        for piece in cut(steps, size):
            yield from (chunk(piece), rest, Drop()) if isinstance(piece, bytes) else (piece,)

    return sent_by(stage)


def nul_in_trailer(size: int = CHUNK_BYTES) -> Fault:
    """Return a fault: a trailer field holds a NUL (curl test 2106)."""
    return sent_by(coded(size, after=(b"0\r\nX-Trailer: a\0b\r\n\r\n",)))


def bare_line_feeds(size: int = CHUNK_BYTES) -> Fault:
    """Return a fault: lines end with LF alone, as RFC 9112 §7.1 forbids (curl test 1116)."""
    broken = sent_by(coded(size, b"\n", after=(b"0\n\n",)))
    return lambda exchange, reply: broken(exchange, reply).closing()
