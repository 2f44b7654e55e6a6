"""A file checked piece by piece while it arrives, in any order and on any number of cores.

What arrives is hashed from memory, by one thread of its own as long as that keeps up and else by
the thread that received it: so one connection is not slowed by hashing, and many are not held up
by one. Blocks that two replies share are read back when their piece is whole; they were just
written, so the system still has them in memory. What an earlier run left is read back and checked
meanwhile: nothing is believed because the journal names it.

Every byte must be handed over once only (draining.py cuts replies to their segments): a piece is
judged by what was handed over, not by what stands on the disk at the end.
"""

import contextlib
import threading
from collections import deque
from collections.abc import Sequence

from downloader.disk.hashing import cores
from downloader.pieces import merkle, pieces
from downloader.pieces.merkle import BLOCK_BYTES, HASH_BYTES, Layer
from downloader.transfer.hasher import lazy_buffer
from downloader.transfer.ranges import Range
from downloader.transfer.turn import Turn

MOST_WAITING = 8
"""Buffers that wait for a hashing thread; then the receiving thread hashes its own."""
HOPELESS = 4
"""So many wrong pieces, and fewer right ones, show that another file stands there."""

Run = tuple[int, bytes]
"""The number of a block in the file, and leaves from there on."""


class PieceChecker:
    """Hashes and judges the pieces of one partial; a Follower, safe to share between threads.

    Args:
        descriptor: The open partial, which this reads and never moves.
        layer: What its pieces must be.
        present: What an earlier run left of it, merged.
        turn: Says when the run is to end.
    """

    def __init__(self, descriptor: int, layer: Layer, present: Sequence[Range], turn: Turn) -> None:
        self._descriptor, self._layer, self._turn = descriptor, layer, turn
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

    def hand_over(self, offset: int, buffer: memoryview, count: int) -> bool:
        """See Follower; here bytes come in any order."""
        with self._changed:
            if self._threads and len(self._waiting) < MOST_WAITING and not self._is_closed:
                self._waiting.append((offset, buffer, count))
                self._changed.notify()
                return True
        self._take(offset, buffer, count)
        return False

    def reach(self, prefix: int) -> None:
        """See Follower; every range is handed over here."""

    def finish(self) -> None:
        """See Follower; whoever waits takes part in the work."""
        while work := self._next(waits=False):
            self._turn.check()
            self._do(*work)
        with self._changed:
            self._changed.wait_for(lambda: not self._busy or self._is_closed)
        if self._error:
            raise self._error

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
    def is_hopeless(self) -> bool:
        """Whether what comes is another file; what an earlier run left tells nothing of it."""
        with self._changed:
            return self._fresh_wrong >= HOPELESS and self._fresh_wrong > len(self._right)

    def still_wrong(self, spans: Sequence[Range]) -> list[Range]:
        """Return those pieces that have not proved right since."""
        with self._changed:
            length = self._layer.piece_bytes
            return [span for span in spans if span.start // length not in self._right]

    def take_wrong(self) -> list[Range]:
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
                if buffer is not None and len(self._spare) < MOST_WAITING:
                    self._spare.append(buffer)
                self._changed.notify_all()

    def _take(self, offset: int, buffer: memoryview, count: int) -> None:
        """Hash the whole blocks of what came, and judge the pieces that are whole with it."""
        stop = offset + count
        first = -(-offset // BLOCK_BYTES)
        begin = first * BLOCK_BYTES
        end = stop if stop == self._layer.size else stop - stop % BLOCK_BYTES
        leaves = merkle.leaves(buffer[begin - offset : end - offset]) if begin < end else b""
        with self._changed:
            self._note(first, leaves)
            whole = [index for index in self._arrived(offset, stop) if not self._missing[index]]
        for index in whole:
            self._judge(index)

    def _note(self, block: int, leaves: bytes) -> None:
        """Keep leaves until their pieces are whole."""
        per_piece = self._layer.piece_bytes // BLOCK_BYTES
        while leaves:
            room = (per_piece - block % per_piece) * HASH_BYTES
            run, leaves = leaves[:room], leaves[room:]
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
        buffer, found = pieces.new_buffer(), []
        for block, leaves in [*sorted(runs), (-(-stop // BLOCK_BYTES), b"")]:
            gap_stop = min(block * BLOCK_BYTES, stop)
            found += [pieces.leaves_at(self._descriptor, position, gap_stop, buffer), leaves]
            position = gap_stop + len(leaves) // HASH_BYTES * BLOCK_BYTES
        return b"".join(found)
