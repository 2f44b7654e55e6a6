"""What a resource holds: bytes in memory, or a body made up as it is read."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

PIECE_BYTES = 256 * 1024


class Body(Protocol):
    """Bytes of a known length that are never needed all at once."""

    def __len__(self) -> int:
        """Return the length in bytes."""

    def slice(self, start: int, stop: int) -> bytes:
        """Return the bytes in [start, stop); both lie within the body."""


@dataclass(frozen=True, slots=True)
class BytesBody:
    """Bytes in memory."""

    data: bytes = b""

    def __len__(self) -> int:
        return len(self.data)

    def slice(self, start: int, stop: int) -> bytes:
        """Return the bytes in [start, stop)."""
        return self.data[start:stop]


@dataclass(frozen=True, slots=True)
class ZeroBody:
    """Zeros, `size` bytes with the tail that ends them: 4 GiB of it cost no memory."""

    size: int
    tail: bytes = b""

    def __len__(self) -> int:
        return self.size

    def slice(self, start: int, stop: int) -> bytes:
        """Return the bytes in [start, stop)."""
        tail_start = self.size - len(self.tail)
        zeros = bytes(max(0, min(stop, tail_start) - start))
        return zeros + self.tail[max(0, start - tail_start) : max(0, stop - tail_start)]


@dataclass(frozen=True, slots=True)
class PartBody:
    """The bytes in [start, stop) of another body."""

    whole: Body
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def slice(self, start: int, stop: int) -> bytes:
        """Return the bytes in [start, stop) of this part."""
        return self.whole.slice(self.start + start, self.start + stop)


def as_body(content: bytes | Body) -> Body:
    """Return bytes as a body, and a body as it is."""
    return BytesBody(content) if isinstance(content, bytes) else content


def pieces(body: Body) -> Iterator[bytes]:
    """Yield the whole body in order, at most PIECE_BYTES at a time."""
    for start in range(0, len(body), PIECE_BYTES):
        yield body.slice(start, min(start + PIECE_BYTES, len(body)))


def read_all(body: Body) -> bytes:
    """Return the whole body; for small ones."""
    return body.slice(0, len(body))
