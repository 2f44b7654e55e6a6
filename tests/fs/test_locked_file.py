"""Who may write a partial: one process at a time; the others wait, or take a name of their own."""

import errno
import fcntl
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from downloader.errors import Interrupted, Stop, StoreError
from downloader.fs import locks, scratch
from downloader.fs.locks import LockWait, open_locked, wait_until_free
from downloader.fs.open_file import OpenFile
from downloader.fs.rooted_path import RootedPath, close_idle_folders
from tests.transfer.desk import StopsAtWait


class Acts(Stop):
    """A stop that does something in place of its first wait."""

    def __init__(self, act: object = None) -> None:
        super().__init__()
        self.act, self.delays = act, list[float]()

    def wait(self, seconds: float) -> None:
        """Note the delay, and act once."""
        self.delays.append(seconds)
        if callable(self.act):
            self.act()
            self.act = None
        self.check()


@contextmanager
def opened(path: Path, lock_wait: LockWait | None = None) -> Iterator[tuple[OpenFile, Path]]:
    with open_locked(RootedPath.of(path), lock_wait or LockWait()) as file:
        yield file, file.path.path


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Give a clock of one number; it may be set, and goes on by a second a look."""
    now = [1000.0]

    def tick() -> float:
        now[0] += 1.0
        return now[0]

    monkeypatch.setattr("downloader.fs.locks.time.monotonic", tick)
    return now


@pytest.fixture(autouse=True)
def unwarned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each test be the first to warn."""
    monkeypatch.setattr(locks, "_warned", threading.Lock())


def test_a_held_partial_is_waited_for(tmp_path: Path) -> None:
    """The second to open it gets the very same file, once the first one is done with it."""
    path = tmp_path / "m.part"
    first = open_locked(RootedPath.of(path), LockWait())
    first.append(b"data")
    stop = Acts(first.close)
    with opened(path, LockWait(stop)) as (second, found):
        assert found == path
        assert second.read() == b"data"
    assert stop.delays == [locks.FIRST_DELAY_SECONDS]


def test_the_pauses_grow_to_a_second(tmp_path: Path) -> None:
    """A holder that is soon done is followed at once, a slow one costs a look a second."""
    lock_wait = LockWait(stop := Acts())
    for _ in range(20):
        lock_wait.wait(RootedPath.of(tmp_path / "m.part"))
    assert stop.delays[0] == locks.FIRST_DELAY_SECONDS
    assert stop.delays == sorted(stop.delays)
    assert stop.delays[-1] == locks.LONGEST_DELAY_SECONDS == 1.0


def test_ctrl_c_ends_the_wait(tmp_path: Path) -> None:
    """The wait is under the run's stop event."""
    path = tmp_path / "m.part"
    with opened(path), pytest.raises(Interrupted):
        open_locked(RootedPath.of(path), LockWait(StopsAtWait()))


def test_what_is_waited_for_is_said_once(tmp_path: Path, clock: list[float]) -> None:
    """After two seconds a line says so; sooner, nothing is worth a line."""
    said: list[str] = []
    lock_wait = LockWait(Acts(), said.append)
    path = tmp_path / "m.part"
    lock_wait.wait(RootedPath.of(path))
    assert said == []
    for _ in range(5):
        lock_wait.wait(RootedPath.of(path))
    assert said == ["waiting for another process that is downloading it"]


def test_a_holder_that_does_nothing_is_not_waited_for_ever(
    tmp_path: Path, clock: list[float]
) -> None:
    """A lock that outlives its machine, as on some network disks, costs duplicate bytes only."""
    path = tmp_path / "m.part"
    with opened(path) as (file, _):
        lock_wait = LockWait(Acts())
        lock_wait.wait(RootedPath.of(path))
        clock[0] += locks.STILL_SECONDS - 10
        file.append(b"a sign of life")
        assert lock_wait.wait(RootedPath.of(path))
        clock[0] += locks.STILL_SECONDS - 10
        assert lock_wait.wait(RootedPath.of(path))
        clock[0] += 20
        assert not lock_wait.wait(RootedPath.of(path))
        with opened(path, lock_wait) as (_, found):
            assert found != path


