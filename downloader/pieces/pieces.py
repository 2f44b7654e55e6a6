"""Pieces of a file on disk, held against its piece layer."""

from collections.abc import Callable, Iterable

from downloader.disk.hashing import WHOLE_FILE_BUFFER_BYTES, opened
from downloader.disk.positioned import read_at
from downloader.fs.rooted_path import RootedPath
from downloader.pieces import merkle
from downloader.pieces.merkle import Layer


def new_buffer() -> memoryview:
    """Return a buffer to read pieces with: whole blocks, and small enough for a core's cache."""
    return memoryview(bytearray(WHOLE_FILE_BUFFER_BYTES))


def leaves_at(descriptor: int, start: int, stop: int, buffer: memoryview) -> bytes:
    """Return the leaves of a range of an open file; fewer where the file is shorter.

    Args:
        descriptor: The file.
        start: Where it begins, at a block.
        stop: Where it ends.
        buffer: To read with.

    Raises:
        OSError: It cannot be read.
    """
    found = []
    for at in range(start, stop, len(buffer)):
        wanted = buffer[: stop - at]
        found.append(merkle.leaves(wanted[: fill(descriptor, wanted, at)]))
    return b"".join(found)


def wrong_ones(
    path: RootedPath, layer: Layer, indexes: Iterable[int], seen: Callable[[int], object]
) -> list[int]:
    """Return which of some pieces of a file are not as its layer says.

    Args:
        path: The file.
        layer: What it should be.
        indexes: The pieces to read.
        seen: Called with the length of each piece in bytes; what it raises ends the reading.

    Raises:
        OSError: It cannot be read.
    """
    wrong, buffer = [], new_buffer()
    with opened(path) as file:
        for index in indexes:
            start, stop = layer.span(index)
            if not layer.is_right(index, leaves_at(file.fileno(), start, stop, buffer)):
                wrong.append(index)
            seen(stop - start)
    return wrong


def joined(layer: Layer, indexes: Iterable[int]) -> list[tuple[int, int]]:
    """Return where these pieces lie in the file: half-open spans, neighbours joined."""
    spans: list[tuple[int, int]] = []
    for start, stop in map(layer.span, sorted(indexes)):
        if spans and spans[-1][1] == start:
            spans[-1] = spans[-1][0], stop
        else:
            spans.append((start, stop))
    return spans


def fill(descriptor: int, buffer: memoryview, offset: int) -> int:
    """Fill the buffer, since half a block would pass for a whole one; less at the file's end.

    Raises:
        OSError: It cannot be read.
    """
    done = 0
    while done < len(buffer) and (count := read_at(descriptor, buffer[done:], offset + done)):
        done += count
    return done
