"""Verify a file while it arrives: by digests of the whole, or by its piece layer.

Bytes that arrive in order are handed to a hashing thread in memory. What arrived ahead is read back
when the gap before it is closed: it was just written, so the system still has it in memory.

Pieces are possible if models.lock has the file's Merkle root beside its SHA-256, and the layer is
here: right pieces are then as good as the right SHA-256. They are checked in any order and on any
number of cores: what arrives is hashed from memory, by one thread of its own as long as that keeps
up and else by the thread that received it. Blocks that two replies share are read back when their
piece is whole. What an earlier run left is read back and checked meanwhile: nothing is believed
because the journal names it. Every byte must be handed over once only (_attempt.py cuts replies to
their segments): a piece is judged by what was handed over, not by what stands on the disk at the
end.
"""

import contextlib
import functools
import mmap
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from downloader.errors import StoreError
from downloader.fs.commit import set_aside, set_range_aside
from downloader.fs.digests import (
    BLOCK_BYTES,
    BUFFER_BYTES,
    HASH_BYTES,
    Hash,
    Layer,
    cores,
    feed,
    leaves_at,
    merkle_leaves,
    new_buffer,
    new_md5,
    new_sha256,
)
from downloader.fs.locks import LockWait
from downloader.fs.open_file import OpenFile
from downloader.fs.rooted_path import RootedPath
from downloader.network.ranges import Range
from downloader.transfer._journal import Binding

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

    def feed_block(self, offset: int, buffer: memoryview, count: int) -> bool:
        """Take bytes that are written; returns whether the buffer is kept."""

    def advance(self, prefix: int) -> None:
        """Say that the file's first `prefix` bytes are there."""

    def finish(self) -> None:
        """Wait until all that is there is hashed; raises StoreError when it cannot be read back."""

    def close(self) -> None:
        """Stop; what is not hashed stays so."""


def follower_for(file: OpenFile, hashes: tuple[Hash, ...], size: int | None) -> Follower:
    """Return what hashes a file of this size, None when it is not known, from its first byte."""
    if size is not None and size >= THREADED_BYTES:
        with contextlib.suppress(RuntimeError):  # the system has no thread left
            return PrefixHasher(file, hashes)
    return InlineHasher(file, hashes, size)


class InlineHasher:
    """Hashes in the thread that hands over.

    Args:
        file: The open file, which this reads and never moves.
        hashes: The running digests, which have taken in nothing yet.
        size: The file's length as far as it is known: a small one gets a small buffer.
    """

    def __init__(self, file: OpenFile, hashes: tuple[Hash, ...], size: int | None = None) -> None:
        self._file, self._hashes, self._hashed = file, hashes, 0
        wanted = INLINE_BUFFER_BYTES if size is None else max(size, SMALLEST_BUFFER_BYTES)
        self._buffer_bytes = min(wanted, INLINE_BUFFER_BYTES)
        self._hashing = threading.Lock()

    def buffer(self) -> memoryview:
        """See Follower."""
        return memoryview(bytearray(self._buffer_bytes))

    def feed_block(self, offset: int, buffer: memoryview, count: int) -> bool:
        """See Follower."""
        with self._hashing:
            if offset == self._hashed:
                for each in self._hashes:
                    each.update(buffer[:count])
                self._hashed += count
        return False

    def advance(self, prefix: int) -> None:
        """See Follower."""
        with self._hashing:
            if prefix > self._hashed:
                self._hashed += feed(self._file, self._hashed, prefix, self._hashes)

    def finish(self) -> None:
        """See Follower."""

    def close(self) -> None:
        """See Follower."""


