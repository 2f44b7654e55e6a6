"""Piece layers as text: one a line, in models.pieces and, each alone, in the store.

    {"root":"ab12…","piece":4194304,"layer":"base64 of 32 bytes for each piece"}

Nothing read here is trusted: a layer counts only where it leads to the root that models.lock has.
So who hands one on need not be believed, and a file that is torn, in the middle of a merge or
made by somebody else costs nothing but the layers in it.
"""

from collections.abc import Iterable, Iterator
from typing import BinaryIO

import msgspec

from downloader.fs.rooted_path import RootedPath
from downloader.pieces import merkle
from downloader.pieces.merkle import Layer

LONGEST_LINE_BYTES = 64 << 20
"""Of a file of some 6 TB; what is longer is passed over unread."""
_CHUNK_BYTES = 1 << 20


class _Line(msgspec.Struct, frozen=True, kw_only=True):
    root: str
    piece: int
    layer: bytes


_decoder = msgspec.json.Decoder(_Line)


def dump(layer: Layer) -> bytes:
    """Return a layer as a line."""
    line = _Line(root=layer.root, piece=layer.piece_bytes, layer=layer.nodes)
    return msgspec.json.encode(line) + b"\n"


def load(line: bytes, root: str, size: int) -> Layer | None:
    """Return the layer that a line holds of a file; None where it is not that file's.

    Args:
        line: With or without its end.
        root: The file's root, in hex.
        size: The file's length in bytes.
    """
    try:
        found = _decoder.decode(line)
        layer = merkle.layer_of(found.layer, size, found.piece)
    except (ValueError, RecursionError):
        return None
    return layer if layer.root == root else None


def lines_of(path: RootedPath) -> Iterator[bytes]:
    """Yield the lines of a file, too long ones and one that is torn left out.

    Raises:
        OSError: It cannot be read; that it is not there is no error.
    """
    if not path.is_file():
        return
    with path.open_file("rb") as file:
        while line := file.readline(LONGEST_LINE_BYTES):
            if line.endswith(b"\n"):
                yield line
            else:
                _skip_line(file)


def is_about(line: bytes, root: str) -> bool:
    """Whether a line, as `dump` writes it, claims to be of a root; it may be wrong all the same."""
    return line.startswith(f'{{"root":"{root}"'.encode())


def joined(layers: Iterable[Layer], lines: Iterable[bytes], roots: Iterable[str]) -> bytes:
    """Return the text of models.pieces: these layers, and lines that are there of other roots.

    Args:
        layers: What is known.
        lines: What is there.
        roots: Of which files lines are kept.
    """
    wanted = dict.fromkeys(roots, b"")
    for line in lines:
        root = line[len(b'{"root":"') :][: 2 * merkle.HASH_BYTES].decode("ascii", "replace")
        if root in wanted and is_about(line, root):
            wanted[root] = line
    wanted |= {layer.root: dump(layer) for layer in layers}
    return b"".join(line for _, line in sorted(wanted.items()))


def _skip_line(file: BinaryIO) -> None:
    while (part := file.readline(_CHUNK_BYTES)) and not part.endswith(b"\n"):
        pass
