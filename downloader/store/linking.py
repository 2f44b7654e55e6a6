"""A second name for bytes on disk: a reflink where that can be had, else a hard link, else a copy.

A reflink (Linux: btrfs, XFS, bcachefs) shares the blocks until one side is written; a hard link is
the same file under two names, and therefore read-only; a copy takes its room on the disk. macOS and
Windows have other calls for reflinks, which are not used: there it is a hard link.
"""

import contextlib
import errno
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from downloader.durable import BINARY, NO_FOLLOW
from downloader.errors import StoreError
from downloader.hashing import sha256_of

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


def link(source: Path, new: Path, how: How, sha256: str) -> Made:
    """Make a new file of the bytes of another one.

    Args:
        source: The file; it is not written to.
        new: A name where nothing is.
        how: Which way is wanted; where it cannot be had, a copy.
        sha256: What the bytes are; a copy is read again.

    Returns:
        Which way it was.

    Raises:
        OSError: None of them worked; nothing is at the new name.
        StoreError: The copy has other bytes; it was removed.
    """
    for way in WAYS[how]:
        try:
            _MAKERS[way](source, new)
        except OSError as error:
            if way == "copy" or error.errno not in CANNOT:
                raise
        else:
            if way == "copy":
                _check_copy(new, sha256)
            return way
    raise AssertionError(how)


def _check_copy(new: Path, sha256: str) -> None:
    if sha256_of(new) != sha256:
        new.unlink()
        raise StoreError(f"The copy at {new} had other bytes than what was copied.")


def _reflink(source: Path, new: Path) -> None:
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


def _hardlink(source: Path, new: Path) -> None:
    os.link(source, new, follow_symlinks=False)


def _copy(source: Path, new: Path) -> None:
    with _made(new) as to, open(to, "wb", closefd=False) as written, source.open("rb") as read:
        shutil.copyfileobj(read, written, 1 << 20)
        written.flush()
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
