"""Digests of bytes on disk, in one pass over a reused buffer."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from downloader.positioned import read_at

BUFFER_BYTES = 1 << 20


class Hash(Protocol):
    """A running digest of hashlib; it releases the GIL while it works."""

    def update(self, data: memoryview, /) -> None:
        """Take in the next bytes."""

    def hexdigest(self) -> str:
        """Return the digest so far in hex."""


def new_sha256() -> Hash:
    """Return a running SHA-256."""
    return hashlib.sha256(usedforsecurity=False)


def new_md5() -> Hash:
    """Return a running MD5; providers publish it, and it guards against damage only."""
    return hashlib.md5(usedforsecurity=False)


def feed(descriptor: int, start: int, stop: int, hashes: Iterable[Hash]) -> int:
    """Hash a range of an open file.

    Args:
        descriptor: The file.
        start: The first byte.
        stop: Where to end.
        hashes: What to feed the bytes to.

    Returns:
        How many bytes there were, fewer than asked for when the file is shorter.
    """
    buffer = memoryview(bytearray(min(BUFFER_BYTES, max(stop - start, 1))))
    hashes = tuple(hashes)
    position = start
    while position < stop and (count := read_at(descriptor, buffer[: stop - position], position)):
        for each in hashes:
            each.update(buffer[:count])
        position += count
    return position - start


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hex.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb", buffering=0) as file:
        return hashlib.file_digest(file, new_sha256).hexdigest()  # type: ignore[arg-type]