def test_a_freed_partial_is_opened_by_its_name(tmp_path: Path) -> None:
    """When the holder is gone, its file is taken over with what it holds."""
    path = tmp_path / "m.part"
    with opened(path) as (file, _):
        file.append(b"data")
    with opened(path) as (file, found):
        assert file.read() == b"data"
    assert found == path


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_where_locks_fail_every_opener_has_a_file_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """On a file system without locks nobody writes where another may; that is said once."""

    def no_locks(_descriptor: int, _how: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", no_locks)
    said: list[str] = []
    lock_wait = LockWait(stop := Acts(), said.append)
    path = tmp_path / "m.part"
    with opened(path, lock_wait) as (_, first), opened(path, lock_wait) as (_, second):
        assert len({first, second, path}) == 3
        assert (first.parent, first.suffix) == (path.parent, ".part")
    assert len(said) == 1
    assert "locks do not work" in said[0]
    assert stop.delays == [], "nothing is waited for"


def test_a_lock_that_keeps_nobody_out_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some network file systems grant every lock: that is noticed, and names are made unique."""
    monkeypatch.setattr("fcntl.flock", lambda *_: None)
    monkeypatch.setattr(locks, "_proven_disks", set())
    path = tmp_path / "m.part"
    with opened(path) as (_, first), opened(path) as (_, second):
        assert len({first, second, path}) == 3


def test_a_partial_committed_while_it_is_opened_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between opening and locking, another process may have made it the final file."""
    path, final = tmp_path / "m.part", tmp_path / "final"
    lock = fcntl.flock

    def commit_first(descriptor: int, how: int) -> None:
        if not final.exists():
            path.rename(final)
        lock(descriptor, how)

    monkeypatch.setattr("fcntl.flock", commit_first)
    with opened(path, LockWait(Acts())) as (file, found):
        file.append(b"data")
        assert found == path
    assert final.read_bytes() == b""


def lowest_free_descriptor() -> int:
    """Return which it is, but for folders that are kept open on purpose."""
    close_idle_folders()
    descriptor = os.open(os.devnull, os.O_RDONLY)
    os.close(descriptor)
    return descriptor


def test_nothing_stays_open_when_locking_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error while the lock is tried gives the descriptor back."""

    def refuse(_file: OpenFile) -> None:
        raise StoreError("Input/output error")

    monkeypatch.setattr(OpenFile, "status", refuse)
    before = lowest_free_descriptor()
    with pytest.raises(StoreError, match="Input/output"):
        open_locked(RootedPath.of(tmp_path / "m.part"), LockWait())
    assert lowest_free_descriptor() == before


def test_a_target_that_is_being_noted_is_waited_for(tmp_path: Path) -> None:
    """The lock goes along with the rename: it is free when the receipt is written."""
    path, target = tmp_path / "m.part", tmp_path / "m"
    file = open_locked(RootedPath.of(path), LockWait())
    path.rename(target)
    stop = Acts(file.close)
    wait_until_free(RootedPath.of(target), LockWait(stop))
    assert len(stop.delays) == 1


@pytest.mark.parametrize("kind", ["nothing", "file", "FIFO", "folder"])
def test_a_target_that_nobody_holds_is_not_waited_for(tmp_path: Path, kind: str) -> None:
    """Whatever stands there, looking at it neither blocks nor fails."""
    target = tmp_path / "m"
    make = {
        "nothing": lambda _: None,
        "file": Path.touch,
        "FIFO": os.mkfifo,
        "folder": Path.mkdir,
    }
    make[kind](target)
    wait_until_free(RootedPath.of(target), LockWait(stop := Acts()))
    assert stop.delays == []


def test_a_file_is_the_same_until_its_name_is_anothers(tmp_path: Path) -> None:
    """The path is compared with what is open, not with what was."""
    path = tmp_path / "m.part"
    with opened(path) as (file, _):
        assert file.is_at(RootedPath.of(path))
        path.rename(tmp_path / "moved")
        assert not file.is_at(RootedPath.of(path))
        path.write_bytes(b"")
        assert not file.is_at(RootedPath.of(path))


@pytest.mark.parametrize("process", ["²", "9" * 40])
def test_a_name_with_an_impossible_process_does_no_harm(tmp_path: Path, process: str) -> None:
    """Anybody may have made it: it is passed over, or taken for a dead one's."""
    path = RootedPath(tmp_path, "x.part")
    (tmp_path / f"x-{scratch.machine()}-{process}-ab.part").write_bytes(b"left")
    locks._inherit(path, path.with_name("own.part"))
    assert (tmp_path / "own.part").exists() == process.isdecimal()


@pytest.mark.parametrize("place", [None, 0, 1 << 59], ids=["file", "first byte", "far byte"])
def test_a_lock_keeps_other_processes_out(tmp_path: Path, place: int | None) -> None:
    """One mechanism for partials, which are locked whole, and for claims, which are bytes."""
    path = RootedPath(tmp_path, "file")
    script = (
        "import sys\nfrom pathlib import Path\nfrom downloader.fs.locks import OWN_FILE, FileLock\n"
        "from downloader.fs.rooted_path import RootedPath\n"
        f"lock = FileLock(RootedPath(Path({str(tmp_path)!r}), 'file').open(OWN_FILE), {place})\n"
        "print(lock.take())\n"
    )

    def other() -> str:
        run = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
        return run.stdout.decode().strip()

    with path.open(locks.OWN_FILE) as file:
        lock = locks.FileLock(file, place)
        assert lock.take() is True
        assert other() == "False"
        lock.release()
        assert other() == "True"
