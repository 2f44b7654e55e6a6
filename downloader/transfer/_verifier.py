"""Verify a file while it arrives: by digests of the whole, or by its piece layer.

Bytes that arrive in order are handed to a hashing thread in memory. What arrived ahead is read back
when the gap before it is closed: it was just written, so the system still has it in memory.

Pieces are possible if models.lock has the file's Merkle root beside its SHA-256, and the layer is
here: right pieces are then as good as the right SHA-256. They are checked in any order and on any
number of cores: what arrives is hashed from memory, by one thread of its own as long as that keeps
up and else by the thread that received it. Blocks that two replies share are read back when their
piece is whole. What an earlier run left is read back and checked meanwhile: nothing is believed
because the journal names it. Every byte must be handed over once only (_attempt.py cuts replies to
their segments): a piece is checked by what was handed over, not by what stands on the disk at the
end.
"""

import contextlib
import mmap
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from downloader.errors import StoreError
from downloader.fs.commit import set_aside, set_range_aside
from downloader.fs.digests import (
    BUFFER_BYTES,
    Hash,
    Layer,
    cores,
    feed,
    new_git_sha1,
    new_md5,
    new_sha256,
)
from downloader.fs.locks import LockWait
from downloader.fs.merkle import BLOCK_BYTES, HASH_BYTES, BlockBuffer, merkle_leaves
from downloader.fs.open_file import OpenFile
from downloader.fs.rooted_path import RootedPath
from downloader.network.ranges import Range
from downloader.transfer._concurrency import RECEIVE_BYTES
from downloader.transfer._journal import Binding

INLINE_BUFFER_BYTES = 256 << 10
SMALLEST_BUFFER_BYTES = 1 << 10
MOST_WAITING, MOST_WAITING_BYTES = 8, 8 << 20
"""Buffers that wait to be hashed; then the sender waits too, so that memory stays bounded."""
STRETCH_BYTES = 64 << 20
"""How much is hashed before it is checked whether the run is to end."""
THREADED_BYTES = 8 << 20
"""Smaller files are hashed by whoever receives them: a thread would cost more than it gives."""


class Verifier(Protocol):
    """Hashes the bytes of a file while they arrive, and knows what they prove.

    Attributes:
        has_pieces: Whether it can tell which bytes are wrong, and not only that some are.
    """

    has_pieces: bool

    def buffer(self) -> memoryview:
        """Return an empty buffer to receive into."""

    def feed_block(self, offset: int, buffer: memoryview, count: int) -> bool:
        """Take bytes that were written; returns whether the buffer is kept."""

    def advance(self, prefix: int) -> None:
        """Note that the file's first `prefix` bytes are on disk."""

    def finish(self) -> None:
        """Wait until everything on disk is hashed.

        Raises:
            StoreError: It cannot be read back.
            Interrupted: The user stopped the run.
        """

    def close(self) -> None:
        """Stop hashing; what is not hashed stays so."""

    @property
    def sha256(self) -> str:
        """SHA-256 of the file, in hex; empty if pieces are wrong or missing."""

    def other_digest(self, kind: str) -> str | None:
        """Return another digest of the file in hex: `md5` or `git-sha1`.

        None if it is not computed: a SHA-256 is known, or another digest is better.
        """

    @property
    def is_other_file(self) -> bool:
        """Whether so many pieces are wrong that another file must be coming."""

    def pop_bad_pieces(self) -> list[Range]:
        """Return the ranges of wrong pieces, once; they are expected again."""

    def set_aside(self, path: RootedPath, workspace: RootedPath, have: int) -> str:
        """Set aside the wrong bytes of a file, and return a sentence about it; empty if none.

        Args:
            path: The file.
            workspace: The model's private folder.
            have: How many bytes it has without a gap.

        Raises:
            StoreError: The disk refused.
        """


Hashes = Mapping[str, Hash]
"""Running digests by their kinds: `sha256`, `md5`, `git-sha1`."""


