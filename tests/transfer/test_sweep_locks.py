"""File systems where locks fail, or are given to everybody (rows D5, D6)."""

import subprocess
import threading

import pytest

from tests.e2e.watching import wait_until
from tests.servers.faults import timing
from tests.strace import Blow, Strace, failed
from tests.transfer import child
from tests.transfer.desk import BODY, PATH, Desk, unpinned

LARGE = BODY * 14
SENT = 2_500_000
WAIT_SECONDS = 30.0
EFFECTS = ["error=ENOLCK", "error=ENOSYS", "error=EOPNOTSUPP", "retval=0"]
"""The last is a file system where `flock` says yes and does nothing."""
without_locks = pytest.mark.parametrize("effect", EFFECTS)


def command(strace: Strace, desk: Desk, effect: str) -> list[str]:
    """Return the command of a child for which every lock goes so."""
    desk.folder.mkdir(exist_ok=True)
    blow = Blow(calls=("flock",), number=1, and_later=True, effect=effect)
    before = strace.striking(desk.folder / "strace.log", blow)
    return [*before, *child.command(desk.job(unpinned()))]


@without_locks
def test_a_file_comes_without_locks(strace: Strace, desk: Desk, effect: str) -> None:
    """It is fetched into a partial of its own name, and nothing is left of it."""
    desk.server.put(PATH, LARGE)
    subprocess.run(command(strace, desk, effect), check=True, timeout=WAIT_SECONDS)
    assert failed(desk.folder / "strace.log"), "no lock was asked for"
    assert desk.target.read_bytes() == LARGE
    assert [each for each in desk.partials if each.suffix == ".journal"] == []


def present(desk: Desk) -> int:
    """Return how much the largest partial holds."""
    return max((each.stat().st_size for each in desk.workspace.glob("partials/*.part")), default=0)


@without_locks
def test_two_at_once_without_locks(strace: Strace, desk: Desk, effect: str) -> None:
    """Neither writes into what the other has: both end with the file."""
    desk.server.put(PATH, LARGE)
    desk.server.script(PATH, timing.stall_after(SENT, stop := threading.Event()))
    first = subprocess.Popen(command(strace, desk, effect))
    try:
        wait_until(lambda: present(desk) >= SENT)
        desk.fetch(unpinned())
        stop.set()
        assert first.wait(WAIT_SECONDS) == 0
    finally:
        first.kill()
        first.wait()
    assert desk.target.read_bytes() == LARGE
