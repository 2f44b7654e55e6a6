"""Claims on bytes: one thread or process downloads them; the others wait for it.

So the same bytes are fetched once, under whatever names and for whatever projects. A claim is a
lock on one byte of the file `claims`, at a place that the digest gives: one system call for a
small file, nothing to tidy up, and gone with the process however it ends. If a file is large,
a note says where it grows, which shows that its holder is at work. If locks are of no use, each
fetches for itself.
"""

import contextlib
import os
import threading
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from downloader.artifact import is_absolute
from downloader.errors import Stop, StoreError
from downloader.fs.files import PRIVATE_FOLDER, Private
from downloader.fs.locks import OWN_FILE, QUIET_SECONDS, FileLock, LockWait
from downloader.fs.rooted_path import REPLACE, RootedPath
from downloader.fs.run_token import released

DIGITS = 15
"""How many hex digits of a digest make the place: 60 bits, as much as systems can lock."""
GROWING = "growing"
NOTED_BYTES = 16 << 20
"""From which size on a note says where a file grows: smaller ones are there soon."""


class Claims:
    """The claims of one store.

    Args:
        folder: The store's.
        stop: Ends every wait.
    """

    def __init__(self, folder: RootedPath, stop: Stop) -> None:
        self._folder, self._stop = folder, stop

    def claimed(
        self, sha256: str, partial: RootedPath, size: int | None, notice: Callable[[str], None]
    ) -> "Claim":
        """Return what keeps everybody else from fetching these bytes, after those who do now.

        Args:
            sha256: Which bytes.
            partial: Where they will grow.
            size: How many they are, if known.
            notice: Takes one line for the user, about a long wait.

        Raises:
            StoreError: The disk refused.
        """
        note = None
        if size is None or size >= NOTED_BYTES:
            note = self._folder / GROWING / sha256
        return Claim(_claims_of(self._folder), sha256, LockWait(self._stop, notice), note, partial)


class Claim:
    """The claim on some bytes while a block runs; a class, since there is one for each file.

    Args:
        ours: The claims of this process.
        sha256: Which bytes.
        lock_wait: Waits for those who have them.
        note: Where a note says that they grow; None for no note.
        partial: Where they grow.
    """

    __slots__ = ("_lock_wait", "_note", "_ours", "_partial", "_sha256", "_thread", "is_ours")

    def __init__(
        self,
        ours: "_Ours",
        sha256: str,
        lock_wait: LockWait,
        note: RootedPath | None,
        partial: RootedPath,
    ) -> None:
        self._ours, self._sha256, self._lock_wait = ours, sha256, lock_wait
        self._note, self._partial = note, partial
        self._thread = ours.thread(sha256)
        self.is_ours = False

    def __enter__(self) -> bool:
        """Wait for it; False if no other process is kept out: locks are of no use there.

        Raises:
            StoreError: The disk refused.
            Interrupted: The run was stopped while others had the claim.
        """
        if not self._thread.acquire(blocking=False):
            with released():
                if not self._thread.acquire(timeout=QUIET_SECONDS):
                    self._lock_wait.tell("waiting for another file of this run with the same bytes")
                    self._thread.acquire()  # a stop ends its transfer, and so this
        try:
            self.is_ours = self._ours.lock(self._sha256, self._lock_wait)
            if self.is_ours and self._note:
                _write(self._note, self._partial)
        except BaseException:
            self.__exit__()
            raise
        return self.is_ours

    def __exit__(self, *_: object) -> None:
        """Give it up."""
        try:
            if self.is_ours and self._note:
                _remove(self._note)
            if self.is_ours:
                self._ours.unlock(self._sha256)
        finally:
            self._thread.release()


class _Ours:
    """Claims of this process in one store.

    There is one for all its runs, never closed: locks of bytes are the process's, and closing any
    descriptor of the file would drop them all (fcntl(2)).
    """

    def __init__(self, folder: RootedPath) -> None:
        self._path = folder / "claims"
        folder.make_folder()
        self._file = self._path.open(OWN_FILE, act="lock")
        self._changing = threading.Lock()
        self._threads: dict[str, threading.Lock] = defaultdict(threading.Lock)

    def thread(self, sha256: str) -> threading.Lock:
        """Return what keeps the threads of this process apart."""
        with self._changing:
            return self._threads[sha256]

    def lock(self, sha256: str, lock_wait: LockWait) -> bool:
        """Wait for the claim; False if locks are of no use, or its holder is not believed."""
        claim = self._claim(sha256)
        while True:
            with self._changing:
                is_ours = claim.take()
            if is_ours:
                return True
            if is_ours is None:
                lock_wait.warn_of_useless_locks(self._path.parent)
                return False
            if not lock_wait.wait(self._growing(sha256)):
                return False

    def unlock(self, sha256: str) -> None:
        """Give the claim up."""
        with self._changing:
            self._claim(sha256).release()

    def _claim(self, sha256: str) -> FileLock:
        return FileLock(self._file, int(sha256[:DIGITS], 16))

    def _growing(self, sha256: str) -> RootedPath:
        """Return the holder's partial, if a note names it."""
        try:
            named = (self._path.with_name(GROWING) / sha256).read_bytes()
        except StoreError:
            return self._path
        return noted_path(named) or self._path


def noted_path(note: bytes) -> RootedPath | None:
    """Return the partial that a note names, None if it names none; do not trust it.

    It may be looked at, and be tried for a lock, and no more.
    """
    name = os.fsdecode(note)
    path = Path(name)
    parts = path.parent.parts[-2:]
    is_partial = path.suffix == ".part" and parts == (PRIVATE_FOLDER, Private.PARTIALS)
    try:
        return RootedPath.of(path) if is_partial and is_absolute(name) else None
    except StoreError:
        return None


_claims: dict[tuple[int, RootedPath], _Ours] = {}
_opening = threading.Lock()


def _claims_of(folder: RootedPath) -> _Ours:
    """Return this process's claims; a forked one has locks of its own (fcntl(2))."""
    key = os.getpid(), folder
    with _opening:
        if key not in _claims:
            _claims[key] = _Ours(folder)
        return _claims[key]


def _write(note: RootedPath, partial: RootedPath) -> None:
    note.parent.make_folder()
    with note.open(REPLACE) as file:
        file.append(os.fsencode(partial.parent.path.resolve() / partial.name))


def _remove(note: RootedPath) -> None:
    with contextlib.suppress(StoreError):
        note.remove()
