"""When a node asks the provider although peers have what it lacks: on a clock of its own."""

from types import SimpleNamespace
from typing import Any

import pytest

from downloader.errors import StoreError
from downloader.fs.digests import Layer
from downloader.network.ranges import Range
from downloader.transfer import _exchange
from downloader.transfer._exchange import SLOW_SECONDS, Exchange
from downloader.transfer._schedule import Bits, bits

PIECE_BYTES, COUNT = 1 << 20, 64


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        """As the one of the module `time`."""
        return self.now


class Peer:
    """A torrent with one connected peer that says it has all pieces."""

    def __init__(self) -> None:
        self.came = 0
        self.handle: Any = SimpleNamespace(
            prioritize_pieces=lambda _: None,
            piece_priority=lambda *_: None,
            have_piece=lambda _: False,
            flush_cache=lambda: None,
        )

    def peers(self) -> dict[str, Bits]:
        """All pieces."""
        return {"peer:1": bits([1] * COUNT)}

    def came_bytes(self) -> int:
        """What it sent."""
        return self.came


class Lacking:
    """A partial that has nothing yet, or some bytes, and notes what is read again."""

    def __init__(self) -> None:
        self.ranges: list[Any] = []
        self.present = 0
        self.rechecked: list[Any] = []

    def recheck(self, spans: list[Any]) -> None:
        """Note it."""
        self.rechecked += spans


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Give the clock that the exchange looks at."""
    clock = Clock()
    monkeypatch.setattr(_exchange, "time", clock)
    return clock


def exchange_of(partial: Any, removed: list[Any]) -> Exchange:
    """Return the exchange of a node that has no arc of its own."""
    size = COUNT * PIECE_BYTES
    layer = Layer(root="00" * 32, size=size, piece_bytes=PIECE_BYTES, nodes=bytes(32 * COUNT))
    swarm: Any = SimpleNamespace(me="guest", overwriting=0, remove=removed.append)
    observer: Any = SimpleNamespace(
        started=lambda *_, **__: None, moved=lambda _: None, notice=lambda _: None
    )
    throttle: Any = SimpleNamespace(charge=lambda _: None)
    return Exchange(partial, layer, observer, throttle, swarm)


@pytest.mark.parametrize("rate", [0, 1000, 100_000])
def test_peers_that_drip_do_not_keep_a_node_from_the_provider(clock: Clock, rate: int) -> None:
    """They have all, so nothing else would ever lead to the provider, nor tell its rate."""
    exchange, peer = exchange_of(Lacking(), []), Peer()
    exchange.recount()
    exchange.begin(peer, ["peer:1"])  # type: ignore[arg-type]
    began, gap = clock.now, None
    while gap is None and clock.now < began + 10 * SLOW_SECONDS:
        clock.now += 0.1
        peer.came += rate // 10
        exchange.tick()
        gap = exchange.claim()
    assert gap
    assert gap.length == PIECE_BYTES


def test_peers_that_are_fast_keep_a_node_from_the_provider(clock: Clock) -> None:
    """It is asked for nothing that they bring."""
    exchange, peer = exchange_of(Lacking(), []), Peer()
    exchange.recount()
    exchange.begin(peer, ["peer:1"])  # type: ignore[arg-type]
    for _ in range(200):
        clock.now += 0.1
        peer.came += PIECE_BYTES
        exchange.tick()
        assert exchange.claim() is None


def begun(exchange: Exchange, partial: Lacking, peer: Peer, clock: Clock) -> Range:
    """Begin an exchange, and return the first bytes that the provider sent."""
    exchange.recount()
    exchange.begin(peer, ["guest"])  # type: ignore[arg-type]
    exchange.met("guest")
    while (gap := exchange.claim()) is None:
        clock.now += 1.0
    exchange.give_back(gap, Range(gap.stop, gap.stop))
    partial.ranges, partial.present = [gap], gap.length
    return gap


def test_what_the_provider_sent_is_read_again_after_a_failed_exchange(clock: Clock) -> None:
    """Blocks of a peer may have been written over it before its disk failed."""
    removed: list[Any] = []
    partial, peer = Lacking(), Peer()
    exchange = exchange_of(partial, removed)
    gap = begun(exchange, partial, peer, clock)
    peer.came = PIECE_BYTES
    exchange.failed("the disk is full")
    exchange.settle(lambda: None)
    assert removed
    assert partial.rechecked == [
        Range(at, at + PIECE_BYTES) for at in range(gap.start, gap.stop, PIECE_BYTES)
    ]


def test_a_piece_that_cannot_be_read_ends_the_exchange_alone(clock: Clock) -> None:
    """The thread that follows libtorrent goes on: it serves the other files of the run."""
    removed: list[Any] = []
    partial, peer = Lacking(), Peer()

    def readable_once_more(_: Range) -> bytes:
        if not removed:
            raise StoreError("the disk is broken")
        return bytes(PIECE_BYTES)

    def used(*_: Any) -> None:
        if removed:
            raise RuntimeError("invalid torrent handle used [libtorrent:20]")

    partial.read = readable_once_more  # type: ignore[attr-defined]
    peer.handle.add_piece = used
    exchange = exchange_of(partial, removed)
    gap = begun(exchange, partial, peer, clock)
    exchange._right.extend([gap.start // PIECE_BYTES] * 2)
    peer.peers = used  # type: ignore[assignment, method-assign]
    exchange.tick()
    assert removed == [peer]
    assert exchange.torrent is None


def test_an_exchange_may_fail_while_it_is_settled(clock: Clock) -> None:
    """A disk is full when the last blocks are written: what the provider sent is read again."""
    removed: list[Any] = []
    partial, peer = Lacking(), Peer()
    exchange = exchange_of(partial, removed)

    def status() -> Any:
        if removed:
            raise RuntimeError("invalid torrent handle used [libtorrent:20]")
        exchange.failed("the disk is full")
        return SimpleNamespace(is_seeding=False)

    peer.handle.status = status
    peer.came = PIECE_BYTES
    exchange.recount()
    exchange.begin(peer, ["guest"])  # type: ignore[arg-type]
    exchange._provided.add(1)
    exchange.settle(lambda: None)
    assert removed == [peer]
    assert partial.rechecked == [Range(PIECE_BYTES, 2 * PIECE_BYTES)]


def test_what_libtorrent_did_not_write_comes_from_the_provider(clock: Clock) -> None:
    """When the exchange fails, pieces of peers are free again; those on their way are not."""
    removed: list[Any] = []
    exchange, peer = exchange_of(Lacking(), removed), Peer()
    exchange.recount()
    exchange.begin(peer, ["guest"])  # type: ignore[arg-type]
    exchange.met("guest")
    exchange.finished(7)  # is being written
    exchange.finished(9)  # waits to be
    while (first := exchange.claim()) is None:
        clock.now += 1.0
    exchange.failed("the disk is broken")
    asked = [first]
    for _ in range(2 * COUNT):
        clock.now += 10.0
        if gap := exchange.claim():
            asked.append(gap)
    assert removed == [peer]
    starts = sorted(start for gap in asked for start in range(*gap, PIECE_BYTES))
    assert starts == list(range(0, COUNT * PIECE_BYTES, PIECE_BYTES)), "each piece once"
