"""Lock a file so that one process at a time writes it, and let the others wait.

The lock is on the file itself, and ends with the process, however that ends. Where locks fail or
do nothing, as on some network file systems, each process writes a file with a name of its own: two
processes on one target then download the bytes twice, and never mix them. The name tells whose file
it is, so that the next process can resume what a dead one left. Who waits says so once, and Ctrl-C
ends the wait.
"""

import contextlib
import enum
import errno
import functools
import hashlib
import os
import sys
import threading
import time
from collections.abc import Callable

from downloader.errors import Stop, StoreError
from downloader.fs import scratch
from downloader.fs.files import Private
from downloader.fs.open_file import OpenFile
from downloader.fs.rooted_path import BINARY, NO_FOLLOW, NO_WAITING, READ, RootedPath
from downloader.fs.run_token import released

FIRST_DELAY_SECONDS = 0.05
LONGEST_DELAY_SECONDS = 1.0
QUIET_SECONDS = 2.0
"""A wait that is over sooner is not worth a line."""
STILL_SECONDS = 900.0
"""A holder that wrote nothing for so long is not believed to be alive: some servers of network
disks keep the lock of a machine that is gone. No pause between two attempts is so long."""

_warned = threading.Lock()  # taken by the first warning of the process, and never given back


class LockWait:
    """Wait for a file that another process downloads, with pauses that grow.

    Args:
        stop: Set when the run is to end.
        notice: Takes one line for the user.
    """

    def __init__(
        self,
        stop: Stop | None = None,
        notice: Callable[[str], None] = lambda _text: None,
    ) -> None:
        self._stop, self._notice = stop or Stop(), notice
        self._delay_seconds = FIRST_DELAY_SECONDS
        self._began = self._moved = time.monotonic()
        self._seen: tuple[int, int] | None = None
        self._is_told = False

    def wait(self, path: RootedPath) -> bool:
        """Wait a little; returns whether it is worth to look again.

        Args:
            path: What somebody else has; its growth shows that they are at work.

        Raises:
            Interrupted: The user stopped the run.
        """
        with released():
            self._stop.wait(self._delay_seconds)
        self._delay_seconds = min(1.5 * self._delay_seconds, LONGEST_DELAY_SECONDS)
        now = time.monotonic()
        if (looks := _looks(path)) != self._seen:
            self._seen, self._moved = looks, now
        if not self._is_told and now - self._began >= QUIET_SECONDS:
            self._is_told = True
            self._notice("waiting for another process that is downloading it")
        return now - self._moved < STILL_SECONDS

    def tell(self, text: str) -> None:
        """Tell the user a line about a wait."""
        self._notice(text)

    def check(self) -> None:
        """Raise Interrupted if the user stopped the run."""
        self._stop.check()

    def warn_of_useless_locks(self, folder: RootedPath) -> None:
        """Say once in a process that two of them would fetch the same bytes."""
        if _warned.acquire(blocking=False):
            self._notice(
                f"locks do not work in {folder}: another process that wants the same file "
                "at the same time fetches it too"
            )


def _looks(path: RootedPath) -> tuple[int, int] | None:
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


OWN_FILE = os.O_RDWR | os.O_CREAT | NO_FOLLOW | BINARY

HELD = frozenset(
    {errno.EACCES, errno.EDEADLK} if sys.platform == "win32" else {errno.EAGAIN, errno.EWOULDBLOCK}
)
"""Errors of a lock that another process holds. Any other error means that locks are of no use: some
FUSE file systems say EACCES to each."""

if sys.platform == "win32":
    import msvcrt

    LOCKED_BYTE = 1 << 62  # far beyond any content, since Windows locks bytes against writing too

    def _change(descriptor: int, place: int | None, *, takes: bool) -> None:
        os.lseek(descriptor, LOCKED_BYTE if place is None else place, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK if takes else msvcrt.LK_UNLCK, 1)
        os.lseek(descriptor, 0, os.SEEK_SET)
else:
    import fcntl

    def _change(descriptor: int, place: int | None, *, takes: bool) -> None:
        how = fcntl.LOCK_EX | fcntl.LOCK_NB if takes else fcntl.LOCK_UN
        if place is None:
            fcntl.flock(descriptor, how)
        else:
            fcntl.lockf(descriptor, how, 1, place)


class FileLock:
    """A lock on an open file, or on one byte of it; it ends with the process, if not before.

    Args:
        file: The open file. Its own lock goes with it when it is closed or renamed; a byte's lock
            is dropped when this process closes any descriptor of the file (fcntl(2)).
        place: Which byte, whether there is one or not; None for the file itself.
    """

    __slots__ = ("_file", "_place")

    def __init__(self, file: OpenFile, place: int | None = None) -> None:
        self._file, self._place = file, place

    def take(self) -> bool | None:
        """Return at once whether it is ours now; None if locks are of no use there."""
        try:
            _change(self._file.descriptor, self._place, takes=True)
        except OSError as error:
            return False if error.errno in HELD else None
        return True

    def release(self) -> None:
        """Give it up, if that can be done before the file is closed."""
        with contextlib.suppress(OSError):
            _change(self._file.descriptor, self._place, takes=False)


