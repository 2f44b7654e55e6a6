"""Random runs of an exchange, with peers that come and go and a disk that breaks: each one ends."""

import random
from types import SimpleNamespace
from typing import Any

import pytest

from downloader.errors import StoreError
from downloader.fs.digests import Layer
from downloader.network.ranges import Range, merge, total
from downloader.transfer import _exchange
from downloader.transfer._exchange import OPEN, Exchange
from downloader.transfer._schedule import Bits, bits
from tests.transfer.test_exchange import PIECE_BYTES, Clock

STEPS = 6000


class Disk:
    """A partial; and once it is broken, one that cannot be read and takes no bytes of peers."""

    def __init__(self, ranges: list[Range]) -> None:
        self.ranges, self.is_broken = ranges, False

    @property
    def present(self) -> int:
        """As Partial has it."""
        return total(self.ranges)

    def note_stored(self, spans: list[Range]) -> None:
        """Note what peers sent."""
        self.read(spans[0])
        self.ranges = merge([*self.ranges, *spans])

    def read(self, _: Range) -> bytes:
        """Return nothing of worth."""
        if self.is_broken:
            raise StoreError("the disk is broken")
        return b""


class Session:
    """A torrent in a session of libtorrent, which refuses every call once it was removed.

    Attributes:
        told: Pieces that are here, and of which the exchange is still to be told.
    """

    def __init__(self, peers: dict[str, Bits]) -> None:
        self.handle, self._peers = self, peers
        self._priorities: dict[int, int] = {}
        self._pieces = set[int]()
        self.told: list[int] = []
        self.is_removed = self.is_flushing = False

    def peers(self) -> dict[str, Bits]:
        """Return who is connected, with what they have."""
        assert not self.is_removed
        return self._peers

    def came_bytes(self) -> int:
        """Return how many bytes peers sent."""
        assert not self.is_removed
        return PIECE_BYTES * len(self._pieces)

    def prioritize_pieces(self, priorities: list[int]) -> None:
        """Set all of them."""
        self._priorities = dict(enumerate(priorities))

    def piece_priority(self, index: int, priority: int) -> None:
        """Set one."""
        assert not self.is_removed
        self._priorities[index] = priority

    def have_piece(self, index: int) -> bool:
        """Whether it is here."""
        assert not self.is_removed
        return index in self._pieces

    def add_piece(self, index: int, *_: object) -> None:
        """Take a piece that the provider sent, or a peer."""
        assert not self.is_removed
        self._pieces.add(index)
        self.told.append(index)

    def flush_cache(self) -> None:
        """Begin to write."""
        assert not self.is_removed
        self.is_flushing = True

    def open_pieces(self) -> list[int]:
        """Return which pieces a peer may send now."""
        anywhere = 0
        for held in self._peers.values():
            anywhere |= held
        flags = anywhere.to_bytes(len(self._priorities), "little")
        pieces = (at for at, priority in self._priorities.items() if priority == OPEN and flags[at])
        return [at for at in pieces if at not in self._pieces]


class World:
    """One exchange with its peers, its provider and its disk.

    Args:
        seed: Of all that happens.
        clock: Goes on with each step.
    """

    def __init__(self, seed: int, clock: Clock) -> None:
        chance = self._chance = random.Random(seed)
        self._clock = clock
        count = chance.randint(1, 40)
        self.size = count * PIECE_BYTES - chance.randrange(PIECE_BYTES)
        starts = [chance.randrange(self.size) for _ in range(chance.randint(0, 4))]
        self.disk = Disk(merge([Range(at, min(at + 2 * PIECE_BYTES, self.size)) for at in starts]))
        share = chance.choice([0.0, 0.3, 1.0])
        peers = {
            f"peer:{number}": bits([chance.random() < share for _ in range(count)])
            for number in range(chance.randint(0, 3))
        }
        self.session = Session(peers)
        me = chance.choice(["me", "guest"])
        swarm: Any = SimpleNamespace(me=me, overwriting=0, remove=self._remove)
        observer: Any = SimpleNamespace(
            started=lambda *_, **__: None, moved=lambda _: None, notice=lambda _: None
        )
        layer = Layer(
            root="00" * 32, size=self.size, piece_bytes=PIECE_BYTES, nodes=bytes(32 * count)
        )
        throttle: Any = SimpleNamespace(charge=lambda _: None)
        disk: Any = self.disk
        torrent: Any = self.session
        self.exchange = Exchange(disk, layer, observer, throttle, swarm)
        self.exchange.recount()
        self.exchange.begin(torrent, [*peers, *(["me"] if me == "me" else [])])
        self._claims: dict[Range, Range] = {}
        """What is still to come of each claim, by what was claimed."""

    def _remove(self, _: object) -> None:
        self.session.is_removed = True

    @property
    def is_whole(self) -> bool:
        """Whether all bytes are here."""
        return self.disk.present == self.size and not self._claims

    def step(self) -> None:
        """Let one thing happen."""
        self._clock.now += self._chance.choice([0.01, 0.1, 0.5, 2.0])
        session, chance = self.session, self._chance
        acts = [self._claim, self._receive, self._receive, self._flush, self.exchange.tick]
        if not session.is_removed:
            acts += [self._let_peers_send, self._tell]
        chance.choice(acts)()

    def break_disk(self) -> None:
        """Let libtorrent fail now, or at the next piece that it or we cannot read."""
        if self._chance.random() < 0.5:
            self.exchange.failed("the disk is broken")
        else:
            self.disk.is_broken = True

    def _claim(self) -> None:
        if len(self._claims) < self._chance.choice([1, 4]) and (gap := self.exchange.claim()):
            on_their_way = self._claims.values()
            assert all(gap.stop <= left.start or left.stop <= gap.start for left in on_their_way)
            self._claims[gap] = gap

    def _receive(self) -> None:
        """Receive some bytes of the provider; a connection may end before all of them came."""
        if not self._claims:
            return
        gap = self._chance.choice(list(self._claims))
        start, stop = self._claims[gap]
        until = min(start + self._chance.randrange(1, 2 * PIECE_BYTES), stop)
        self.disk.ranges = merge([*self.disk.ranges, Range(start, until)])
        self.exchange._right.extend(range(-(-start // PIECE_BYTES), until // PIECE_BYTES))
        self._claims[gap] = Range(until, stop)
        if until == stop or self._chance.random() < 0.1:
            self.exchange.give_back(gap, self._claims.pop(gap))

    def _let_peers_send(self) -> None:
        if pieces := self.session.open_pieces():
            self.session.add_piece(self._chance.choice(pieces))

    def _tell(self) -> None:
        if self.session.told:
            self.exchange.finished(self.session.told.pop(0))

    def _flush(self) -> None:
        if self.session.is_flushing and not self.session.is_removed:
            self.session.is_flushing = False
            self.exchange.flushed()


@pytest.mark.sampled(keep=25)
@pytest.mark.parametrize("seed", range(100))
def test_a_file_is_whole_in_the_end(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Whoever sends what, and whatever breaks: no piece is left to nobody."""
    clock = Clock()
    monkeypatch.setattr(_exchange, "time", clock)
    world = World(seed, clock)
    breaks_at = random.Random(seed).choice([None, seed])
    for at in range(STEPS):
        if world.is_whole:
            return
        if at == breaks_at:
            world.break_disk()
        world.step()
    pytest.fail(f"{world.disk.present} of {world.size} bytes came")