class WholeVerifier:
    """Verifies by digests over all bytes in their order.

    Args:
        file: The open file, which this reads and never moves.
        hashes: SHA-256, and what else is wanted; they have taken in nothing yet.
    """

    has_pieces = is_other_file = False

    def __init__(self, file: OpenFile, hashes: Hashes) -> None:
        self._file, self._by_kind, self._hashed = file, hashes, 0
        self._hashes = tuple(hashes.values())

    @property
    def sha256(self) -> str:
        """See Verifier."""
        return self._by_kind["sha256"].hexdigest()

    def other_digest(self, kind: str) -> str | None:
        """See Verifier."""
        found = self._by_kind.get(kind)
        return found.hexdigest() if found else None

    def pop_bad_pieces(self) -> list[Range]:
        """See Verifier."""
        return []

    def set_aside(self, path: RootedPath, workspace: RootedPath, have: int) -> str:
        """See Verifier."""
        return set_aside(path, workspace, have, self.sha256) if have else ""


class InlineVerifier(WholeVerifier):
    """Hashes in the thread that receives.

    Args:
        file: As of WholeVerifier.
        hashes: As of WholeVerifier.
        size: The file's length if it is known: a small one gets a small buffer.
    """

    def __init__(self, file: OpenFile, hashes: Hashes, size: int | None = None) -> None:
        super().__init__(file, hashes)
        wanted = INLINE_BUFFER_BYTES if size is None else max(size, SMALLEST_BUFFER_BYTES)
        self._buffer_bytes = min(wanted, INLINE_BUFFER_BYTES)
        self._hashing = threading.Lock()

    def buffer(self) -> memoryview:
        """See Verifier."""
        return memoryview(bytearray(self._buffer_bytes))

    def feed_block(self, offset: int, buffer: memoryview, count: int) -> bool:
        """See Verifier."""
        with self._hashing:
            if offset == self._hashed:
                for digest in self._hashes:
                    digest.update(buffer[:count])
                self._hashed += count
        return False

    def advance(self, prefix: int) -> None:
        """See Verifier."""
        with self._hashing:
            if prefix > self._hashed:
                self._hashed += feed(self._file, self._hashed, prefix, self._hashes)

    def finish(self) -> None:
        """See Verifier; everything is hashed already."""

    def close(self) -> None:
        """See Verifier."""


class ThreadedVerifier(WholeVerifier):
    """Hashes in a thread of its own, from the first byte up to the first gap.

    Args:
        file: As of WholeVerifier.
        hashes: As of WholeVerifier.
    """

    def __init__(self, file: OpenFile, hashes: Hashes) -> None:
        super().__init__(file, hashes)
        self._tail = self._there = 0  # the tail: where waiting bytes end
        self._waiting_bytes = 0
        self._waiting: deque[tuple[memoryview, int]] = deque()
        self._spare: list[memoryview] = []
        self._is_closed = False
        self._error: Exception | None = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="modelmake-hash", daemon=True)
        self._thread.start()

    def buffer(self) -> memoryview:
        """See Verifier."""
        with self._changed:
            return self._spare.pop() if self._spare else lazy_buffer()

    def feed_block(self, offset: int, buffer: memoryview, count: int) -> bool:
        """See Verifier; only the next bytes in order are taken."""
        with self._changed:
            if offset == self._tail:
                self._changed.wait_for(self._has_room)
            if offset != self._tail or self._is_closed:
                return False
            self._waiting.append((buffer, count))
            self._waiting_bytes += count
            self._tail += count
            self._there = max(self._there, self._tail)
            self._changed.notify_all()
            return True

    def advance(self, prefix: int) -> None:
        """See Verifier."""
        with self._changed:
            if prefix > self._there:
                self._there = prefix
                self._changed.notify_all()

    def finish(self) -> None:
        """See Verifier; ends the thread."""
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
        """See Verifier."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        try:
            self._hash_all()
        except Exception as error:  # noqa: BLE001 - raised in the thread that waits
            self._fail(error)

    def _hash_all(self) -> None:
        own = memoryview(bytearray(BUFFER_BYTES))
        first, *others = self._hashes
        with ThreadPoolExecutor(1) as pool:
            beside = None
            with contextlib.suppress(RuntimeError):  # the system has no thread left
                if others:
                    pool.submit(int)
                    beside = pool
            while (work := self._next(own)) is not None:
                buffer, count = work
                data = buffer[:count]
                updates = [beside.submit(each.update, data) for each in others] if beside else []
                for each in (first,) if beside else self._hashes:
                    each.update(data)
                for update in updates:
                    update.result()
                with self._changed:
                    self._hashed += count
                    if buffer is not own and len(self._spare) < MOST_WAITING:
                        self._spare.append(buffer)
                    self._changed.notify_all()

    def _has_room(self) -> bool:
        is_full = len(self._waiting) >= MOST_WAITING or self._waiting_bytes >= MOST_WAITING_BYTES
        return self._is_closed or not is_full

    def _next(self, own: memoryview) -> tuple[memoryview, int] | None:
        """Return the next bytes, read back into `own` when nobody handed them over."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._is_closed or self._waiting or self._there > self._hashed
            )
            if self._is_closed:
                return None
            if self._waiting:
                self._waiting_bytes -= self._waiting[0][1]
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
    return memoryview(mmap.mmap(-1, RECEIVE_BYTES))


