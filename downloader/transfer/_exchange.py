"""Exchange the pieces of one file with peers while it is being fetched.

Each piece has one way here at a time. Free ones may come from peers; those that the schedule gives
to this node are claimed, and closed to peers, until the provider sent them; a piece of which a part
is here stays with the provider. libtorrent writes pieces of peers into the partial itself, so that
no byte is on the disk twice. It says that it has a piece before that is so: only when it confirms
that its cache is flushed is the piece read back from the file, hashed by our verifier and counted.
The other way round, a piece counts as ours to send as soon as our verifier found it right.

Blocks of a piece that proved wrong, or came too late, might be written over bytes of the provider.
So, when all is there, what came from the provider is read again before the file gets its name.
"""

import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from downloader.artifact import bytes_text
from downloader.errors import StoreError
from downloader.fs.digests import Layer
from downloader.network.ranges import Range, without
from downloader.progress.events import Observer
from downloader.transfer._schedule import Bits, Schedule, bits
from downloader.transfer._segments import Segment, Segments

if TYPE_CHECKING:
    from downloader.settings import Address
    from downloader.transfer._concurrency import Throttle
    from downloader.transfer.partial import Partial
    from downloader.transfer.swarm import Swarm

MEETING_SECONDS = 0.5
"""How long a node waits to hear from its peers before it asks the provider for anything; less if
all have answered, or refused to."""
GRACE_SECONDS = 1.5
"""How long a peer counts as there that is not connected yet, or not any more."""
SLOW_SECONDS = 5.0
"""How long a node waits for peers that are slow before it asks the provider; each next time half
as long, as long as they are."""
LEAST_SLOW_SECONDS = 0.2
MUCH_FASTER = 8.0
"""How much faster the provider must have been to be asked for what peers have."""
LEAST_BYTES_A_SECOND = 1 << 18
"""Peers that bring less are slow as long as the provider's rate is not known: it is asked once."""
FLUSH_SECONDS = 30.0
MOST_HANDED = 16
"""Pieces handed to libtorrent at once: it copies them."""
CLOSED, OPEN = 0, 4
"""Priorities of a piece in libtorrent."""
AGAIN_SECONDS = 3.0
"""How long peers have to come back when a file that grew is shared from its place."""
WAIT_SECONDS = 0.1
COST_SHARE = 20
"""So many times as long as it took to ask what peers have, that is believed."""


class Torrent:
    """One torrent of libtorrent's session.

    Args:
        handle: As libtorrent gave it.
        swarm: Knows the peers' names.
        layer: The file's.

    Attributes:
        handle: As given.
    """

    def __init__(self, handle: Any, swarm: "Swarm", layer: Layer) -> None:  # noqa: ANN401
        self.handle, self._swarm, self._layer = handle, swarm, layer
        self._awaited, self._awaited_until = set[str](), 0.0
        self._peers: tuple[float, dict[str, Bits]] = (0.0, {})  # until when they are believed

    def peers(self) -> dict[str, Bits]:
        """Return the pieces that each connected node has."""
        until, found = self._peers
        if (began := time.monotonic()) > until:
            found = {
                self._swarm.name_of(each.pid.to_bytes()): bits(each.pieces)
                for each in self.handle.get_peer_info()
                if len(each.pieces) == self._layer.count
            }
            now = time.monotonic()
            self._peers = now + max(WAIT_SECONDS, COST_SHARE * (now - began)), found
        return found

    def connected(self) -> set[str]:
        """Return the names of the nodes that are connected."""
        return set(self.peers())

    def dial(self, address: "Address") -> None:
        """Call a peer, unless it is connected."""
        self.handle.connect_peer(address)

    def sent_bytes(self) -> int:
        """Return how many bytes of the file were sent to peers."""
        return int(self.handle.status().total_payload_upload)

    def came_bytes(self) -> int:
        """Return how many bytes of the file came from peers, right or wrong."""
        return int(self.handle.status().total_payload_download)

    def await_again(self, nodes: Iterable[str]) -> None:
        """Note who was connected to this file's last torrent, and is to come back."""
        self._awaited, self._awaited_until = set(nodes), time.monotonic() + AGAIN_SECONDS

    def needing_peers(self) -> int:
        """Return how many peers lack pieces, if they cannot have them from each other.

        Those that have all may be about to leave, as this node is.
        """
        everything = bits([1] * self._layer.count)
        self._awaited -= self.connected()
        if self._awaited and time.monotonic() < self._awaited_until:
            return len(self._awaited)
        lacking = [each for each in self.peers().values() if each != everything]
        together = 0
        for each in lacking:
            together |= each
        return len(lacking) if together != everything else 0


