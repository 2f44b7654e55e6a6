"""BEP 52's Merkle tree over one file: its root, and the layer of it that checks piece by piece.

https://www.bittorrent.org/beps/bep_0052.html, "pieces root" and "piece layers": the leaves are the
SHA-256 of blocks of 16 KiB, the last one as short as it is; where leaves are missing for a balanced
tree, 32 zero bytes stand for each. A node is the SHA-256 of its two children. Pure; hashlib only.
"""

import hashlib
from dataclasses import dataclass
from functools import cache

BLOCK_BYTES = 16 << 10
HASH_BYTES = 32
PIECE_BYTES = 4 << 20
"""Of the layers we make: 8 bytes of layer for each MiB of file, 800 kB for 100 GB, and no more
than 4 MiB to fetch again for one wrong bit."""
MOST_PIECE_BYTES = 16 << 20
"""Of the layers we take; BEP 52 knows no bound. Files up to that length get no root."""
_NO_LEAF = bytes(HASH_BYTES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
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
        """How many pieces there are."""
        return len(self.nodes) // HASH_BYTES

    def span(self, index: int) -> tuple[int, int]:
        """Return where a piece begins and where it ends, half open, in bytes."""
        start = index * self.piece_bytes
        return start, min(start + self.piece_bytes, self.size)

    def is_right(self, index: int, leaves: bytes) -> bool:
        """Whether a piece that has these leaves is the one that is wanted."""
        wanted = self.nodes[index * HASH_BYTES : (index + 1) * HASH_BYTES]
        return node(leaves, self.piece_bytes // BLOCK_BYTES) == wanted


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
    root = _top(nodes, _padding(piece_bytes // BLOCK_BYTES))
    return Layer(root=root.hex(), size=size, piece_bytes=piece_bytes, nodes=nodes)


def leaves(data: memoryview) -> bytes:
    """Return the leaves of bytes that begin at a block, one after the other."""
    sha256 = hashlib.sha256  # its keyword `usedforsecurity` would be parsed for each block
    blocks = range(0, len(data), BLOCK_BYTES)
    return b"".join([sha256(data[at : at + BLOCK_BYTES]).digest() for at in blocks])


def node(leaves: bytes, count: int) -> bytes:
    """Return the node over leaves, filled up to `count` of them, a power of two."""
    found, padding = leaves or _NO_LEAF, _NO_LEAF
    for _ in range(count.bit_length() - 1):
        found, padding = _parents(found, padding), _parents(padding * 2, padding)
    return found


def _top(nodes: bytes, padding: bytes) -> bytes:
    while len(nodes) > HASH_BYTES:
        nodes, padding = _parents(nodes, padding), _parents(padding * 2, padding)
    return nodes


def _parents(nodes: bytes, padding: bytes) -> bytes:
    if len(nodes) % (2 * HASH_BYTES):
        nodes += padding
    sha256, pairs = hashlib.sha256, range(0, len(nodes), 2 * HASH_BYTES)
    return b"".join([sha256(nodes[at : at + 2 * HASH_BYTES]).digest() for at in pairs])


@cache
def _padding(count: int) -> bytes:
    """Return the node of a piece, of `count` blocks, that lies behind the end of the file."""
    return node(b"", count)
