"""Digests of files: SHA-256 in one pass, and piece layers, for checks piece by piece.

A layer has the nodes of a file's pieces, in the tree of merkle.py. It is one line of text, in
models.pieces and, alone, in the store:

    {"root":"ab12…","piece":4194304,"layer":"base64 of 32 bytes for each piece"}

No layer that is read here is trusted: it counts only if it leads to the root that models.lock has.
So you need not trust who hands one on, and a file that is torn, in the middle of a merge or made by
somebody else costs only the layers in it.
"""

import contextlib
import hashlib
import io
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol

import msgspec

from downloader.fs.merkle import BLOCK_BYTES, CACHED_BYTES, HASH_BYTES, merkle_node, merkle_root
from downloader.fs.open_file import OpenFile
from downloader.fs.rooted_path import READ, RootedPath, open_to_read

BUFFER_BYTES = 1 << 20

_copy_range = getattr(os, "copy_file_range", None)
_advise = getattr(os, "posix_fadvise", None)
_SEQUENTIAL = getattr(os, "POSIX_FADV_SEQUENTIAL", 0)


class Hash(Protocol):
    """A running digest of hashlib; it releases the GIL while it works."""

    def update(self, data: memoryview, /) -> None:
        """Take in the next bytes."""

    def hexdigest(self) -> str:
        """Return the digest so far in hex."""


def cores() -> int:
    """Return how many cores this process may use: a container, or taskset, may allow it fewer."""
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed else os.cpu_count() or 1


def new_sha256() -> Hash:
    """Return a running SHA-256."""
    return hashlib.sha256(usedforsecurity=False)


def new_md5() -> Hash:
    """Return a running MD5; providers publish it, and it guards against damage only."""
    return hashlib.md5(usedforsecurity=False)


def new_git_sha1(size: int) -> Hash:
    """Return a running digest of a git blob of so many bytes: its id (git-hash-object(1))."""
    return hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)


def feed(file: OpenFile, start: int, stop: int, hashes: Iterable[Hash]) -> int:
    """Hash a range of an open file.

    Args:
        file: The file.
        start: The first byte.
        stop: Where to end.
        hashes: What to feed the bytes to.

    Returns:
        How many bytes there were, fewer than asked for when the file is shorter.
    """
    buffer = memoryview(bytearray(min(BUFFER_BYTES, max(stop - start, 1))))
    hashes = tuple(hashes)
    position = start
    while position < stop and (count := file.read_at(buffer[: stop - position], position)):
        for each in hashes:
            each.update(buffer[:count])
        position += count
    return position - start


def sha256_of(path: Path | RootedPath, seen: Callable[[int], object] | None = None) -> str:
    """Return the SHA-256 of a file in hex.

    Args:
        path: The file.
        seen: Called with the number of bytes after each read; what it raises ends the reading.

    Raises:
        StoreError: It cannot be read.
    """
    digest, done = new_sha256(), 0
    with open_to_read(path) as file:
        _read_ahead(file.descriptor)
        size = file.status().st_size
        buffer = memoryview(bytearray(min(CACHED_BYTES, size + 1)))
        # No mmap, which would spare a copy: a bad sector or a file cut short ends the process then.
        while count := file.read_at(buffer, done):
            digest.update(buffer[:count])
            done += count
            if seen is not None:
                seen(count)
    return digest.hexdigest()


def _read_ahead(descriptor: int) -> None:
    """Have the system read larger pieces ahead: a third less CPU if the cache is cold."""
    if _advise is not None:
        with contextlib.suppress(OSError):  # advice only; some file systems know none
            _advise(descriptor, 0, 0, _SEQUENTIAL)


STEP_BYTES = 64 << 20
"""After so many bytes it is asked whether the run was stopped."""

StopCheck = Callable[[], None]
"""Called often; raises Interrupted when the run is to stop."""


