"""A file that one process at a time writes; another process gets one of its own.

The lock is on the file itself, and is gone with the process however it ends. Where it cannot be
had - held, or on a file system where locks fail or do nothing - the file gets a name of its own:
two processes on one target then cost duplicate bytes, and never mix them. The name tells whose it
is, so that the next process can go on from what a dead one left.
"""

import contextlib
import glob
import hashlib
import os
import secrets
import socket
import sys
from pathlib import Path

from downloader.durable import BINARY, NO_FOLLOW

FLAGS = os.O_RDWR | os.O_CREAT | NO_FOLLOW | BINARY

if sys.platform == "win32":
    import msvcrt

    LOCKED_BYTE = 1 << 62  # far beyond any content, since Windows locks bytes against writing too

    def _lock(descriptor: int) -> None:
        os.lseek(descriptor, LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        os.lseek(descriptor, 0, os.SEEK_SET)
else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def open_locked(path: Path) -> tuple[int, Path]:
    """Open the file for this process alone, making it when it is not there.

    Returns:
        An open descriptor, and its path: another name beside it when the file is not ours alone.

    Raises:
        OSError: It cannot be opened, or is a symlink.
    """
    descriptor = os.open(path, FLAGS, 0o666)
    # A partial that was committed while we opened it is a final file now: its path tells.
    if _try_lock(descriptor) and is_same_file(descriptor, path) and _is_held(path):
        return descriptor, path
    os.close(descriptor)
    own = path.with_name(f"{_own_prefix(path, os.getpid())}{secrets.token_hex(4)}{path.suffix}")
    _inherit(path, own)
    return os.open(own, FLAGS, 0o666), own


def is_same_file(descriptor: int, path: Path) -> bool:
    """Whether the path still leads to the open file."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False


def _try_lock(descriptor: int) -> bool:
    try:
        _lock(descriptor)
    except OSError:
        return False
    return True


def _is_held(path: Path) -> bool:
    """Whether our lock keeps others out: on some network file systems locking does nothing."""
    second = os.open(path, FLAGS)
    try:
        return not _try_lock(second)
    finally:
        os.close(second)


def _own_prefix(path: Path, process: int) -> str:
    host = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:6]
    return f"{path.stem}-{host}-{process}-"


def _inherit(path: Path, own: Path) -> None:
    """Take over what a dead process of this machine left under a name of its own.

    A rename is one step on every file system, so two heirs never get the same file.
    """
    for left in sorted(path.parent.glob(f"{glob.escape(_own_prefix(path, 0)[:-2])}*{path.suffix}")):
        process = left.stem.split("-")[-2]
        if process.isdigit() and not _is_alive(int(process)):
            with contextlib.suppress(OSError):
                left.rename(own)
                left.with_suffix(".journal").rename(own.with_suffix(".journal"))
                return


def _is_alive(process: int) -> bool:
    if sys.platform == "win32":
        return True  # there is no harmless signal; and locks work there
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
