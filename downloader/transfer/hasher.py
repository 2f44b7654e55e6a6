"""The digest of a file while it arrives: a thread of its own that follows the first bytes.

Bytes that arrive in order are handed over in memory. What arrived ahead of its turn is read back
when the gap before it is closed: it was just written, so the system still has it in memory.
"""

import contextlib
import mmap
import threading
from collections import deque
from typing import Protocol

from downloader.disk.hashing import BUFFER_BYTES, Hash, feed
from downloader.disk.positioned import read_at

INLINE_BUFFER_BYTES = 256 << 10
SMALLEST_BUFFER_BYTES = 1 << 10
MOST_WAITING = 8
"""Buffers that wait to be hashed; then the sender waits too, so that memory stays bounded."""
THREADED_BYTES = 8 << 20
"""Smaller files are hashed by whoever receives them: a thread would cost more than it gives."""


class Follower(Protocol):
    """Hashes a file's bytes from the first on, as they come to be there."""

    def buffer(self) -> memoryview:
        """Return an empty buffer to receive into."""

    def hand_over(self, offset: int, buffer: memoryview, count: int) -> bool:
        """Take bytes that are written; returns whether the buffer is kept."""

    def reach(self, prefix: int) -> None:
        """Say that the file's first `prefix` bytes are there."""

    def finish(self) -> None:
        """Wait until all that is there is hashed; raises OSError when it cannot be read back."""

    def close(self) -> None:
        """Stop; what is not hashed stays so."""


def follower_for(descriptor: int, hashes: tuple[Hash, ...], size: int | None) -> Follower:
    """Return what hashes a file of this size, None when it is not known, from its first byte."""
    if size is not None and size >= THREADED_BYTES:
        with contextlib.suppress(RuntimeError):  # the system has no thread left
            return PrefixHasher(descriptor, hashes)
    return InlineHasher(descriptor, hashes, size)


class InlineHasher:
    """Hashes in the thread that hands over.

    Args:
        descriptor: The open file, which this reads and never moves.
        hashes: The running digests, which have taken in nothing yet.
        size: The file's length as far as it is known: a small one gets a small buffer.
    """

    def __init__(self, descriptor: int, hashes: tuple[Hash, ...], size: int | None = None) -> None:
        self._descriptor, self._hashes, self._hashed = descriptor, hashes, 0
        wanted = INLINE_BUFFER_BYTES if size is None else max(size, SMALLEST_BUFFER_BYTES)
        self._buffer_bytes = min(wanted, INLINE_BUFFER_BYTES)
        self._hashing = threading.Lock()

    def buffer(self) -> memoryview:
        """See Follower."""
        return memoryview(bytearray(self._buffer_bytes))

    def hand_over(self, offset: int, buffer: memoryview, count: int) -> bool:
        """See Follower."""
        with self._hashing:
            if offset == self._hashed:
                for each in self._hashes:
                    each.update(buffer[:count])
                self._hashed += count
        return False

    def reach(self, prefix: int) -> None:
        """See Follower."""
        with self._hashing:
            if prefix > self._hashed:
                self._hashed += feed(self._descriptor, self._hashed, prefix, self._hashes)

    def finish(self) -> None:
        """See Follower."""

    def close(self) -> None:
        """See Follower."""


class PrefixHasher:
    """Hashes a file's bytes from the first on, as far as they are there.

    Args:
        descriptor: The open file, which this reads and never moves.
        hashes: The running digests, which have taken in nothing yet.
    """

    def __init__(self, descriptor: int, hashes: tuple[Hash, ...]) -> None:
        self._descriptor, self._hashes = descriptor, hashes
        self._hashed = self._tail = self._there = 0  # the tail: where waiting bytes end
        self._waiting: deque[tuple[memoryview, int]] = deque()
        self._spare: list[memoryview] = []
        self._is_closed = False
        self._error: Exception | None = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="modelmake-hash", daemon=True)
        self._thread.start()

    def buffer(self) -> memoryview:
        """Return an empty buffer to receive into."""
        with self._changed:
            return self._spare.pop() if self._spare else lazy_buffer()

    def hand_over(self, offset: int, buffer: memoryview, count: int) -> bool:
        """Take bytes that are written, when they are the next in line.

        Returns:
            Whether the buffer was taken; the caller then needs another one.
        """
        with self._changed:
            if offset == self._tail:
                self._changed.wait_for(self._has_room)
            if offset != self._tail or self._is_closed:
                return False
            self._waiting.append((buffer, count))
            self._tail += count
            self._there = max(self._there, self._tail)
            self._changed.notify_all()
            return True

    def reach(self, prefix: int) -> None:
        """Say that the file's first `prefix` bytes are there."""
        with self._changed:
            if prefix > self._there:
                self._there = prefix
                self._changed.notify_all()

    def finish(self) -> None:
        """Wait until all that is there is hashed, and end the thread.

        Raises:
            OSError: The file could not be read back.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._hashed >= self._there or self._is_closed)
        self.close()
        if self._error:
            raise self._error

    def close(self) -> None:
        """End the thread; what is not hashed stays so."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        try:
            self._follow()
        except Exception as error:  # noqa: BLE001 - whoever waits must be told, whatever it is
            self._fail(error)

    def _follow(self) -> None:
        own = memoryview(bytearray(BUFFER_BYTES))
        while (work := self._next(own)) is not None:
            buffer, count = work
            for each in self._hashes:
                each.update(buffer[:count])
            with self._changed:
                self._hashed += count
                if buffer is not own and len(self._spare) < MOST_WAITING:
                    self._spare.append(buffer)
                self._changed.notify_all()

    def _has_room(self) -> bool:
        return len(self._waiting) < MOST_WAITING or self._is_closed

    def _next(self, own: memoryview) -> tuple[memoryview, int] | None:
        """Return the next bytes, read back into `own` when nobody handed them over."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._is_closed or self._waiting or self._there > self._hashed
            )
            if self._is_closed:
                return None
            if self._waiting:
                return self._waiting.popleft()
            length = min(self._there - self._hashed, BUFFER_BYTES)
            self._tail = self._hashed + length
        return self._read_back(own, length)

    def _read_back(self, own: memoryview, length: int) -> tuple[memoryview, int] | None:
        try:
            count = read_at(self._descriptor, own[:length], self._hashed)
            if count == length:
                return own, count
            self._fail(OSError("it became shorter while it was written"))
        except OSError as error:
            self._fail(error)
        return None

    def _fail(self, error: Exception) -> None:
        with self._changed:
            self._error, self._is_closed = error, True
            self._changed.notify_all()


def lazy_buffer() -> memoryview:
    """Return a buffer that takes memory as far as it is filled; a bytearray is zeroed at once."""
    return memoryview(mmap.mmap(-1, BUFFER_BYTES))