def feed_all(file: OpenFile, size: int, hashes: Iterable[Hash], watch: StopCheck) -> int:
    """Hash an open file from its first byte, and return how many there were.

    Args:
        file: The file.
        size: How many at most.
        hashes: What to feed the bytes to.
        watch: Called now and then; raises Interrupted when the run is to stop.
    """
    position = 0
    while count := feed(file, position, min(position + STEP_BYTES, size), hashes):
        position += count
        watch()
    return position


def copy_start(source: OpenFile, copy: OpenFile, size: int, watch: StopCheck) -> int:
    """Copy the first bytes of a file to the start of another one, and return how many there were.

    If the file system can, both then share their blocks. Nothing is synced or compared.

    Args:
        source: The file.
        copy: The other one.
        size: How many bytes at most.
        watch: As in `copy_hashed`.

    Raises:
        StoreError: The disk refused.
    """
    position = 0
    if _copy_range is not None:
        with contextlib.suppress(OSError):  # between two file systems, or one that does not know it
            while position < size:
                step = min(STEP_BYTES, size - position)
                files = source.descriptor, copy.descriptor
                if not (count := int(_copy_range(*files, step, position, position))):
                    break
                watch()
                position += count
    return _copy_on(source.read_at, copy, watch, position, size)


def _copy_on(
    read_at: Callable[[memoryview, int], int],
    copy: OpenFile,
    watch: StopCheck,
    position: int = 0,
    stop: int | None = None,
) -> int:
    """Copy from a position on by reading and writing, and return where that ended."""
    buffer = memoryview(bytearray(BUFFER_BYTES))
    while count := read_at(buffer if stop is None else buffer[: stop - position], position):
        watch()
        copy.write_at(buffer[:count], position)
        position += count
    return position


def copy_hashed(read_at: Callable[[memoryview, int], int], copy: OpenFile, watch: StopCheck) -> str:
    """Copy a whole file into an empty one, and return the SHA-256 of what the disk then has.

    Args:
        read_at: Reads into a buffer from an offset, and returns how many bytes there were.
        copy: The empty file; it is synced, and read again.
        watch: Called often; raises Interrupted when the run is to stop.

    Raises:
        StoreError: The disk refused.
    """
    size = _copy_on(read_at, copy, watch)
    copy.sync()
    digest = new_sha256()
    feed_all(copy, size, (digest,), watch)
    return digest.hexdigest()


PIECE_BYTES = 4 << 20
"""Of the layers we make: 8 bytes of layer for each MiB of file, 800 kB for 100 GB, and no more
than 4 MiB to fetch again for one wrong bit."""
MOST_PIECE_BYTES = 16 << 20
"""Of the layers we take; BEP 52 knows no bound. Files up to that length get no root."""