class PrefixHasher:
    """Hashes a file's bytes from the first on, as far as they are there.

    Args:
        file: The open file, which this reads and never moves.
        hashes: The running digests, which have taken in nothing yet.
    """

    def __init__(self, file: OpenFile, hashes: tuple[Hash, ...]) -> None:
        self._file, self._hashes = file, hashes
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

    def feed_block(self, offset: int, buffer: memoryview, count: int) -> bool:
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

    def advance(self, prefix: int) -> None:
        """Say that the file's first `prefix` bytes are there."""
        with self._changed:
            if prefix > self._there:
                self._there = prefix
                self._changed.notify_all()

    def finish(self) -> None:
        """Wait until all that is there is hashed, and end the thread.

        Raises:
            StoreError: The file could not be read back.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._hashed >= self._there or self._is_closed)
        self.close()
        error, self._error = self._error, None
        try:
            if error:
                raise error
        finally:
            del error  # its traceback holds this frame: a cycle

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
            count = self._file.read_at(own[:length], self._hashed)
            if count == length:
                return own, count
            name = self._file.path
            self._fail(StoreError(f"Cannot read {name}: it became shorter while it was written."))
        except StoreError as error:
            self._fail(error)
        return None

    def _fail(self, error: Exception) -> None:
        with self._changed:
            self._error, self._is_closed = error, True
            self._changed.notify_all()


def lazy_buffer() -> memoryview:
    """Return a buffer that takes memory as far as it is filled; a bytearray is zeroed at once."""
    return memoryview(mmap.mmap(-1, BUFFER_BYTES))


MOST_WAITING_BLOCKS = 8
"""Buffers that wait for a hashing thread; then the receiving thread hashes its own."""
HOPELESS = 4
"""So many wrong pieces, and fewer right ones, show that another file stands there."""

Run = tuple[int, bytes]
"""The number of a block in the file, and leaves from there on."""


class PieceChecker:
    """Hashes and judges the pieces of one partial; a Follower, safe to share between threads.

    Args:
        file: The open partial, which this reads and never moves.
        layer: What its pieces must be.
        present: What an earlier run left of it, merged.
        lock_wait: Says when the run is to end.
    """

    def __init__(
        self, file: OpenFile, layer: Layer, present: Sequence[Range], lock_wait: LockWait
    ) -> None:
        self._file, self._layer, self._lock_wait = file, layer, lock_wait
        self._missing = [stop - start for start, stop in map(layer.span, range(layer.count))]
        self._runs: dict[int, list[Run]] = {}
        self._right, self._wrong, self._old = set[int](), set[int](), set[int]()
        self._fresh_wrong = self._busy = 0
        self._waiting: deque[tuple[int, memoryview, int]] = deque()
        self._spare: list[memoryview] = []
        self._error: Exception | None = None
        self._is_closed = False
        self._changed = threading.Condition()
        self._unread = deque(self._count_old(present))
        self._threads = self._started(cores() if self._unread else 1)

    def buffer(self) -> memoryview:
        """See Follower."""
        with self._changed:
            return self._spare.pop() if self._spare else lazy_buffer()

    def feed_block(self, offset: int, buffer: memoryview, count: int) -> bool:
        """See Follower; here bytes come in any order."""
        with self._changed:
            if self._threads and len(self._waiting) < MOST_WAITING_BLOCKS and not self._is_closed:
                self._waiting.append((offset, buffer, count))
                self._changed.notify()
                return True
        self._take(offset, buffer, count)
        return False

    def advance(self, prefix: int) -> None:
        """See Follower; every range is handed over here."""

    def finish(self) -> None:
        """See Follower; whoever waits takes part in the work."""
        while True:
            self._lock_wait.check()
            if not (work := self._next(waits=False)):
                break
            self._do(*work)
        with self._changed:
            self._changed.wait_for(lambda: not self._busy or self._is_closed)
        error, self._error = self._error, None
        try:
            if error:
                raise error
        finally:
            del error  # its traceback holds this frame: a cycle

    def close(self) -> None:
        """See Follower."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    @property
    def is_right(self) -> bool:
        """Whether every piece was judged, and is right."""
        with self._changed:
            return len(self._right) == self._layer.count

    @property
    def is_other_file(self) -> bool:
        """Whether what comes is another file; what an earlier run left tells nothing of it."""
        with self._changed:
            return self._fresh_wrong >= HOPELESS and self._fresh_wrong > len(self._right)

    def still_wrong(self, spans: Sequence[Range]) -> list[Range]:
        """Return those pieces that have not proved right since."""
        with self._changed:
            length = self._layer.piece_bytes
            return [span for span in spans if span.start // length not in self._right]

    def pop_bad_pieces(self) -> list[Range]:
        """Return where the pieces that proved wrong lie, and expect them anew."""
        with self._changed:
            wrong, self._wrong = self._wrong, set()
            spans = {index: Range(*self._layer.span(index)) for index in sorted(wrong)}
            for index, span in spans.items():
                self._missing[index] = span.length
                self._old.discard(index)
        return list(spans.values())

    def _count_old(self, present: Sequence[Range]) -> list[int]:
        """Count what is there, and return the pieces that are there as a whole."""
        for span in present:
            self._old.update(self._arrived(span.start, span.stop))
        return [index for index in sorted(self._old) if not self._missing[index]]

    def _started(self, count: int) -> list[threading.Thread]:
        """Start threads, as many as the system has; with none, who receives hashes."""
        threads = []
        with contextlib.suppress(RuntimeError):
            for _ in range(count):
                each = threading.Thread(target=self._run, name="modelmake-hash", daemon=True)
                each.start()
                threads.append(each)
        return threads

    def _run(self) -> None:
        while work := self._next(waits=True):
            self._do(*work)

    def _next(self, *, waits: bool) -> tuple[int, memoryview | None, int] | None:
        """Return what is to be done next: bytes that came, then a piece to be read back."""
        with self._changed:
            if waits:
                self._changed.wait_for(lambda: self._waiting or self._unread or self._is_closed)
            if self._is_closed or not (self._waiting or self._unread):
                return None
            self._busy += 1
            return self._waiting.popleft() if self._waiting else (self._unread.popleft(), None, 0)

    def _do(self, place: int, buffer: memoryview | None, count: int) -> None:
        try:
            if buffer is None:
                self._judge(place)
            else:
                self._take(place, buffer, count)
        except Exception as error:  # noqa: BLE001 - whoever waits must be told, whatever it is
            self._error = error
        finally:
            with self._changed:
                self._busy -= 1
                if buffer is not None and len(self._spare) < MOST_WAITING_BLOCKS:
                    self._spare.append(buffer)
                self._changed.notify_all()

    def _take(self, offset: int, buffer: memoryview, count: int) -> None:
        """Hash the whole blocks of what came, and judge the pieces that are whole with it."""
        stop = offset + count
        first = -(-offset // BLOCK_BYTES)
        begin = first * BLOCK_BYTES
        end = stop if stop == self._layer.size else stop - stop % BLOCK_BYTES
        leaves = merkle_leaves(buffer[begin - offset : end - offset]) if begin < end else b""
        with self._changed:
            self._note(first, leaves)
            whole = [index for index in self._arrived(offset, stop) if not self._missing[index]]
        for index in whole:
            self._judge(index)

    def _note(self, block: int, leaves: bytes) -> None:
        """Keep leaves until their pieces are whole."""
        per_piece = self._layer.piece_bytes // BLOCK_BYTES
        while leaves:
            budget = (per_piece - block % per_piece) * HASH_BYTES
            run, leaves = leaves[:budget], leaves[budget:]
            self._runs.setdefault(block // per_piece, []).append((block, run))
            block += len(run) // HASH_BYTES

    def _arrived(self, start: int, stop: int) -> list[int]:
        """Take bytes off what is missing, and return the pieces they are of."""
        length = self._layer.piece_bytes
        touched = range(start // length, -(-stop // length))
        for index in touched:
            begin, end = self._layer.span(index)
            self._missing[index] -= min(stop, end) - max(start, begin)
        return list(touched)

    def _judge(self, index: int) -> None:
        with self._changed:
            runs = self._runs.pop(index, [])
        is_right = self._layer.is_right(index, self._all_leaves(index, runs))
        with self._changed:
            (self._right if is_right else self._wrong).add(index)
            self._fresh_wrong += not is_right and index not in self._old

    def _all_leaves(self, index: int, runs: list[Run]) -> bytes:
        """Return a piece's leaves, those that nobody handed over as a whole read back."""
        position, stop = self._layer.span(index)
        buffer, found = new_buffer(), []
        for block, leaves in [*sorted(runs), (-(-stop // BLOCK_BYTES), b"")]:
            gap_stop = min(block * BLOCK_BYTES, stop)
            found += [leaves_at(self._file, position, gap_stop, buffer), leaves]
            position = gap_stop + len(leaves) // HASH_BYTES * BLOCK_BYTES
        return b"".join(found)


STRETCH_BYTES = 64 << 20
"""After so much it is looked whether the run is to end."""


class Judge(Protocol):
    """Knows what is there; its follower is told of every byte.

    Attributes:
        follower: What is told.
        has_pieces: Whether it knows which bytes are wrong, and not only that some are.
    """

    follower: Follower
    has_pieces: bool

    def settle(self) -> None:
        """Wait until all that is there is judged; raises StoreError when that cannot be read."""

    @property
    def sha256(self) -> str:
        """SHA-256 of what is there, in hex; empty where pieces are wrong or missing."""

    @property
    def md5(self) -> str | None:
        """MD5 of what is there, in hex; None where a SHA-256 is known and makes it needless."""

    @property
    def is_other_file(self) -> bool:
        """Whether so many pieces are wrong that another file must be coming."""

    def pop_bad_pieces(self) -> list[Range]:
        """Return where wrong pieces lie, once; they are expected anew."""

    def set_aside(self, path: RootedPath, workspace: RootedPath, have: int) -> str:
        """Set aside what proved wrong of a file, and say so; empty where there is nothing.

        Args:
            path: The file.
            workspace: The model's private folder.
            have: How many bytes it has from the first on.

        Raises:
            StoreError: The disk refused.
        """


class WholeJudge:
    """Judges by digests over all bytes in their order."""

    has_pieces = is_other_file = False

    def __init__(self, file: OpenFile, binding: Binding) -> None:
        self._sha256, self._md5 = new_sha256(), new_md5()
        self._needs_md5 = binding.sha256 is None
        hashes = (self._sha256, self._md5) if self._needs_md5 else (self._sha256,)
        self.follower = follower_for(file, hashes, binding.size)

    def settle(self) -> None:
        """See Judge."""
        self.follower.finish()

    @property
    def sha256(self) -> str:
        """See Judge."""
        return self._sha256.hexdigest()

    @property
    def md5(self) -> str | None:
        """See Judge."""
        return self._md5.hexdigest() if self._needs_md5 else None

    def pop_bad_pieces(self) -> list[Range]:
        """See Judge."""
        return []

    def set_aside(self, path: RootedPath, workspace: RootedPath, have: int) -> str:
        """See Judge."""
        return set_aside(path, workspace, have, self.sha256) if have else ""


class PieceJudge:
    """Judges by pieces; where they prove no SHA-256, the whole is hashed when all are right."""

    has_pieces, md5 = True, None

    def __init__(self, checker: PieceChecker, proven: str, whole: Callable[[], str]) -> None:
        self.follower: Follower = checker
        self._checker, self._sha256, self._whole = checker, proven, whole
        self._last_wrong: list[Range] = []

    def settle(self) -> None:
        """See Judge."""
        self._checker.finish()
        if self._checker.is_right and not self._sha256:
            self._sha256 = self._whole()

    @property
    def sha256(self) -> str:
        """See Judge."""
        return self._sha256 if self._checker.is_right else ""

    @property
    def is_other_file(self) -> bool:
        """See Judge."""
        return self._checker.is_other_file

    def pop_bad_pieces(self) -> list[Range]:
        """See Judge."""
        wrong = self._checker.pop_bad_pieces()
        self._last_wrong = wrong or self._last_wrong
        return wrong

    def set_aside(self, path: RootedPath, workspace: RootedPath, have: int) -> str:  # noqa: ARG002 - as Judge
        """See Judge; the first wrong piece is copied, and the right ones stay for the next run."""
        return set_range_aside(path, workspace, self._checker.still_wrong(self._last_wrong))


def judge_of(
    file: OpenFile,
    binding: Binding,
    layer: Layer | None,
    present: Sequence[Range],
    lock_wait: LockWait,
) -> Judge:
    """Return what judges a partial.

    Args:
        file: The open partial.
        binding: What its bytes are to be.
        layer: Of the file that is wanted, where it is known.
        present: What is there of it already.
        lock_wait: Says when the run is to end.
    """
    if layer is None or layer.size != binding.size or binding.sha256 is None:
        return WholeJudge(file, binding)
    proven = binding.sha256 if layer.is_proof else ""
    whole = functools.partial(_hashed, file, layer.size, lock_wait)
    return PieceJudge(PieceChecker(file, layer, present, lock_wait), proven, whole)


def _hashed(file: OpenFile, size: int, lock_wait: LockWait) -> str:
    """Return the SHA-256 of a whole open file; it was just written, so it is in memory still."""
    digest = new_sha256()
    for start in range(0, size, STRETCH_BYTES):
        lock_wait.check()
        feed(file, start, min(start + STRETCH_BYTES, size), (digest,))
    return digest.hexdigest()