MOST_WAITING_BLOCKS = 8
"""Buffers that wait for a hashing thread, no more than MOST_WAITING_BYTES of them; then the
receiving thread hashes its own."""
OTHER_FILE_PIECES = 4
"""So many wrong pieces, and fewer right ones, show that the server has another file."""

LeafRun = tuple[int, bytes]
"""The number of a block in the file, and leaves from there on."""


class PieceVerifier:
    """Verifies pieces, in any order; safe to share between threads.

    Args:
        file: The open partial, which this reads and never moves.
        layer: What its pieces must be.
        present: What an earlier run left of it, merged.
        lock_wait: Says when the run is to end.
        sha256: What right pieces prove; if empty, the whole is hashed once all pieces are right.

    Attributes:
        on_right: Called with the number of each piece that proves right, from any thread.
    """

    has_pieces = True

    def __init__(
        self,
        file: OpenFile,
        layer: Layer,
        present: Sequence[Range],
        lock_wait: LockWait,
        sha256: str = "",
    ) -> None:
        self._file, self._layer, self._lock_wait = file, layer, lock_wait
        self.on_right: Callable[[int], object] = lambda _index: None
        self._sha256, self._last_wrong = sha256, list[Range]()
        self._missing = [stop - start for start, stop in map(layer.span, range(layer.count))]
        self._runs: dict[int, list[LeafRun]] = {}
        self._right, self._wrong, self._old = set[int](), set[int](), set[int]()
        self._fresh_wrong = self._busy = 0
        self._waiting: deque[tuple[int, memoryview, int]] = deque()
        self._waiting_bytes = 0
        self._spare: list[memoryview] = []
        self._block_buffers: list[BlockBuffer] = []
        self._error: Exception | None = None
        self._is_closed = False
        self._changed = threading.Condition()
        self._unread = deque(self._count_old(present))
        self._threads = self._started(cores() if self._unread else 1)

    def buffer(self) -> memoryview:
        """See Verifier."""
        with self._changed:
            return self._spare.pop() if self._spare else lazy_buffer()

    def feed_block(self, offset: int, buffer: memoryview, count: int) -> bool:
        """See Verifier; bytes may come in any order."""
        with self._changed:
            if self._threads and self._has_room() and not self._is_closed:
                self._waiting.append((offset, buffer, count))
                self._waiting_bytes += count
                self._changed.notify()
                return True
        self._take(offset, buffer, count)
        return False

    def take_stored(self, spans: Iterable[Range]) -> None:
        """Take whole pieces that somebody else wrote to the file; they are read back."""
        with self._changed:
            for span in spans:
                arrived = self._arrived(span.start, span.stop)
                self._old.update(arrived)
                self._unread.extend(arrived)
            self._changed.notify_all()

    def recheck(self, spans: Iterable[Range]) -> None:
        """Read whole pieces again, and those that proved wrong."""
        with self._changed:
            length = self._layer.piece_bytes
            again = {span.start // length for span in spans} & self._right | self._wrong
            self._right -= again
            self._wrong -= again
            self._old |= again
            self._unread.extend(sorted(again))
            self._changed.notify_all()

    def advance(self, prefix: int) -> None:
        """See Verifier; needless, since every range is handed over."""

    def finish(self) -> None:
        """See Verifier; the caller takes part in the work."""
        self.drain()
        if self.is_right and not self._sha256:
            self._sha256 = self._hash_whole()

    def drain(self) -> None:
        """Wait until every piece that is on disk is checked; raises as `finish`."""
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
        """See Verifier."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    @property
    def is_right(self) -> bool:
        """Whether every piece was checked, and is right."""
        with self._changed:
            return len(self._right) == self._layer.count

    @property
    def sha256(self) -> str:
        """See Verifier."""
        return self._sha256 if self.is_right else ""

    def other_digest(self, kind: str) -> None:
        """See Verifier: the SHA-256 is known."""

    @property
    def is_other_file(self) -> bool:
        """See Verifier; what an earlier run left does not count."""
        with self._changed:
            return self._fresh_wrong >= OTHER_FILE_PIECES and self._fresh_wrong > len(self._right)

    def set_aside(self, path: RootedPath, workspace: RootedPath, have: int) -> str:  # noqa: ARG002 - as Verifier
        """See Verifier; the first wrong piece is copied, and the right ones stay in place."""
        with self._changed:
            length = self._layer.piece_bytes
            wrong = [span for span in self._last_wrong if span.start // length not in self._right]
        return set_range_aside(path, workspace, wrong)

    def pop_bad_pieces(self) -> list[Range]:
        """See Verifier."""
        with self._changed:
            # Of another file, the pieces that did not come to their end are as wrong.
            is_all_bad = self.is_other_file
            wrong, self._wrong = self._wrong, set()
            bad = set(range(self._layer.count)) - self._right if is_all_bad else wrong
            spans = {index: Range(*self._layer.span(index)) for index in sorted(bad)}
            for index, span in spans.items():
                self._missing[index] = span.length
                self._old.discard(index)
            self._last_wrong = [spans[index] for index in sorted(wrong)] or self._last_wrong
        return list(spans.values())

    def _count_old(self, present: Sequence[Range]) -> list[int]:
        """Count what is there, and return the pieces that are there as a whole."""
        for span in present:
            self._old.update(self._arrived(span.start, span.stop))
        return [index for index in sorted(self._old) if not self._missing[index]]

    def _started(self, count: int) -> list[threading.Thread]:
        """Start threads, as many as the system has; with none, the receiving thread hashes."""
        threads = []
        with contextlib.suppress(RuntimeError):
            for _ in range(count):
                thread = threading.Thread(target=self._run, name="modelmake-hash", daemon=True)
                thread.start()
                threads.append(thread)
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
            if self._waiting:
                self._waiting_bytes -= self._waiting[0][2]
                return self._waiting.popleft()
            return self._unread.popleft(), None, 0

    def _has_room(self) -> bool:
        is_full = len(self._waiting) >= MOST_WAITING_BLOCKS
        return not (is_full or self._waiting_bytes >= MOST_WAITING_BYTES)

    def _do(self, place: int, buffer: memoryview | None, count: int) -> None:
        try:
            if buffer is None:
                self._check(place)
            else:
                self._take(place, buffer, count)
        except Exception as error:  # noqa: BLE001 - raised in the thread that waits
            self._error = error
        finally:
            with self._changed:
                self._busy -= 1
                if buffer is not None and len(self._spare) < MOST_WAITING_BLOCKS:
                    self._spare.append(buffer)
                self._changed.notify_all()

    def _take(self, offset: int, buffer: memoryview, count: int) -> None:
        """Hash the whole blocks of what came, and check the pieces that it completes."""
        stop = offset + count
        first = -(-offset // BLOCK_BYTES)
        begin = first * BLOCK_BYTES
        end = stop if stop == self._layer.size else stop - stop % BLOCK_BYTES
        leaves = merkle_leaves(buffer[begin - offset : end - offset]) if begin < end else b""
        with self._changed:
            self._note(first, leaves)
            whole = [index for index in self._arrived(offset, stop) if not self._missing[index]]
        for index in whole:
            self._check(index)

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

    def _check(self, index: int) -> None:
        with self._changed:
            runs = self._runs.pop(index, [])
        is_right = self._layer.is_right(index, self._all_leaves(index, runs))
        with self._changed:
            (self._right if is_right else self._wrong).add(index)
            self._fresh_wrong += not is_right and index not in self._old
        if is_right:
            self.on_right(index)

    def _all_leaves(self, index: int, runs: list[LeafRun]) -> bytes:
        """Return a piece's leaves, those that nobody handed over as a whole read back."""
        position, stop = self._layer.span(index)
        found = []
        for block, leaves in [*sorted(runs), (-(-stop // BLOCK_BYTES), b"")]:
            gap_stop = min(block * BLOCK_BYTES, stop)
            if position < gap_stop:
                found.append(self._leaves_on_disk(position, gap_stop))
            found.append(leaves)
            position = gap_stop + len(leaves) // HASH_BYTES * BLOCK_BYTES
        return b"".join(found)

    def _leaves_on_disk(self, start: int, stop: int) -> bytes:
        try:
            buffer = self._block_buffers.pop()
        except IndexError:  # each thread that reads has one
            buffer = BlockBuffer()
        leaves = buffer.leaves_at(self._file.read_full, start, stop)
        self._block_buffers.append(buffer)
        return leaves

    def _hash_whole(self) -> str:
        """Return the SHA-256 of the file; it was just written, so it is in memory still."""
        digest = new_sha256()
        for start in range(0, self._layer.size, STRETCH_BYTES):
            self._lock_wait.check()
            feed(self._file, start, min(start + STRETCH_BYTES, self._layer.size), (digest,))
        return digest.hexdigest()


def piece_verifier(
    file: OpenFile,
    binding: Binding,
    layer: Layer | None,
    present: Sequence[Range],
    lock_wait: LockWait,
) -> PieceVerifier | None:
    """Return what verifies a partial by its pieces; None if its piece layer is not known.

    Args:
        file: The open partial.
        binding: What its bytes are to be.
        layer: Of the file that is wanted, if it is known.
        present: What is on disk of it already.
        lock_wait: Says when the run is to end.
    """
    if layer is None or layer.size != binding.size or binding.sha256 is None:
        return None
    proven = binding.sha256 if layer.is_proof else ""
    return PieceVerifier(file, layer, present, lock_wait, proven)


def hashes_for(binding: Binding, *, with_md5: bool) -> Hashes:
    """Return new digests of what a partial is to be.

    Args:
        binding: What its bytes are to be.
        with_md5: Whether an MD5 is known: it costs more than a SHA-256, and only serves if no
            better digest is known.
    """
    hashes = {"sha256": new_sha256()}
    if binding.git_sha1 and binding.size is not None:
        hashes["git-sha1"] = new_git_sha1(binding.size)
    elif with_md5 and not binding.sha256:
        hashes["md5"] = new_md5()
    return hashes


def whole_verifier(
    file: OpenFile, hashes: Hashes, size: int | None
) -> InlineVerifier | ThreadedVerifier:
    """Return what verifies a file of this size, None if it is not known, by its digests."""
    if size is not None and size >= THREADED_BYTES:
        with contextlib.suppress(RuntimeError):  # the system has no thread left
            return ThreadedVerifier(file, hashes)
    return InlineVerifier(file, hashes, size)
