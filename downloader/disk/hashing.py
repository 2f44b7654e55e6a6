"""Digests of bytes on disk, in one pass over a reused buffer."""

import contextlib
import hashlib
import io
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

from downloader.disk.positioned import read_at
from downloader.fs.rooted_path import READ, RootedPath

BUFFER_BYTES = 1 << 20
WHOLE_FILE_BUFFER_BYTES = 1 << 18
"""It fits into a core's own cache (L2) beside the digest's work, and larger ones read no faster."""

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


def sha256_of(path: Path | RootedPath, seen: Callable[[int], object] | None = None) -> str:
    """Return the SHA-256 of a file in hex.

    Args:
        path: The file.
        seen: Called with the number of bytes after each read; what it raises ends the reading.

    Raises:
        OSError: It cannot be read.
    """
    digest = new_sha256()
    with opened(path) as file:
        descriptor = file.fileno()
        _read_ahead(descriptor)
        size = os.fstat(descriptor).st_size
        buffer = memoryview(bytearray(min(WHOLE_FILE_BUFFER_BYTES, size + 1)))
        # No mmap, which would spare a copy: a bad sector or a file cut short ends the process then.
        while count := file.readinto(buffer):
            digest.update(buffer[:count])
            if seen is not None:
                seen(count)
    return digest.hexdigest()


def opened(path: Path | RootedPath) -> io.FileIO:
    """Open a file to read it, unbuffered.

    Args:
        path: A file of the user's own; or one of a model, which no symlink may lead away from.

    Raises:
        OSError: It cannot be opened.
    """
    if isinstance(path, RootedPath):
        return io.FileIO(path.open(READ), "rb")
    return io.FileIO(path, "rb")


def _read_ahead(descriptor: int) -> None:
    """Have the system read larger pieces ahead: a third less CPU where the cache is cold."""
    if _advise is not None:
        with contextlib.suppress(OSError):  # advice only; some file systems know none
            _advise(descriptor, 0, 0, _SEQUENTIAL)
