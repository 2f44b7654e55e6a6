"""Which pieces of a file this node asks the provider for, and which it leaves to its peers. No I/O.

Nodes cannot tell each other what they are about to fetch: BitTorrent says only what a peer has. So
each node computes the same plan from the same list of nodes. The file is cut into as many arcs as
there are nodes, and each node begins with its own. What no node has, and none will bring, is shared
by rendezvous hashing (Thaler and Ravishankar, 1996): each piece ranks the nodes in an order of its
own, so that nodes with the same view choose different pieces. A node that is done with its own arc
asks for one such piece at a time, since another may do so too; one that is alone, for many.

    in my own arc                      mine
    in the arc of a node that is away  the first in the piece's order takes it
    at the end of a slow node's arc    the first of those that are done with their own
    in an arc where nothing happens    after a while also the next in the order, one by one
    a peer has it                      comes from there, unless the provider is much faster
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache

MOST_PIECES = 4
"""How many pieces one request asks for at most."""
ARC_SHARE = 8
"""What part of the rest of its arc a node asks for at once: so what is on its way is always far
from the end of the arc, where others help."""
HELPED_PIECES = 8
"""An arc with fewer missing pieces is left to its owner."""
PATIENCE_SECONDS, MOST_PATIENCE_SECONDS = 5.0, 60.0
"""For so long may nothing happen in an arc before one more node takes its pieces: or for half of
the time that the node is at it, if that is more, since then all are slow."""
ALONE_SECONDS = 5.0
"""A node that has seen no other for so long is alone: nodes do not all start in one second."""
REMEMBERED = 1 << 16

Bits = int
"""A set of pieces: one byte for each, the first piece lowest; 1 if it is in the set."""


def bits(flags: Iterable[int]) -> Bits:
    """Return the set of the pieces whose flag is true."""
    return int.from_bytes(bytes(flags), "little")


class Schedule:
    """One node's part of one file; not safe to share between threads.

    Args:
        count: How many pieces the file has.
        me: This node's name; if it is none of the nodes, it has no arc.
        nodes: The names of all nodes that may take part, in any order.
    """

    def __init__(self, count: int, me: str, nodes: Iterable[str]) -> None:
        self._count, self._me = count, me
        self.nodes = sorted(set(nodes))
        owners = self.nodes or [""]
        cuts = [at * count // len(owners) for at in range(len(owners) + 1)]
        self._arcs = dict(zip(owners, map(range, cuts, cuts[1:]), strict=True))
        self._mine = self._arcs.get(me, range(0))
        self._quiet: dict[str, tuple[int, float]] = {}
        self._began = float("inf")

    def next(
        self,
        missing: Bits,
        held: Mapping[str, Bits],
        now: float,
        *,
        is_busy: bool = False,
        is_slow: bool = False,
    ) -> range:
        """Return the pieces to ask the provider for next; empty if there are none for now.

        Args:
            missing: The pieces that this node has not, and is not receiving.
            held: The pieces that each other node has, as far as it is there.
            now: Seconds on the clock of all calls.
            is_busy: Whether the provider is sending something to this node.
            is_slow: Whether peers bring much less than the provider would.
        """
        seen = 0
        for each in held.values():
            seen |= each
        unseen = (missing & ~seen).to_bytes(self._count, "little")
        self._note_quiet(unseen, now)
        is_alone = not held and now - self._began >= ALONE_SECONDS
        for piece in self._candidates(unseen, held, now):
            if is_alone or piece in self._mine or not is_busy:
                return self._run(piece, unseen, is_alone=is_alone)
            break
        if is_slow and missing:
            flags = missing.to_bytes(self._count, "little")
            first = flags.find(1, self._mine.start)
            return self._run(first if first >= 0 else flags.find(1), flags, is_alone=False)
        return range(0)

    def _candidates(self, unseen: bytes, held: Mapping[str, Bits], now: float) -> Iterator[int]:
        """Yield the pieces that this node is to take, in the order of the table above."""
        yield from _pieces(self._mine, unseen)
        there = [*(node for node in held if node != self._me), self._me]
        after = [arc for arc in self._arcs.items() if arc[1].start >= self._mine.stop]
        others = dict([*after, *self._arcs.items()])  # those after one's own first
        others.pop(self._me, None)
        for node, arc in others.items():
            if node not in held:
                turns = self._turns(node, now)
                yield from (at for at in _pieces(arc, unseen) if _rank(at, there) <= turns)
        done = [node for node in there if not any(_pieces(self._arcs.get(node, ()), unseen))]
        for node, arc in others.items():
            pending = list(_pieces(arc, unseen)) if node in held else []
            if self._me in done and len(pending) >= HELPED_PIECES:
                yield from (at for at in pending[: -len(pending) // 4 : -1] if not _rank(at, done))
            turns = self._turns(node, now)
            yield from (at for at in pending if _rank(at, there) < turns)

    def _run(self, first: int, wanted: bytes, *, is_alone: bool) -> range:
        """Return a piece, and those after it that the same request may ask for."""
        most, stop = 1, self._count
        if is_alone:
            most = MOST_PIECES
        elif first in self._mine:
            stop = self._mine.stop
            most = min(MOST_PIECES, sum(wanted[first:stop]) // ARC_SHARE)
        end = first + 1
        while end < min(first + most, stop) and wanted[end]:
            end += 1
        return range(first, end)

    def _note_quiet(self, unseen: bytes, now: float) -> None:
        """Note since when nothing happened in each arc."""
        self._began = min(self._began, now)
        for node, arc in self._arcs.items():
            left = sum(unseen[arc.start : arc.stop])
            if self._quiet.get(node, (-1, now))[0] != left:
                self._quiet[node] = left, now

    def _turns(self, node: str, now: float) -> int:
        """Return how many nodes more may take pieces of an arc, since nothing happens there."""
        patience = min(max((now - self._began) / 2, PATIENCE_SECONDS), MOST_PATIENCE_SECONDS)
        return int((now - self._quiet[node][1]) / patience)


def _pieces(arc: Sequence[int], wanted: bytes) -> Iterator[int]:
    return (at for at in arc if wanted[at])


def _rank(piece: int, nodes: Sequence[str]) -> int:
    """Return the place of the last of some nodes in the piece's order of them."""
    mine = _score(piece, nodes[-1])
    return sum(_score(piece, node) > mine for node in nodes[:-1])


@lru_cache(REMEMBERED)
def _score(piece: int, node: str) -> bytes:
    return hashlib.sha256(f"{piece} {node}".encode()).digest()
