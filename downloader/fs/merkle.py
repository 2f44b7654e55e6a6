"""BEP 52's Merkle tree of a file's blocks, and the program that hashes pieces outside of ours.

https://www.bittorrent.org/beps/bep_0052.html, "pieces root" and "piece layers": the leaves are the
SHA-256 of blocks of 16 KiB, the last one as short as it is; where leaves are missing for a balanced
tree, 32 zero bytes stand for each. A node is the SHA-256 of its two children.

piece_check.py runs this file by its path, with the descriptor of a file, its size and the length of
a piece in bytes. Standard input then brings spans of pieces as SPAN has them, and standard output
has each piece's node. So this module imports nothing of ours, and little else.
"""

import hashlib
import os
import struct
import sys
from collections.abc import Callable, Iterable
from functools import cache

BLOCK_BYTES = 16 << 10
HASH_BYTES = 32
CACHED_BYTES = 256 << 10
"""It fits into a core's own cache (L2) beside the digest's work, and larger ones read no faster."""
SPAN = struct.Struct("<QQ")
"""The first piece, and where to end."""
_NO_LEAF = bytes(HASH_BYTES)
_preadv = getattr(os, "preadv", None)
_PAIRS = struct.Struct(f"{2 * HASH_BYTES}s")


def merkle_leaves(data: memoryview) -> bytes:
    """Return the leaves of bytes that begin at a block, one after the other."""
    starts = range(0, len(data), BLOCK_BYTES)
    return _leaves([data[at : at + BLOCK_BYTES] for at in starts])


def _leaves(blocks: Iterable[memoryview]) -> bytes:
    """Return the SHA-256 of each; a copy of a new hash costs less than one more new hash."""
    new, found = hashlib.sha256(usedforsecurity=False).copy, []
    for block in blocks:
        digest = new()
        digest.update(block)
        found.append(digest.digest())
    return b"".join(found)


def merkle_node(leaves: bytes, count: int) -> bytes:
    """Return the node over leaves, filled up to `count` of them, a power of two."""
    found, padding = leaves or _NO_LEAF, _NO_LEAF
    for _ in range(count.bit_length() - 1):
        found, padding = _parents(found, padding), _parents(padding * 2, padding)
    return found


def merkle_root(nodes: bytes, count: int) -> bytes:
    """Return the root over the nodes of pieces, each of `count` blocks, a power of two."""
    padding = _padding(count)
    while len(nodes) > HASH_BYTES:
        nodes, padding = _parents(nodes, padding), _parents(padding * 2, padding)
    return nodes


def _parents(nodes: bytes, padding: bytes) -> bytes:
    if len(nodes) % (2 * HASH_BYTES):
        nodes += padding
    sha256 = hashlib.sha256  # its keyword `usedforsecurity` would be parsed for each pair
    return b"".join([sha256(pair).digest() for (pair,) in _PAIRS.iter_unpack(nodes)])


@cache
def _padding(count: int) -> bytes:
    """Return the node of a piece, of `count` blocks, that lies behind the end of the file."""
    return merkle_node(b"", count)


class BlockBuffer:
    """Reads leaves: a buffer of whole blocks, small enough for a core's cache.

    hashlib releases the interpreter lock for each block, and who wants it back while another thread
    has it goes to sleep. So little is done between two blocks: a full buffer is cut only once.
    """

    def __init__(self) -> None:
        self._whole = memoryview(bytearray(CACHED_BYTES))
        starts = range(0, len(self._whole), BLOCK_BYTES)
        self._blocks = [self._whole[at : at + BLOCK_BYTES] for at in starts]

    def leaves_at(self, read: Callable[[memoryview, int], int], start: int, stop: int) -> bytes:
        """Return the leaves of a range of a file; fewer if the file is shorter.

        Args:
            read: Reads the file into a buffer from an offset, and returns how many bytes there
                were: fewer than asked for only at the end of the file.
            start: Where the range begins, at a block.
            stop: Where it ends.
        """
        found = []
        for at in range(start, stop, len(self._whole)):
            count = read(self._whole[: stop - at], at)
            if count == len(self._whole):
                found.append(_leaves(self._blocks))
            else:
                found.append(merkle_leaves(self._whole[:count]))
        return b"".join(found)


def _serve(descriptor: int, size: int, piece_bytes: int) -> None:
    """Write the nodes of the pieces that are asked for, until nobody asks any more."""
    assert _preadv is not None  # piece_check.py saw to that

    def read(buffer: memoryview, offset: int) -> int:
        done = 0
        while done < len(buffer):
            count = _preadv(descriptor, [buffer[done:]], offset + done)
            if not count:
                break
            done += count
        return done

    buffer = BlockBuffer()
    with open(0, "rb", closefd=False) as spans, open(1, "wb", buffering=0, closefd=False) as nodes:
        while len(wanted := spans.read(SPAN.size)) == SPAN.size:
            for index in range(*SPAN.unpack(wanted)):
                start = index * piece_bytes
                leaves = buffer.leaves_at(read, start, min(start + piece_bytes, size))
                nodes.write(merkle_node(leaves, piece_bytes // BLOCK_BYTES))


if __name__ == "__main__":
    try:
        _serve(*map(int, sys.argv[1:]))
    except OSError:  # who asked reads it itself then, and tells why it cannot be read
        sys.exit(1)
