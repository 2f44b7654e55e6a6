"""A file that one process at a time writes; another process gets one of its own.

The lock is on the file itself, and is gone with the process however it ends. Where it cannot be
had - held, or on a file system without locks - the file gets a name of its own: two processes on
one target then cost duplicate bytes, and never mix them.
"""

import os
import secrets
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
        An open descriptor, and its path: another name beside it when somebody has the file.

    Raises:
        OSError: It cannot be opened, or is a symlink.
    """
    descriptor = os.open(path, FLAGS, 0o666)
    # A partial that was committed while we opened it is a final file now: its path tells.
    if _try_lock(descriptor) and is_same_file(descriptor, path):
        return descriptor, path
    os.close(descriptor)
    own = path.with_name(f"{path.stem}-{os.getpid()}-{secrets.token_hex(4)}{path.suffix}")
    return os.open(own, FLAGS | os.O_EXCL, 0o666), own


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
