"""A second name for bytes on disk: a reflink if possible, else a hard link, else a copy.

A reflink (Linux: btrfs, XFS, bcachefs) shares the blocks until one side is written; a hard link is
the same file under two names, and therefore read-only; a copy takes its room on the disk. macOS and
Windows have other calls for reflinks, which are not used: there it is a hard link.
"""

import contextlib
import errno
import functools
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from downloader.errors import StoreError
from downloader.fs import scratch
from downloader.fs.digests import StopCheck, copy_hashed
from downloader.fs.open_file import UNSUPPORTED, OpenFile, refused, stat_of
from downloader.fs.rooted_path import NEW_FILE, RootedPath, open_to_read

How = Literal["auto", "reflink", "hardlink", "copy"]
Made = Literal["reflink", "hardlink", "copy"]

WAYS: dict[How, tuple[Made, ...]] = {
    "auto": ("reflink", "hardlink", "copy"),
    "reflink": ("reflink", "copy"),
    "hardlink": ("hardlink", "copy"),
    "copy": ("copy",),
}
"""Ways that are tried in order. `reflink` never falls back to a file that two names share."""

CANNOT = UNSUPPORTED | {errno.EXDEV, errno.EMLINK, errno.ENOTTY}
"""Errors if a file system, a limit or the rule fs.protected_hardlinks forbids this way."""

_no_reflinks = set[int]()
"""Devices on which there are none: asked once, not for each file."""

if sys.platform == "linux":
    import fcntl

    FICLONE = 0x40049409  # ioctl_ficlone(2)

    def _clone(source: int, new: int) -> None:
        fcntl.ioctl(new, FICLONE, source)
else:

    def _clone(source: int, new: int) -> None:  # noqa: ARG001
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))


class SourceUnreadable(StoreError):  # noqa: N818 - reads as what happened
    """The file that bytes were to be taken from cannot be read, or is gone."""


def link(  # noqa: PLR0913 - two of them seldom differ from their defaults
    source: Path | RootedPath,
    new: RootedPath,
    ways: Sequence[Made],
    sha256: str,
    watch: StopCheck = lambda: None,
    *,
    told: RootedPath | None = None,
) -> Made:
    """Make a new file of the bytes of another one; it appears whole, in one step.

    Args:
        source: The file; it is not written to.
        new: A free name.
        ways: Which ways are tried in turn.
        sha256: What the bytes are; a copy is read again.
        watch: Called often while a copy is made; raises to stop that.
        told: What messages call the new file, if that is another name.

    Returns:
        Which way it was.

    Raises:
        StoreError: None of them worked; nothing is at the new name.
        SourceUnreadable: The file cannot be read, is gone, or has other bytes.
    """
    for way in ways:
        if way == "reflink" != ways[-1] and _device(new) in _no_reflinks:
            continue
        try:
            if way == "hardlink":
                _hardlink(source, new)
            elif way == "reflink":
                _reflink(source, new, told)
            else:
                _copy(source, new, told, sha256, watch)
        except StoreError as error:
            if way == ways[-1] or error.errno not in CANNOT:
                raise
        else:
            return way
    raise AssertionError(ways)


@functools.lru_cache(1024)
def has_reflinks(folder: RootedPath) -> bool:
    """Whether the file system of a folder can make them; tried with two empty files."""
    source, new = (scratch.unfinished(folder / "reflink") for _ in range(2))
    try:
        source.open(NEW_FILE).close()
        _reflink(source, new)
    except StoreError:
        return False
    else:
        return True
    finally:
        for each in (source, new):
            with contextlib.suppress(StoreError):
                each.remove()


def _hardlink(source: Path | RootedPath, new: RootedPath) -> None:
    try:
        new.hardlink_to(source)
    except StoreError as error:
        if error.errno == errno.ENOENT and os.path.isdir(new.parent):  # noqa: PTH112 - no error where one may not look
            raise _unreadable(source, "it is gone") from None
        raise


def _reflink(source: Path | RootedPath, new: RootedPath, told: RootedPath | None = None) -> None:
    device = _device(new)
    if device in _no_reflinks:
        error = OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        raise refused(error, "write", told or new)
    with _opened(source) as from_, _made(new, told) as to:
        try:
            _clone(from_.descriptor, to.descriptor)
        except OSError as error:
            if error.errno in CANNOT - {errno.EXDEV}:
                _no_reflinks.add(device)
            raise refused(error, "write", told or new) from error
        to.sync()


def _copy(
    source: Path | RootedPath,
    new: RootedPath,
    told: RootedPath | None,
    sha256: str,
    watch: StopCheck,
) -> None:
    with _opened(source) as from_, _made(new, told) as to:
        if copy_hashed(functools.partial(_read, from_), to, watch) != sha256:
            raise _unreadable(source, "a copy of it has other bytes")


def _read(source: OpenFile, buffer: memoryview, offset: int) -> int:
    try:
        return source.read_at(buffer, offset)
    except StoreError as error:
        raise _unreadable(source.path, error.reason) from error


def _device(new: RootedPath) -> int:
    return new.disk or _disk_of(new.parent)


@functools.lru_cache(1024)
def _disk_of(folder: RootedPath) -> int:
    return stat_of(folder.path).st_dev


def _opened(source: Path | RootedPath) -> OpenFile:
    try:
        return open_to_read(source)
    except StoreError as error:
        raise _unreadable(source, error.reason) from error


@contextlib.contextmanager
def _made(new: RootedPath, told: RootedPath | None) -> Iterator[OpenFile]:
    """Open a new file beside the name, and give it the name when the block went well."""
    unfinished = scratch.unfinished(new)
    try:
        with unfinished.open(NEW_FILE, told=told or new) as file:
            yield file
        unfinished.move_to(new)
    except BaseException:
        with contextlib.suppress(StoreError):
            unfinished.remove(missing_ok=True)
        raise


def _unreadable(source: Path | RootedPath, why: str) -> SourceUnreadable:
    return SourceUnreadable(f"{source} cannot be used: {why}.")


def needs_room(how: How, source: os.stat_result, folder: RootedPath) -> bool:
    """Whether a file that `link` makes in a folder will take disk space of its own.

    Args:
        how: How it is to be made.
        source: The stat of the file with the bytes.
        folder: Where it is to be made; it exists.
    """
    if how == "copy" or source.st_dev != folder.path.stat().st_dev:
        return True
    return how == "reflink" and not has_reflinks(folder)