class _Lock(enum.Enum):
    OURS = enum.auto()
    HELD = enum.auto()
    """Somebody else's; or the name led to another file before we had it, which is the same."""
    USELESS = enum.auto()
    """It fails, or keeps nobody out."""


_proven_disks = set[int]()
"""Devices on which a lock was seen to keep others out: asked once, not for each file."""


@functools.lru_cache(1 << 14)  # as partial_path
def partial_name(path: str) -> str:
    """Return the partial's file name: readable, unique for the path, and short enough anywhere."""
    readable = path.rpartition("/")[2].encode()[:40].decode("utf-8", "ignore")
    return f"{readable}-{hashlib.sha256(path.encode()).hexdigest()[:12]}.part"


@functools.lru_cache(1 << 14)  # planned for all files, then asked at every step of a file's way
def partial_path(workspace: RootedPath, path: str) -> RootedPath:
    """Return where an artifact's partial is, as a rule.

    Args:
        workspace: The model's private folder.
        path: The artifact's path.
    """
    return workspace / f"{Private.PARTIALS}/{partial_name(path)}"


def open_locked(path: RootedPath, lock_wait: LockWait) -> OpenFile:
    """Open the file for this process alone, making it and its folder when they are not there.

    Args:
        path: Its name, the same for every process.
        lock_wait: Waits while another process has it. The file is not kept open meanwhile: on
            Windows its holder could not rename it then.

    Returns:
        The open file, its folder held open; its path is another name beside it where locks are of
        no use.

    Raises:
        StoreError: It cannot be opened, or is a symlink.
        Interrupted: The user stopped the run.
    """
    while True:
        file = path.held(makes=True).open(OWN_FILE, act="open")
        lock = None
        try:
            lock = _take_lock(file)
        finally:
            if lock is not _Lock.OURS:
                file.close()
        if lock is _Lock.OURS:
            return file
        if lock is _Lock.USELESS:
            lock_wait.warn_of_useless_locks(path.parent)
        if lock is _Lock.USELESS or not lock_wait.wait(path):
            break
    name = scratch.own_name(path.stem, path.suffix)
    own = path.with_name(name).held()
    _inherit(path, own)
    return own.open(OWN_FILE, act="open")


def wait_until_free(target: RootedPath, lock_wait: LockWait) -> bool:
    """Wait while another process notes what it has just put there.

    The lock of its partial went along with the rename, and the partial's name was free at once.

    Returns:
        Whether anything stands there.

    Raises:
        Interrupted: The user stopped the run.
    """
    while (held := _is_held(target)) and lock_wait.wait(target):
        pass
    return held is not None


def is_held(path: RootedPath) -> bool:
    """Whether another process has the file; False if there is none, or locks tell nothing."""
    return bool(_is_held(path))


def _is_held(path: RootedPath) -> bool | None:
    """Return as `is_held`, and None if nothing stands there."""
    try:
        file = path.open_if_there(READ)
    except StoreError:
        return False
    if file is None:
        return None
    with file:
        return FileLock(file).take() is False


def remove_unless_held(partial: RootedPath) -> bool:
    """Remove a partial and its journal, or either alone, and return whether that was done.

    Not while another process has it, nor where locks keep nobody out; who waits for it meanwhile
    finds another file under the name, and looks again.

    Raises:
        StoreError: The disk refused.
    """
    journal = partial.with_suffix(".journal")
    try:
        file = partial.open(OWN_FILE & ~os.O_CREAT | NO_WAITING, act="remove")
    except StoreError as error:
        if error.errno != errno.ENOENT:
            raise
        journal.remove(missing_ok=True)  # a run was killed when it had put the file in place
        return True
    with file:
        if _take_lock(file) is not _Lock.OURS:
            return False
        journal.remove(missing_ok=True)
        partial.remove()
        return True


def _take_lock(file: OpenFile) -> _Lock:
    is_ours = FileLock(file).take()
    if not is_ours:
        return _Lock.USELESS if is_ours is None else _Lock.HELD
    # A partial that was committed while we opened it is a final file now: its path tells.
    if not file.is_at(file.path):
        return _Lock.HELD
    _, disk = file.identity
    if disk not in _proven_disks:
        if not _keeps_others_out(file.path):
            return _Lock.USELESS
        _proven_disks.add(disk)
    return _Lock.OURS


def _keeps_others_out(path: RootedPath) -> bool:
    """Try our own lock: on some network file systems locking does nothing."""
    with path.open(OWN_FILE, act="open") as second:
        return not FileLock(second).take()


def _inherit(path: RootedPath, own: RootedPath) -> None:
    """Take over what a dead process of this machine left under a name of its own.

    A rename is one step on every file system, so two heirs never get the same file.
    """
    prefix = scratch.own_prefix(path.stem)
    for name in path.parent.names():
        if not (name.startswith(prefix) and name.endswith(path.suffix)):
            continue
        left, owner = path.with_name(name), scratch.owner_of(name)
        if owner and not owner.is_alive:
            with contextlib.suppress(StoreError):
                left.move_to(own)
                left.with_suffix(".journal").move_to(own.with_suffix(".journal"))
                return
