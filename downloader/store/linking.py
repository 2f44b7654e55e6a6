"""A second name for bytes on disk: a reflink where that can be had, else a hard link, else a copy.

A reflink (Linux: btrfs, XFS, bcachefs) shares the blocks until one side is written; a hard link is
the same file under two names, and therefore read-only; a copy takes its room on the disk. macOS and
Windows have other calls for reflinks, which are not used: there it is a hard link.
"""

import contextlib
import errno
import os
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from downloader.durable import BINARY, NO_FOLLOW
from downloader.errors import StoreError
from downloader.finding import Watch, feed_all
from downloader.hashing import BUFFER_BYTES, new_sha256
from downloader.positioned import read_at, write_at

How = Literal["auto", "reflink", "hardlink", "copy"]
Made = Literal["reflink", "hardlink", "copy"]

WAYS: dict[How, tuple[Made, ...]] = {
    "auto": ("reflink", "hardlink", "copy"),
    "reflink": ("reflink", "copy"),
    "hardlink": ("hardlink", "copy"),
    "copy": ("copy",),
}
"""What is tried in turn. Who asked for a reflink wants no file that is shared when written."""

NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | NO_FOLLOW | BINARY
CANNOT = frozenset(
    {errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.ENOSYS, errno.EINVAL}
    | {errno.ENOTTY, errno.EOPNOTSUPP, errno.ENOTSUP}
)
"""What says that a file system, a limit or the rule fs.protected_hardlinks forbids this way."""

_no_reflinks = set[tuple[int, int]]()
"""Pairs of devices between which there are none: asked once, not for each file."""

if sys.platform == "linux":
    import fcntl

    FICLONE = 0x40049409  # ioctl_ficlone(2)

    def _clone(source: int, new: int) -> None:
        fcntl.ioctl(new, FICLONE, source)
else:

    def _clone(source: int, new: int) -> None:  # noqa: ARG001
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))


def link(source: Path, new: Path, how: How, sha256: str, watch: Watch = lambda: None) -> Made:
    """Make a new file of the bytes of another one.

    Args:
        source: The file; it is not written to.
        new: A name where nothing is.
        how: Which way is wanted; where it cannot be had, a copy.
        sha256: What the bytes are; a copy is read again.
        watch: Called often while a copy is made.

    Returns:
        Which way it was.

    Raises:
        OSError: None of them worked; nothing is at the new name.
        StoreError: The copy has other bytes; it was removed.
    """
    for way in WAYS[how]:
        try:
            _MAKERS[way](source, new, watch)
        except OSError as error:
            if way == "copy" or error.errno not in CANNOT:
                raise
        else:
            return way if way != "copy" else _checked(new, sha256, watch)
    raise AssertionError(how)


def has_reflinks(folder: Path) -> bool:
    """Whether the file system of a folder can make them; tried with two empty files."""
    source, new = (folder / f".{secrets.token_hex(8)}.new" for _ in range(2))
    try:
        with _made(source):
            _reflink(source, new, lambda: None)
    except OSError:
        return False
    else:
        return True
    finally:
        for each in (source, new):
            with contextlib.suppress(OSError):
                each.unlink()


def _checked(new: Path, sha256: str, watch: Watch) -> Made:
    """Read a copy again, and remove it where it is not what it is to be."""
    digest = new_sha256()
    try:
        with _opened(new, os.O_RDONLY | NO_FOLLOW | BINARY) as copy:
            feed_all(copy, os.fstat(copy).st_size, (digest,), watch)
    except BaseException:
        with contextlib.suppress(OSError):
            new.unlink()
        raise
    if digest.hexdigest() != sha256:
        new.unlink()
        raise StoreError(f"The copy at {new} had other bytes than what was copied.")
    return "copy"


def _reflink(source: Path, new: Path, _watch: Watch) -> None:
    devices = (source.lstat().st_dev, new.parent.lstat().st_dev)
    if devices in _no_reflinks:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
    with _opened(source, os.O_RDONLY | NO_FOLLOW | BINARY) as from_, _made(new) as to:
        try:
            _clone(from_, to)
        except OSError as error:
            if error.errno in CANNOT:
                _no_reflinks.add(devices)
            raise
        os.fsync(to)


def _hardlink(source: Path, new: Path, _watch: Watch) -> None:
    os.link(source, new, follow_symlinks=False)


def _copy(source: Path, new: Path, watch: Watch) -> None:
    buffer, position = memoryview(bytearray(BUFFER_BYTES)), 0
    with _opened(source, os.O_RDONLY | NO_FOLLOW | BINARY) as from_, _made(new) as to:
        while count := read_at(from_, buffer, position):
            watch()
            write_at(to, buffer[:count], position)
            position += count
        os.fsync(to)


_MAKERS = {"reflink": _reflink, "hardlink": _hardlink, "copy": _copy}


@contextlib.contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    descriptor = os.open(path, flags, 0o666)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _made(new: Path) -> Iterator[int]:
    """Open a new file, and remove it when the block fails."""
    with _opened(new, NEW_FILE) as descriptor:
        try:
            yield descriptor
        except BaseException:
            with contextlib.suppress(OSError):
                new.unlink()
            raise
