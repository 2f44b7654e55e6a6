"""Which node asks the provider for which piece: simulated fleets, and single decisions.

The simulation has a provider whose rate all requests share, nodes with a few connections each, and
peers that hear of a piece some time after it came. It knows nothing of the schedule's rules.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from downloader.transfer._schedule import ALONE_SECONDS, PATIENCE_SECONDS, Schedule, bits

STEP = 0.1
CONNECTIONS = 4
DELAY = 0.5
"""Seconds until the others have heard of a piece, and have it."""


@dataclass
class Node:
    """One simulated node.

    Attributes:
        name: Its name.
        schedule: What it decides by.
        speed: Its share of the provider's rate for each request, 1 for most.
        begins: When it begins, in seconds.
        dies: When it is killed.
        has: The pieces it has, and since when.
        requests: What it is receiving: pieces, and how much of them is still to come.
    """

    name: str
    schedule: Schedule
    speed: float = 1.0
    begins: float = 0.0
    dies: float = float("inf")
    has: dict[int, float] = field(default_factory=dict)
    requests: list[tuple[range, float]] = field(default_factory=list)
    ended: float | None = None

    def is_there(self, now: float) -> bool:
        """Whether it runs."""
        return self.begins <= now < self.dies


class Fleet:
    """Nodes, and a provider that gives so many pieces a second in all."""

    def __init__(self, count: int, names: Sequence[str], rate: float, **speeds: float) -> None:
        self.count, self.rate, self.now, self.sent = count, rate, 0.0, 0.0
        self.nodes = [
            Node(name, Schedule(count, name, names), speeds.get(name, 1.0)) for name in names
        ]

    def run(self, most_seconds: float = 2000.0) -> "Fleet":
        """Let time pass until every node that lives has the file."""
        while any(self._is_at_work(node) for node in self.nodes):
            assert self.now < most_seconds, "the fleet does not get done"
            self._step()
        return self

    @property
    def copies(self) -> float:
        """How many copies of the file the provider sent."""
        return self.sent / self.count

    def _is_at_work(self, node: Node) -> bool:
        return node.ended is None and self.now < node.dies

    def _step(self) -> None:
        self.now += STEP
        live = [node for node in self.nodes if node.is_there(self.now)]
        for node in live:
            self._hear(node, live)
            self._ask(node, live)
        weights = [(node, node.speed) for node in live for _ in node.requests]
        share = STEP * self.rate / max(sum(speed for _, speed in weights), 1e-9)
        for node in live:
            left = [(pieces, rest - share * node.speed) for pieces, rest in node.requests]
            self.sent += sum(share * node.speed + min(rest, 0) for _, rest in left)
            for pieces, rest in left:
                if rest <= 0:
                    node.has |= {piece: self.now for piece in pieces if piece not in node.has}
            node.requests = [(pieces, rest) for pieces, rest in left if rest > 0]
            if len(node.has) == self.count and node.ended is None:
                node.ended = self.now

    def _hear(self, node: Node, live: Sequence[Node]) -> None:
        asked = {piece for pieces, _ in node.requests for piece in pieces}
        for other in live:
            for piece, since in other.has.items():
                if piece not in node.has and piece not in asked and self.now - since > DELAY:
                    node.has[piece] = self.now

    def _ask(self, node: Node, live: Sequence[Node]) -> None:
        held = {
            each.name: bits(
                each.has.get(at, self.now) < self.now - DELAY / 2 for at in range(self.count)
            )
            for each in live
            if each is not node
        }
        while len(node.requests) < CONNECTIONS:
            asked = {piece for pieces, _ in node.requests for piece in pieces}
            missing = bits(at not in node.has and at not in asked for at in range(self.count))
            pieces = node.schedule.next(missing, held, self.now, is_busy=bool(node.requests))
            if not pieces:
                return
            node.requests.append((pieces, float(len(pieces))))


def names(count: int) -> list[str]:
    return [f"10.0.0.{number}:7000" for number in range(1, count + 1)]


@pytest.mark.parametrize("nodes", [1, 2, 4, 8, 16])
def test_nodes_that_start_at_once_ask_for_one_copy(nodes: int) -> None:
    fleet = Fleet(128, names(nodes), rate=6.4).run()
    alone = 128 / 6.4
    assert fleet.copies <= 1.1
    assert max(node.ended or 0.0 for node in fleet.nodes) <= 1.5 * alone


def test_a_slow_node_holds_up_nobody() -> None:
    fleet = Fleet(128, names(16), 6.4, **{"10.0.0.5:7000": 0.05}).run()
    assert fleet.copies <= 1.15
    assert max(node.ended or 0.0 for node in fleet.nodes) <= 1.5 * 20


@pytest.mark.parametrize("seed", range(5))
def test_killed_and_late_nodes_cost_little(seed: int) -> None:
    chance = random.Random(seed)
    fleet = Fleet(128, names(16), 6.4)
    killed = chance.sample(fleet.nodes[1:], 2)
    for node in killed:
        node.dies = chance.uniform(1, 15)
    late = next(node for node in fleet.nodes if node not in killed)
    late.begins = chance.uniform(1, 15)
    fleet.run()
    assert fleet.copies <= 1.25
    left = [node for node in fleet.nodes if node not in killed]
    assert max(node.ended or 0.0 for node in left) <= 1.5 * 20 + 5


def test_other_starts_are_other_places() -> None:
    starts = [Schedule(64, name, names(4)).next(bits([1] * 64), {}, 0.0).start for name in names(4)]
    assert starts == [0, 16, 32, 48]


def test_a_node_alone_takes_the_whole_file_in_long_requests() -> None:
    schedule, missing = Schedule(64, "10.0.0.3:7000", names(4)), bytearray([1] * 64)
    order, now = [], 0.0
    schedule.next(bits(missing), {}, now)
    now += ALONE_SECONDS
    while pieces := schedule.next(bits(missing), {}, now):
        order.append(pieces)
        for piece in pieces:
            missing[piece] = 0
    assert [pieces.start for pieces in order] == [*range(32, 64, 4), *range(0, 32, 4)]


def view(**held: Sequence[int]) -> Mapping[str, int]:
    return {name: bits(at in pieces for at in range(64)) for name, pieces in held.items()}


def test_what_a_peer_has_is_left_to_it() -> None:
    schedule = Schedule(64, "a", ["a", "b"])
    assert not schedule.next(bits([1] * 64), view(b=range(64)), 0.0)
    assert schedule.next(bits([1] * 64), view(b=range(64)), 0.0, is_slow=True) == range(4)


def test_a_piece_of_a_quiet_peer_is_taken_after_a_while() -> None:
    schedule, missing = Schedule(64, "a", ["a", "b"]), bits(at >= 60 for at in range(64))
    assert not schedule.next(missing, view(b=()), 0.0)
    assert schedule.next(missing, view(b=()), 2.5 * PATIENCE_SECONDS) == range(60, 61)


def test_who_is_no_node_takes_part_without_an_arc() -> None:
    """It helps where a node is away, and not where both are there."""
    schedule, missing = Schedule(64, "guest", ["a", "b"]), bits(at in (5, 60) for at in range(64))
    assert not schedule.next(missing, view(a=(), b=()), 0.0)
    assert schedule.next(missing, {}, 0.0) == range(5, 6)
    assert Schedule(64, "guest", []).next(bits([1] * 64), {}, 0.0) == range(1)


def test_pieces_of_others_are_asked_for_one_at_a_time() -> None:
    """Somebody else may be at them too; one's own are asked for by many connections."""
    schedule, others = Schedule(64, "a", ["a", "b"]), bits(at >= 32 for at in range(64))
    assert schedule.next(bits([1] * 64), {}, 0.0, is_busy=True).start == 0
    assert not schedule.next(others, {}, 0.0, is_busy=True)
    assert schedule.next(others, {}, 0.0) == range(32, 33)
