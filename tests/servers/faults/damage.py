"""Bytes that are not those of the file, on the way or at the server."""

import re
from collections.abc import Iterable, Iterator

from tests.servers.exchange import Exchange, Fault
from tests.servers.reply import Reply, Step


def flipped(*places: int) -> Fault:
    """Return a fault: one bit is wrong at each of these places of the file, where it is sent."""

    def fault(_exchange: Exchange, reply: Reply) -> Reply:
        said = dict(reply.headers).get("Content-Range", "")
        found = re.match(r"bytes (\d+)-", said)
        first = int(found[1]) if found else 0

        def stage(steps: Iterable[Step]) -> Iterator[Step]:
            position = first
            for step in steps:
                yield _with_flips(step, position, places) if isinstance(step, bytes) else step
                position += len(step) if isinstance(step, bytes) else 0

        return reply.through(stage)

    return fault


def _with_flips(data: bytes, position: int, places: Iterable[int]) -> bytes:
    changed = bytearray(data)
    for place in places:
        if position <= place < position + len(data):
            changed[place - position] ^= 1
    return bytes(changed)
