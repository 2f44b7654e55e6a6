"""SIGKILL at every write, sync, rename, … of a download in two ranges (row B10; I1, I8)."""

import itertools
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from threading import Event

import pytest
from msgspec import structs

from downloader.artifact import Artifact
from downloader.fs.locks import partial_name
from downloader.settings import Settings
from downloader.transfer.partial import SMALLEST_STEP_BYTES
from tests.servers.exchange import Exchange, Fault
from tests.servers.faults import honest, timing
from tests.servers.faulty import FaultyServer
from tests.servers.reply import Reply, Step
from tests.strace import FAMILIES, Blow, Call, Strace, killed
from tests.transfer import child
from tests.transfer.desk import BODY, OLD, PATH, Desk, pinned, sha256, unpinned

LARGE = BODY * 14
"""Four steps of the journal and a bit."""
HAVE = 1_300_000
BEGUN = 60_000
BUFFER_BYTES = 256 << 10
MOST_CALLS = 60
WAIT_SECONDS = 30.0
SETTINGS = Settings(timeout_seconds=10.0, connections=1)

RESUMED = {"write": 2, "pwrite64": 8, "fsync": 2, "fdatasync": 2, "ftruncate": 1, "rename": 1}
RESUMED |= {"unlink": 1, "open": 6}
SHARED = {"write": 1, "pwrite64": 5, "fsync": 2, "fdatasync": 1, "rename": 1, "unlink": 1}
SHARED |= {"open": 3, "mkdir": 1}
"""How often a run is killed at each kind of call, at the least; strace counts threads apart."""


@pytest.mark.sampled(keep=1)
@pytest.mark.parametrize("family", RESUMED)
def test_a_resume_killed_anywhere(
    strace: Strace, server: FaultyServer, tmp_path: Path, family: str
) -> None:
    """The old target stands, or the new one; the next run moves what is not vouched for."""
    server.put(PATH, LARGE)
    left = Desk(server, tmp_path / "left", SETTINGS)
    left.target.parent.mkdir(parents=True)
    left.target.write_bytes(OLD)
    left.leave_partial(HAVE, unpinned())

    def again(folder: Path) -> Desk:
        shutil.copytree(left.folder, folder)
        return Desk(server, folder, SETTINGS)

    points = 0
    for desk, call in kills(strace, family, map(again, numbered(tmp_path)), unpinned()):
        points += 1
        assert_law(desk, OLD, call)
        assert present(desk) - vouched(desk) <= SMALLEST_STEP_BYTES + BUFFER_BYTES, call
        assert_goes_on(desk, unpinned(), call)
    assert points >= RESUMED[family]


@pytest.mark.sampled(keep=1)
@pytest.mark.parametrize("family", SHARED)
def test_two_connections_killed_anywhere(
    strace: Strace, server: FaultyServer, tmp_path: Path, family: str
) -> None:
    """The same where two connections write at two places of a file that was not there."""
    server.put(PATH, LARGE)
    wanted = pinned(LARGE, sized=False)

    def anew(folder: Path) -> Desk:
        server.always(PATH, first_waits_for_second())
        return Desk(server, folder, structs.replace(SETTINGS, connections=2))

    points = 0
    for desk, call in kills(strace, family, map(anew, numbered(tmp_path)), wanted):
        points += 1
        assert_law(desk, None, call)
        server.always(PATH, honest)
        assert_goes_on(desk, wanted, call)
    assert points >= SHARED[family]


def numbered(folder: Path) -> Iterator[Path]:
    return (folder / str(number) for number in itertools.count(1))


def first_waits_for_second() -> Fault:
    """Return a fault: the first reply stalls until another was sent, or is not wanted any more."""
    begun, is_sent = Event(), Event()

    def noting(steps: Iterable[Step]) -> Iterator[Step]:
        try:
            yield from steps
        finally:
            is_sent.set()

    def fault(exchange: Exchange, reply: Reply) -> Reply:
        if begun.is_set():
            return reply.through(noting)
        begun.set()
        return timing.stall_after(BEGUN, is_sent)(exchange, reply)

    return fault


def kills(
    strace: Strace, family: str, desks: Iterator[Desk], artifact: Artifact
) -> Iterator[tuple[Desk, Call]]:
    """Kill a child at its first call of a family, the next at its second, until one comes through.

    Yields:
        Where it was killed, and at which call.
    """
    for number, desk in zip(range(1, MOST_CALLS), desks, strict=False):
        desk.folder.mkdir(exist_ok=True)
        log = desk.folder / "strace.log"
        names, paths = FAMILIES[family], own_paths(desk)
        blow = Blow(calls=names, number=number, effect="signal=KILL", paths=paths)
        command = child.command(desk.job(artifact), desk.settings.connections)
        subprocess.run([*strace.striking(log, blow), *command], check=False, timeout=WAIT_SECONDS)
        call = killed(log)
        if call is None:
            assert sha256(desk.target.read_bytes()) == sha256(LARGE), "nothing disturbed it"
            assert desk.partials == []
            return
        yield desk, call
    raise AssertionError(f"{MOST_CALLS} times killed at {family}, and no end of it")


def own_paths(desk: Desk) -> tuple[Path, ...]:
    """Return every file and folder that a fetch makes or changes."""
    partial = desk.workspace / "partials" / partial_name("model.bin")
    files = (partial, partial.with_suffix(".journal"), desk.target)
    return (*files, desk.target.parent, partial.parent, desk.workspace)


def assert_law(desk: Desk, before: bytes | None, call: Call) -> None:
    """Check that the target is as it was, or new and whole."""
    there = sha256(desk.target.read_bytes()) if desk.target.exists() else None
    assert there in (sha256(before) if before else None, sha256(LARGE)), call


def present(desk: Desk) -> int:
    """Return the partial's length, 0 where there is none."""
    return sum(each.stat().st_size for each in desk.workspace.glob("partials/*.part"))


def vouched(desk: Desk) -> int:
    """Return how many bytes of the partial the journal vouches for."""
    return sum(max(0, min(each.stop, present(desk)) - each.start) for each in desk.noted)


def assert_goes_on(desk: Desk, artifact: Artifact, call: Call) -> None:
    """Check that one undisturbed run ends with the file, and asks for no byte that is vouched."""
    missing = len(LARGE) - vouched(desk)
    desk.settings = SETTINGS
    fetched = desk.fetch(artifact)
    assert fetched.sha256 == sha256(LARGE), call
    assert fetched.moved_bytes == missing, call
    assert (desk.partials, desk.quarantined) == ([], []), call
