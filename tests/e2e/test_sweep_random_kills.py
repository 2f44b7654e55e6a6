"""SIGKILL at random moments of a whole run, fifty times (row B10; I1, I2, I8)."""

import os
import random
import signal
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from downloader.fs.locks import partial_name
from downloader.transfer import _journal
from tests.e2e.content import bytes_of, sha256, toy
from tests.e2e.project import Project, finish
from tests.servers.exchange import Exchange
from tests.servers.faulty import FaultyServer
from tests.servers.reply import Reply, Step

CONTENTS = {
    "a.bin": bytes_of("a", 3_000_001),
    "deep/b.bin": bytes_of("b", 1_000_000),
    "c.bin": bytes_of("c", 5_000_003),
}
PINNED = "a.bin"
PROBED_BYTES = len(CONTENTS)
PIECE_BYTES = 50_000
KILLS_EACH, LEAST_KILLS = 5, 2


class Killer:
    """A fault that behaves, and kills a process once the server has sent so many bytes.

    Attributes:
        victim: Its process id; None as long as nobody is to be killed.
        left: After how many bytes.
    """

    def __init__(self) -> None:
        self.victim: int | None = None
        self.left = 0
        self._counting = threading.Lock()

    def __call__(self, _: Exchange, reply: Reply) -> Reply:
        """Count what is sent of the body."""
        return reply.through(self._counted)

    def _counted(self, steps: Iterable[Step]) -> Iterator[Step]:
        for step in steps:
            pieces = [step] if not isinstance(step, bytes) else _cut(step)
            for piece in pieces:
                yield piece
                self._sent(len(piece) if isinstance(piece, bytes) else 0)

    def _sent(self, count: int) -> None:
        with self._counting:
            self.left -= count
            if self.left <= 0 and self.victim is not None:
                os.kill(self.victim, signal.SIGKILL)
                self.victim = None


def _cut(data: bytes) -> list[Step]:
    return [data[at : at + PIECE_BYTES] for at in range(0, len(data), PIECE_BYTES)]


@pytest.mark.sampled(keep=2)
@pytest.mark.parametrize("seed", range(10))
def test_killed_at_random_moments(project: Project, server: FaultyServer, seed: int) -> None:
    """After each kill every target is whole or not there; the last run makes all of it right."""
    chance, killer = random.Random(seed), Killer()
    project.declare({"m": entry(server, killer)})
    kills = 0
    for _ in range(KILLS_EACH):
        kills += kill_once(project, killer, chance.randrange(missing_bytes(project) + PIECE_BYTES))
        assert whole_targets(project) <= set(CONTENTS), f"seed {seed}"
    assert kills >= LEAST_KILLS, f"seed {seed}"
    missing, before = missing_bytes(project), len(server.requests)
    run = project.doit(MODELMAKE_CONNECTIONS="1")  # several may ask for some bytes twice
    assert run.status == 0, f"seed {seed}: {run.text}"
    assert whole_targets(project) == set(CONTENTS), f"seed {seed}"
    sent = sum(seen.body_bytes_sent for seen in server.requests[before:])
    assert sent <= missing + PROBED_BYTES, f"seed {seed}"
    locked = {path: file["sha256"] for path, file in project.locked("m").items()}
    assert locked == {path: sha256(content) for path, content in CONTENTS.items()}
    assert project.doit().stdout == "Nothing to do.\n"
    assert left_over(project) == [], f"seed {seed}"


def entry(server: FaultyServer, killer: Killer) -> dict[str, Any]:
    """Put the three files on the server, and return their entry; one of them is pinned."""
    declared = toy(server, CONTENTS)
    for file in declared["files"]:
        path = file["path"]
        server.put(f"/toy/{path}", CONTENTS[path])
        server.always(f"/toy/{path}", killer)
        if path == PINNED:
            file["sha256"] = sha256(CONTENTS[path])
    return declared


def kill_once(project: Project, killer: Killer, after_bytes: int) -> bool:
    """Run doit, and kill it once the server has sent so many bytes.

    Returns:
        Whether it was killed; where it came through, something is left to do for the next one.
    """
    killer.left = after_bytes
    process = project.start()
    killer.victim = process.pid
    run = finish(process)
    killer.victim = None
    assert run.status in (0, -signal.SIGKILL), run.text
    if run.status == 0:
        project.target("m", "c.bin").unlink()
    return run.status != 0


def whole_targets(project: Project) -> set[str]:
    """Return which targets are there, having checked that each is whole."""
    there = {path for path in CONTENTS if project.target("m", path).exists()}
    for path in there:
        assert sha256(project.target("m", path).read_bytes()) == sha256(CONTENTS[path]), path
    return there


def missing_bytes(project: Project) -> int:
    """Return how many bytes no receipt, pin or journal vouches for."""
    return sum(len(CONTENTS[path]) - vouched_bytes(project, path) for path in CONTENTS)


def vouched_bytes(project: Project, path: str) -> int:
    receipts = project.receipts("m")
    noted = receipts.read_text() if receipts.exists() else ""
    if project.target("m", path).exists() and (path == PINNED or f'"path":"{path}"' in noted):
        return len(CONTENTS[path])
    part = project.target("m", f".modelmake/partials/{partial_name(path)}")
    record = part.with_suffix(".journal")
    found = _journal.load(record.read_bytes()) if record.exists() and part.exists() else None
    ends = part.stat().st_size if found else 0
    return sum(max(0, min(each.stop, ends) - each.start) for each in found[1]) if found else 0


def left_over(project: Project) -> list[Path]:
    """Return what no run should leave."""
    patterns = ("*.new", "*.part", "*.journal", "quarantine")
    return [path for pattern in patterns for path in project.folder.rglob(pattern)]