class Exchange:
    """The exchange of one file's pieces; safe to share between threads.

    Args:
        partial: Where the bytes go; it has pieces.
        layer: What they must be.
        observer: Told of bytes that peers send, and of what the user should know.
        throttle: Bounds all rates of the run together.
        swarm: This process among its peers.

    Attributes:
        layer: As given.
        observer: As given.
        torrent: Of libtorrent, while the exchange goes on.
        came_bytes: How many bytes peers sent that proved right so far.
    """

    def __init__(
        self,
        partial: "Partial",
        layer: Layer,
        observer: Observer,
        throttle: "Throttle",
        swarm: "Swarm",
    ) -> None:
        self._partial, self.layer, self.observer = partial, layer, observer
        self._throttle, self._swarm = throttle, swarm
        self.torrent: Torrent | None = None
        self.came_bytes = 0
        self._changed = threading.Condition(threading.RLock())
        self._free = bytearray(layer.count)
        self._rests: list[Range] = []
        self._provided = set[int]()
        self._right: deque[int] = deque()
        self._arrived, self._flushing = set[int](), set[int]()
        self._held: dict[str, tuple[Bits, float]] = {}
        self._schedule = Schedule(layer.count, swarm.me, ())
        self._asked_bytes, self._asked_seconds, self._asked_since = 0, 0.0, 0.0
        self._sent_by_peers = self._sent_before = 0
        self._idle_since, self._slow_seconds = time.monotonic(), SLOW_SECONDS
        self._claims = 0
        self._is_flushed = self._is_paused = self._has_failed = False
        self._met = set[str]()
        self._meets_until = 0.0

    @property
    def root(self) -> str:
        """The file's root, in hex."""
        return self.layer.root

    def prepare(self) -> None:
        """Check what an earlier run left, so that no wrong piece is sent to anybody.

        Raises:
            StoreError: It cannot be read.
            Interrupted: The user stopped the run.
        """
        self._partial.on_right = self._right.append
        self._partial.restart_pieces()
        if self._partial.ranges:
            self._partial.recheck(())
            self._partial.drop_bad_pieces()
        self._right.clear()
        self._count()

    def have_flags(self) -> list[bool]:
        """Return for each piece whether it is here, and right."""
        missing = without([Range(0, self.layer.size)], self._partial.ranges)
        flags = [True] * self.layer.count
        for index in self._touched(missing):
            flags[index] = False
        return flags

    def begin(self, torrent: Torrent, nodes: Iterable[str]) -> None:
        """Begin to take pieces from peers, and to send them."""
        with self._changed:
            self.torrent = torrent
            self._note_idle()
            self._meets_until = time.monotonic() + MEETING_SECONDS
            self.set_nodes(nodes)
            torrent.handle.prioritize_pieces(
                [OPEN if is_free else CLOSED for is_free in self._free]
            )
            self.observer.started(self._partial.present, self.layer.size, is_resumable=True)

    def set_nodes(self, nodes: Iterable[str]) -> None:
        """Say who may take part."""
        with self._changed:
            self._schedule = Schedule(self.layer.count, self._swarm.me, nodes)
            now = time.monotonic()
            for node in self._schedule.nodes:
                if node != self._swarm.me:
                    self._held.setdefault(node, (0, now))

    def lacking(self) -> set[str]:
        """Return the names of the connected nodes that do not have all pieces."""
        everything = bits([1] * self.layer.count)
        with self._changed:  # it may fail at any time
            held = self.torrent.peers() if self.torrent else {}
        return {node for node, pieces in held.items() if pieces != everything}

    def next_gap(self, check: Any) -> Range | None:  # noqa: ANN401
        """Wait for something to ask the provider for, and claim it; None if all bytes are here.

        Args:
            check: Raises Interrupted when the run is to stop.
        """
        while True:
            check()
            with self._changed:
                if self._partial.present == self.layer.size:
                    return None
                if self._has_met() and (gap := self.claim()):
                    return gap
                self._changed.wait(WAIT_SECONDS)

    def _has_met(self) -> bool:
        is_over = self.torrent is None or time.monotonic() > self._meets_until
        return is_over or self._met >= {*self._schedule.nodes} - {self._swarm.me}

    def met(self, node: str) -> None:
        """Note that a peer cannot be reached now."""
        with self._changed:
            self._met.add(node)
            self._changed.notify_all()

    def claim(self) -> Range | None:
        """Claim what the provider is to be asked for next; None if there is nothing for now."""
        with self._changed:
            gap = self._rests.pop(0) if self._rests else None
            if pieces := range(0) if gap else self._next():
                for index in pieces:
                    self._free[index] = 0
                    self._provided.add(index)
                    self._set_priority(index, CLOSED)
                gap = Range(self.layer.span(pieces[0])[0], self.layer.span(pieces[-1])[1])
            if gap:
                if not self._claims:
                    self._asked_since = time.monotonic()
                self._claims += 1
            return gap

    def segments(self, first: Range) -> "Segments":
        """Return what a provider's connections take their work from; the first has its own."""
        return _ClaimedSegments(self, first)

    @property
    def has_work(self) -> bool:
        """Whether there is something to ask the provider for now."""
        with self._changed:
            return bool(self._rests or self._next())

    def give_back(self, gap: Range, left: Range) -> None:
        """Take back what was claimed, and open what did not come of it.

        Args:
            gap: What was claimed.
            left: What is still missing of it.
        """
        with self._changed:
            self._claims -= 1
            self._asked_bytes += gap.length - left.length
            if not self._claims:
                self._note_idle()
                self._asked_seconds += self._idle_since - self._asked_since
            for index in self._whole_pieces(left):
                self._free[index] = 1
                self._open(index)
            first = self.layer.piece_bytes * -(-left.start // self.layer.piece_bytes)
            if left.start < min(first, left.stop):
                self._rests.append(Range(left.start, min(first, left.stop)))
            self._changed.notify_all()

    def recount(self) -> None:
        """Look again at what is here; called while nothing is claimed."""
        with self._changed:
            if self._claims:  # a reply that was refused
                self._claims = 0
                self._note_idle()
            before = bytes(self._free)
            self._count()
            for index in range(self.layer.count):
                if self._free[index] > before[index]:
                    self._open(index)

    def finished(self, index: int) -> None:
        """Note that libtorrent has a piece; ours that came by the provider are no news."""
        with self._changed:
            if self._free[index]:
                self._free[index] = 0
                self._arrived.add(index)
                self._flush()

    def flushed(self) -> None:
        """Take the pieces that libtorrent has written by now: have them hashed, and count them."""
        with self._changed:
            came, self._flushing = sorted(self._flushing), set()
            self._is_flushed = True
            self._changed.notify_all()
            if came and self.torrent:
                self._flush()
                spans = [Range(*self.layer.span(index)) for index in came]
                try:
                    self._partial.note_stored(spans)
                except StoreError as error:
                    self._arrived.update(came)
                    self.failed(str(error))
                    return
                for span in spans:
                    self.came_bytes += span.length
                    self.observer.moved(span.length)
                    self._throttle.charge(span.length)

    def paused(self) -> None:
        """Note that libtorrent has let go of the file."""
        with self._changed:
            self._is_paused = True
            self._changed.notify_all()

    def lost(self, node: str) -> None:
        """Count on a node no more."""
        with self._changed:
            self._held.pop(node, None)
            self._changed.notify_all()

    def failed(self, why: str) -> None:
        """Go on without peers; called by libtorrent's thread."""
        with self._changed:
            if self.torrent:
                self.observer.notice(f"the exchange with peers ends: {why}")
                self._swarm.remove(self.torrent)
                self.torrent, self._has_failed = None, True
                self._held.clear()
                missing = without([Range(0, self.layer.size)], self._partial.ranges)
                for index in (self._arrived | self._flushing).intersection(self._touched(missing)):
                    self._free[index] = 1  # nobody will say that it is written
                self._arrived, self._flushing = set(), set()
                self._changed.notify_all()

    def tick(self) -> None:
        """Hand pieces that proved right to libtorrent, and look at what the peers have."""
        with self._changed:
            for _ in range(min(MOST_HANDED, len(self._right))):
                self._hand(self._right.popleft())
            torrent = self.torrent
            if torrent is None:
                return
            now = time.monotonic()
            held = torrent.peers()
            for node, pieces in held.items():
                self._held[node] = pieces, now
                if pieces:
                    self._met.add(node)
            for node, (_, seen) in list(self._held.items()):
                if now - seen > GRACE_SECONDS:
                    del self._held[node]
            self._sent_by_peers = torrent.came_bytes()
            self._changed.notify_all()

    def settle(self, check: Any) -> None:  # noqa: ANN401
        """Wait until libtorrent has written all, and have what it may have touched read again.

        Args:
            check: Raises Interrupted when the run is to stop.
        """
        with self._changed:
            is_touched = self.torrent is not None and self.torrent.came_bytes() > 0
            if not (is_touched or self._has_failed):
                return
            is_written = self._await_written(check)
        if not is_written:  # wrong blocks may be on their way
            self.leave()
        self._partial.recheck([Range(*self.layer.span(index)) for index in self._provided])

    def _await_written(self, check: Any) -> bool:  # noqa: ANN401
        """Return whether libtorrent has written all in time; it fails on a full disk."""
        is_whole_until = time.monotonic() + AGAIN_SECONDS
        until = time.monotonic() + FLUSH_SECONDS
        while self.torrent is not None and not self.torrent.handle.status().is_seeding:
            check()
            if time.monotonic() > is_whole_until:
                return False
            self._changed.wait(WAIT_SECONDS)
        if self.torrent is None:
            return False
        self._is_flushed = False
        self.torrent.handle.flush_cache()
        while not (self._is_flushed or self._has_failed) and time.monotonic() < until:
            check()
            self._changed.wait(WAIT_SECONDS)
        return self._is_flushed

    def leave(self) -> None:
        """End the exchange, and wait until libtorrent has let go of the file."""
        with self._changed:
            torrent, self.torrent = self.torrent, None
            if torrent is None:
                return
            torrent.handle.pause()  # confirmed when all is written, and the file closed
            self._changed.wait_for(lambda: self._is_paused, FLUSH_SECONDS)
            self._swarm.remove(torrent)
        if self.came_bytes:
            size = bytes_text(self.came_bytes)
            self.observer.notice(f"{size} of {bytes_text(self.layer.size)} came from peers")

    def _next(self) -> range:
        held = {node: pieces for node, (pieces, _) in self._held.items()} if self.torrent else {}
        now = time.monotonic()
        is_busy, is_slow = bool(self._claims), self._are_slow(now)
        return self._schedule.next(bits(self._free), held, now, is_busy=is_busy, is_slow=is_slow)

    def _are_slow(self, now: float) -> bool:
        """Whether peers send nothing, or much less than the provider, while this node waits."""
        seconds = now - self._idle_since
        if self._claims or seconds < self._slow_seconds:
            return False
        came = (self._sent_by_peers - self._sent_before) / seconds
        asked = self._asked_bytes / self._asked_seconds if self._asked_seconds else 0.0
        least = asked / MUCH_FASTER if asked else LEAST_BYTES_A_SECOND
        if are_slow := came <= least:
            self._slow_seconds = max(self._slow_seconds / 2, LEAST_SLOW_SECONDS)
        else:
            self._slow_seconds = SLOW_SECONDS
            self._note_idle()
        return are_slow

    def _note_idle(self) -> None:
        self._idle_since, self._sent_before = time.monotonic(), self._sent_by_peers

    def _hand(self, index: int) -> None:
        """Hand a piece that proved right to libtorrent, unless it has it."""
        if self.torrent and index in self._provided:
            try:
                data = self._partial.read(Range(*self.layer.span(index)))
            except StoreError as error:
                self.failed(str(error))
                return
            self.torrent.handle.add_piece(index, data, self._swarm.overwriting)

    def _flush(self) -> None:
        """Ask for the pieces that arrived to be written, unless that is under way."""
        if self.torrent and self._arrived and not self._flushing:
            self._flushing, self._arrived = self._arrived, set()
            self.torrent.handle.flush_cache()

    def _set_priority(self, index: int, priority: int) -> None:
        if self.torrent:
            self.torrent.handle.piece_priority(index, priority)

    def _open(self, index: int) -> None:
        """Let peers send a piece that the provider did not; libtorrent may have it already."""
        self._provided.discard(index)
        self._set_priority(index, OPEN)
        if self.torrent and self.torrent.handle.have_piece(index):
            self.finished(index)

    def _count(self) -> None:
        """Say which pieces are free, and which are here in part."""
        missing = without([Range(0, self.layer.size)], self._partial.ranges)
        self._free, self._rests = bytearray(self.layer.count), []
        for gap in missing:
            for index in self._touched([gap]):
                span = Range(*self.layer.span(index))
                if gap.start <= span.start and span.stop <= gap.stop:
                    self._free[index] = index not in self._arrived | self._flushing
                else:
                    self._provided.add(index)
                    rest = Range(max(gap.start, span.start), min(gap.stop, span.stop))
                    self._rests.append(rest)

    def _touched(self, spans: Iterable[Range]) -> Iterator[int]:
        for start, stop in spans:
            yield from range(start // self.layer.piece_bytes, -(-stop // self.layer.piece_bytes))

    def _whole_pieces(self, left: Range) -> Iterator[int]:
        """Yield the pieces that a range has from their first byte to their last."""
        for index in self._touched([left]) if left.length else ():
            start, stop = self.layer.span(index)
            if left.start <= start and stop <= left.stop:
                yield index


class _ClaimedSegments(Segments):
    """Segments as an exchange claims them, for a provider's connections.

    Args:
        exchange: Says what is to be asked for.
        first: What the first request asked for.
    """

    def __init__(self, exchange: Exchange, first: Range) -> None:
        size = exchange.layer.size
        super().__init__(size, [Range(0, size)])
        self._exchange, self._first = exchange, first
        self._gaps: dict[int, Range] = {}

    def take_rest(self) -> Segment:
        """See Segments: what was asked for."""
        return self._claimed(self._first)

    def take(self) -> Segment | None:
        """See Segments."""
        gap = self._exchange.claim()
        return self._claimed(gap) if gap else None

    def give_back(self, segment: Segment) -> None:
        """See Segments."""
        with self._changing:
            self._held.remove(segment)
            gap = self._gaps.pop(id(segment))
        self._exchange.give_back(gap, Range(min(segment.position, gap.stop), gap.stop))

    def rejoin(self) -> None:
        """See Segments; nothing was cut."""

    def is_long(self, segment: Segment) -> bool:  # noqa: ARG002 - as Segments
        """See Segments: others wait for whole pieces, so none is dropped in its middle."""
        return False

    @property
    def is_large(self) -> bool:
        """See Segments."""
        return True

    @property
    def is_shareable(self) -> bool:
        """See Segments."""
        return self._exchange.has_work

    def _claimed(self, gap: Range) -> Segment:
        with self._changing:
            segment = self._give(gap)
            self._gaps[id(segment)] = gap
            return segment
