"""Digests of bytes on disk, in one pass over a reused buffer."""

import hashlib
from collections.abc import Iterable
from io import FileIO
from pathlib import Path
from typing import Protocol

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


def feed(descriptor: int, length: int, hashes: Iterable[Hash]) -> int:
    """Hash the file's first bytes, from its current position.

    Args:
        descriptor: An open file, at the position to begin from.
        length: How many bytes to read.
        hashes: What to feed them to.

    Returns:
        How many bytes there were, fewer than `length` when the file is shorter.
    """
    buffer = memoryview(bytearray(min(BUFFER_BYTES, max(length, 1))))
    hashes = tuple(hashes)
    done = 0
    with FileIO(descriptor, closefd=False) as file:  # os.readv would be for POSIX only
        while done < length and (count := file.readinto(buffer[: length - done])):
            for each in hashes:
                each.update(buffer[:count])
            done += count
    return done


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hex.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb", buffering=0) as file:
        return hashlib.file_digest(file, new_sha256).hexdigest()  # type: ignore[arg-type]
