"""Killed in the middle, and two processes on one target (rows B10, D5; invariant I8)."""

import errno
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event

import pytest
from msgspec import structs
from msgspec.structs import replace

from downloader.artifact import Artifact
from downloader.errors import Stop
from downloader.network.ranges import prefix
from downloader.transfer.fetch import Fetcher
from downloader.transfer.partial import SMALLEST_STEP_BYTES
from tests.servers.faults import timing
from tests.transfer.child import command
from tests.transfer.desk import BODY, PATH, Desk, pinned, sha256, unpinned

LARGE = BODY * 30
SENT = 7_000_000
WAIT_SECONDS = 30.0
ARTIFACTS = {"pinned": pinned(LARGE, sized=False), "unpinned": unpinned()}
both = pytest.mark.parametrize("artifact", ARTIFACTS.values(), ids=ARTIFACTS.keys())


@pytest.fixture(autouse=True)
def one_connection(desk: Desk) -> None:
    """Further connections would go around a server that stalls, and leave nothing to go on with."""
    desk.settings = structs.replace(desk.settings, connections=1)


@contextmanager
def child(desk: Desk, artifact: Artifact) -> Iterator["subprocess.Popen[bytes]"]:
    """Give a process that fetches, killed at the end."""
    process = subprocess.Popen(command(desk.job(artifact)))
    try:
        yield process
    finally:
        process.kill()
        process.wait(WAIT_SECONDS)


def wait_for_bytes(desk: Desk, count: int) -> None:
    """Wait until the child has written so many bytes, and noted all but less than a step."""
    give_up = time.monotonic() + WAIT_SECONDS
    while written(desk) < count or prefix(desk.noted) <= count - SMALLEST_STEP_BYTES:
        assert time.monotonic() < give_up, "the bytes did not come"
        time.sleep(0.005)


def written(desk: Desk) -> int:
    return max((file.stat().st_size for file in desk.workspace.glob("partials/*.part")), default=0)


@both
def test_a_killed_run_is_gone_on_with(desk: Desk, artifact: Artifact) -> None:
    """After SIGKILL the next run asks for the rest, and moves at most one step twice."""
    desk.server.put(PATH, LARGE)
    desk.server.script(PATH, timing.stall_after(SENT))
    with child(desk, artifact) as process:
        wait_for_bytes(desk, SENT)
        process.send_signal(signal.SIGKILL)
        process.wait(WAIT_SECONDS)
        assert not desk.target.exists()
    fetched = desk.fetch(artifact)
    assert desk.target.read_bytes() == LARGE
    second = desk.seen[1]
    assert second.headers["Range"] == f"bytes={len(LARGE) - fetched.moved_bytes}-{len(LARGE) - 1}"
    assert "If-Match" in second.headers
    moved_twice = SENT + fetched.moved_bytes - len(LARGE)
    assert 0 <= moved_twice <= 0.02 * len(LARGE) + SMALLEST_STEP_BYTES
    assert desk.partials == []


@both
def test_killed_before_the_first_checkpoint_it_starts_over(desk: Desk, artifact: Artifact) -> None:
    """What no journal vouches for is asked for again."""
    desk.server.put(PATH, LARGE)
    desk.server.script(PATH, timing.stall_after(600_000))
    with child(desk, artifact) as process:
        wait_for_bytes(desk, 600_000)
        process.send_signal(signal.SIGKILL)
        process.wait(WAIT_SECONDS)
    desk.fetch(artifact)
    assert desk.asked == [None, None]


class FreesTheOther(Stop):
    """A stop whose first wait lets the server go on with the other process."""

    def __init__(self, go_on: Event) -> None:
        super().__init__()
        self._go_on = go_on

    def wait(self, seconds: float) -> None:
        """Let it go on, and wait."""
        self._go_on.set()
        super().wait(seconds)


def test_the_second_process_waits_and_takes_what_is_there(desk: Desk) -> None:
    """Whoever finds the partial taken waits, looks again, and asks the server for nothing."""
    artifact = pinned(LARGE, sized=False)
    desk.server.put(PATH, LARGE)
    desk.server.script(PATH, timing.stall_after(SENT, go_on := Event()))

    def found() -> str | None:
        return sha256(desk.target.read_bytes()) if desk.target.exists() else None

    job = replace(desk.job(artifact), found=found)
    with child(desk, artifact) as process, desk.transport() as transport:
        wait_for_bytes(desk, SENT)
        transport.stop = FreesTheOther(go_on)
        fetched = Fetcher(transport).fetch(job)
        assert process.wait(WAIT_SECONDS) == 0
    assert (fetched.sha256, fetched.moved_bytes) == (sha256(LARGE), 0)
    assert not fetched.is_new
    assert desk.asked == [None]
    assert desk.partials == []


@both
def test_a_killed_process_is_followed_at_once(desk: Desk, artifact: Artifact) -> None:
    """Who waits for it goes on from what it left."""
    desk.server.put(PATH, LARGE)
    desk.server.script(PATH, timing.stall_after(SENT))
    with child(desk, artifact) as process, desk.transport() as transport:
        wait_for_bytes(desk, SENT)
        transport.stop = Stop()
        transport.stop.wait = lambda _seconds: process.kill()  # type: ignore[method-assign, assignment]
        fetched = Fetcher(transport).fetch(desk.job(artifact))
    assert desk.target.read_bytes() == LARGE
    assert 0 < fetched.moved_bytes <= len(LARGE) - SENT + SMALLEST_STEP_BYTES
    assert len(desk.asked) == 2


@pytest.mark.parametrize("number", ["ENOLCK", "ENOSYS", "EOPNOTSUPP"])
def test_without_locks_two_processes_cost_duplicate_bytes(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, number: str
) -> None:
    """Where locks fail each fetches into a file of its own; both end with the right one."""

    def no_locks(_descriptor: int, _how: int) -> None:
        raise OSError(getattr(errno, number), number)

    artifact = pinned(LARGE, sized=False)
    desk.server.put(PATH, LARGE)
    desk.server.script(PATH, timing.stall_after(SENT, go_on := Event()))
    with child(desk, artifact) as process:
        wait_for_bytes(desk, SENT)
        monkeypatch.setattr("fcntl.flock", no_locks)
        assert desk.fetch(artifact).moved_bytes == len(LARGE)
        go_on.set()
        assert process.wait(WAIT_SECONDS) == 0
    assert sha256(desk.target.read_bytes()) == sha256(LARGE)
    assert desk.asked == [None, None]
    assert desk.partials == []


def test_the_lock_of_a_killed_process_is_free(desk: Desk) -> None:
    """A lock dies with its holder: no second name is needed after a kill."""
    desk.server.put(PATH, LARGE)
    desk.server.script(PATH, timing.stall_after(SENT), timing.drop_after(0))
    artifact = pinned(LARGE, sized=False)
    with child(desk, artifact) as process:
        wait_for_bytes(desk, SENT)
        process.send_signal(signal.SIGKILL)
        process.wait(WAIT_SECONDS)
    before = desk.partial
    desk.fetch(artifact)
    assert not before.exists()