class Layer(msgspec.Struct, frozen=True, kw_only=True):
    """One file's piece layer.

    Attributes:
        root: The file's root, in hex.
        size: The file's length in bytes.
        piece_bytes: How long a piece is: a power of two, the last piece may be shorter.
        nodes: Each piece's node, 32 bytes, one after the other.
        is_proof: Whether right pieces prove the file's SHA-256 too.
    """

    root: str
    size: int
    piece_bytes: int
    nodes: bytes
    is_proof: bool = False

    @property
    def count(self) -> int:
        """Number of pieces."""
        return len(self.nodes) // HASH_BYTES

    def span(self, index: int) -> tuple[int, int]:
        """Return where a piece begins and where it ends, half open, in bytes."""
        start = index * self.piece_bytes
        return start, min(start + self.piece_bytes, self.size)

    def node(self, index: int) -> bytes:
        """Return the node of a piece that is right."""
        return self.nodes[index * HASH_BYTES : (index + 1) * HASH_BYTES]

    def is_right(self, index: int, leaves: bytes) -> bool:
        """Whether a piece that has these leaves is the one that is wanted."""
        return merkle_node(leaves, self.piece_bytes // BLOCK_BYTES) == self.node(index)


def layer_of(nodes: bytes, size: int, piece_bytes: int = PIECE_BYTES) -> Layer:
    """Return the layer of a file whose pieces have these nodes.

    Raises:
        ValueError: No file of that size has so many pieces, or no tree pieces of that length.
    """
    is_power_of_two = piece_bytes & (piece_bytes - 1) == 0
    if not (is_power_of_two and BLOCK_BYTES <= piece_bytes <= MOST_PIECE_BYTES):
        raise ValueError(piece_bytes)
    if size <= piece_bytes or len(nodes) != -(-size // piece_bytes) * HASH_BYTES:
        raise ValueError(size)
    root = merkle_root(nodes, piece_bytes // BLOCK_BYTES)
    return Layer(root=root.hex(), size=size, piece_bytes=piece_bytes, nodes=nodes)


def joined_spans(layer: Layer, indexes: Iterable[int]) -> list[tuple[int, int]]:
    """Return where these pieces lie in the file: half-open spans, neighbours joined."""
    spans: list[tuple[int, int]] = []
    for start, stop in map(layer.span, sorted(indexes)):
        if spans and spans[-1][1] == start:
            spans[-1] = spans[-1][0], stop
        else:
            spans.append((start, stop))
    return spans


LONGEST_LINE_BYTES = 64 << 20
"""Of a file of some 6 TB; what is longer is passed over unread."""
_CHUNK_BYTES = 1 << 20


class _LayerLine(msgspec.Struct, frozen=True, kw_only=True):
    root: str
    piece: int
    layer: bytes


_decoder = msgspec.json.Decoder(_LayerLine)


def dump_layer(layer: Layer) -> bytes:
    """Return a layer as a line."""
    line = _LayerLine(root=layer.root, piece=layer.piece_bytes, layer=layer.nodes)
    return msgspec.json.encode(line) + b"\n"


def load_layer(line: bytes, root: str, size: int) -> Layer | None:
    """Return the layer that a line holds of a file; None if it is not that file's.

    Args:
        line: With or without its end.
        root: The file's root, in hex.
        size: The file's length in bytes.
    """
    try:
        found = _decoder.decode(line)
        layer = layer_of(found.layer, size, found.piece)
    except (ValueError, RecursionError):
        return None
    return layer if layer.root == root else None


def layer_lines(path: RootedPath) -> Iterator[bytes]:
    """Yield the lines of a file, too long ones and one that is torn left out.

    Raises:
        StoreError: It cannot be read; a missing file is not an error.
    """
    if not path.is_file():
        return
    with path.open(READ) as file:
        lines = file.stream(_CHUNK_BYTES)
        while line := lines.readline(LONGEST_LINE_BYTES):
            if line.endswith(b"\n"):
                yield line
            else:
                _skip_line(lines)


def is_line_of(line: bytes, root: str) -> bool:
    """Whether a line, as `dump` writes it, claims to be of a root; it may be wrong anyway."""
    return line.startswith(f'{{"root":"{root}"'.encode())


def joined_layers(layers: Iterable[Layer], lines: Iterable[bytes], roots: Iterable[str]) -> bytes:
    """Return the text of models.pieces: these layers, and lines that are there of other roots.

    Args:
        layers: What is known.
        lines: What is there.
        roots: Of which files lines are kept.
    """
    wanted = dict.fromkeys(roots, b"")
    for line in lines:
        root = line[len(b'{"root":"') :][: 2 * HASH_BYTES].decode("ascii", "replace")
        if root in wanted and is_line_of(line, root):
            wanted[root] = line
    wanted |= {layer.root: dump_layer(layer) for layer in layers}
    return b"".join(line for _, line in sorted(wanted.items()))


def _skip_line(lines: io.BufferedReader) -> None:
    while (part := lines.readline(_CHUNK_BYTES)) and not part.endswith(b"\n"):
        pass
