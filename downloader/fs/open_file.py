"""An open file that says itself what the disk refused: which file, what was tried, why, what to do.

Reads and writes at a position are used by several threads at once. POSIX has calls for that.
Windows has not: there each seek and its read or write are one step under a lock, which costs
parallel disk access and nothing else.
"""

import errno
import io
import os
import shutil
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Self

from downloader.artifact import bytes_text
from downloader.errors import StoreError
from downloader.fs.run_token import DISK, begin_wait, end_wait

if TYPE_CHECKING:
    from downloader.fs.rooted_path import RootedPath

GOES_ON = "run the same command again: it goes on from what is there."

TOO_MANY_OPEN = frozenset({errno.EMFILE, errno.ENFILE})

UNSUPPORTED = frozenset(
    {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EBADF}
    | {errno.EACCES, errno.EPERM}
)
"""What file systems (SMB, FUSE, 9p, vboxsf) answer to a call that they do not have: fsync of a
folder, chmod, utime. restic and git do without those too. What failed for another reason, as a
disk fault, is an error as always, and so is fsync of a file."""

ADVICE = {
    "EDQUOT": f"Your disk quota is used up: free some space and {GOES_ON}",
    "EFBIG": "The file system (FAT32: 4 GiB) or `ulimit -f` allows no file so large: "
    "choose another `to` in models.yaml, or raise the limit.",
    "EROFS": "The file system is read-only: choose another `to` in models.yaml.",
    "EACCES": "You may not do that there: check who owns the file and its folder, and their modes.",
    "EPERM": "You may not do that there: check who owns it, and whether it is immutable.",
    "EIO": f"The disk reports a fault: look at its health and the system's log, then {GOES_ON}",
    "ESTALE": f"The network disk lost it: see that it is mounted, then {GOES_ON}",
    "EMFILE": "Raise the limit with `ulimit -n`, or fetch fewer files at once with `doit -n 4`.",
    "ENFILE": "The whole machine has too many open: end other programs, or fetch fewer files at "
    "once with `doit -n 4`.",
    "ENAMETOOLONG": "This file system takes no name so long: choose a shorter `to` in models.yaml.",
    "ELOOP": "A model's folder, or one above it, may be a symlink to another place. One further "
    "down may not lead out of that folder: move or remove it.",
}


def refused(
    error: OSError,
    act: str,
    path: "Path | RootedPath",
    needed_bytes: Callable[[], int | None] | None = None,
) -> StoreError:
    """Return the error that tells the user what the disk refused.

    Args:
        error: What the system said.
        act: The verb for the message: "write", "replace".
        path: The file or folder that was worked on.
        needed_bytes: Says how many bytes are still to be written there, when the disk is full.
    """
    reason = error.strerror or str(error) or type(error).__name__
    name = errno.errorcode.get(error.errno or 0, "")
    hint = ADVICE.get(name, "")
    if name == "ENOSPC":
        needed = needed_bytes() if needed_bytes else None
        hint = _what_is_missing(nearest_folder(Path(path)), needed)
    found = StoreError(f"Cannot {act} {path}: {reason}.", hint=hint)
    found.errno, found.reason = error.errno, reason
    return found


def nearest_folder(path: Path) -> Path:
    """Return the path, or the nearest folder above it that exists."""
    for each in (path, *path.parents):
        if os.path.isdir(each):  # noqa: PTH112 - False, not an error, where one may not look
            return each
    return Path()


def stat_of(path: Path) -> os.stat_result:
    """Return the stat of a file or folder of the user's own, which may be reached by symlinks.

    Raises:
        StoreError: It is not there, or one may not look.
    """
    try:
        return path.stat()
    except OSError as error:
        raise refused(error, "look at", path) from error


def _what_is_missing(folder: Path, needed_bytes: int | None) -> str:
    """Return what a full disk lacks, bytes or inodes, and what helps."""
    try:
        free = f"{bytes_text(shutil.disk_usage(folder).free)} free"
        if _has_no_inodes(folder):
            return (
                f"The disk of {folder} has {free}, and no inodes left: it takes no further file. "
                f"Remove some files from that disk, of any size, and {GOES_ON}"
            )
        free = f"The disk of {folder} has {free}. "
    except OSError:
        free = ""
    still = f"It still needs {bytes_text(needed_bytes)}. " if needed_bytes else ""
    return f"{still}{free}Free some space and {GOES_ON}"


def _has_no_inodes(folder: Path) -> bool:
    """Whether a disk that counts its inodes has none left, and bytes all the same."""
    statvfs = getattr(os, "statvfs", None)
    if statvfs is None:
        return False  # Windows
    status = statvfs(folder)
    return bool(status.f_files and not status.f_favail and status.f_bavail)


_preadv, _pwrite = getattr(os, "preadv", None), getattr(os, "pwrite", None)
_seeking = threading.Lock()

MOST_READ_BYTES = 256 << 20
"""Of a file that is read as a whole: a models.lock of a million files."""
NOTHING_WRITTEN = "it takes no more bytes"
"""POSIX leaves open what a write of 0 bytes means. Asked again, it might never end."""


class OpenFile:
    """An open file; a context manager that closes it.

    Every method raises StoreError when the disk refuses.

    Args:
        descriptor: The file, as the system knows it; closed by `close`.
        path: Its name when it was opened.
        told: What messages call it, if that is another name.

    Attributes:
        descriptor: As given; -1 when it is closed.
        path: As given.
        needed_bytes: Says how many bytes are still to be written, when the disk is full.
        seen: Its stat when it was last asked for; None before that.
    """

    __slots__ = ("_told", "descriptor", "needed_bytes", "path", "seen")

    def __init__(
        self, descriptor: int, path: "RootedPath", told: "Path | RootedPath | None" = None
    ) -> None:
        self.descriptor, self.path, self._told = descriptor, path, told or path
        self.needed_bytes: Callable[[], int | None] | None = None
        self.seen: os.stat_result | None = None

    @property
    def identity(self) -> tuple[int, int]:
        """Its inode and disk, which stay the same while it is open."""
        status = self.seen or self.status()
        return status.st_ino, status.st_dev

    def read_at(self, buffer: memoryview, offset: int) -> int:
        """Read into the buffer from the offset, and return how many bytes there were."""
        try:
            if _preadv is not None:
                return int(_preadv(self.descriptor, [buffer], offset))
            with _seeking:
                os.lseek(self.descriptor, offset, os.SEEK_SET)
                found = os.read(self.descriptor, len(buffer))
        except OSError as error:
            raise self._refused(error, "read") from error
        buffer[: len(found)] = found
        return len(found)

    def read_full(self, buffer: memoryview, offset: int) -> int:
        """Fill the buffer from the offset, and return how many bytes there were: less at the end.

        Half a block would pass for a whole one otherwise.
        """
        done = 0
        while done < len(buffer) and (count := self.read_at(buffer[done:], offset + done)):
            done += count
        return done

    def read(self, offset: int = 0) -> bytes:
        """Return what follows the offset in a regular file, at most MOST_READ_BYTES.

        A device may have no end, and a file of holes costs its maker nothing.
        """
        status = self.status()
        if stat.S_ISDIR(status.st_mode):
            is_folder = IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            raise self._refused(is_folder, "read")
        if not stat.S_ISREG(status.st_mode):
            raise self._unreadable("it is not a regular file")
        size = max(status.st_size - offset, 0)
        parts, done = [], offset
        if size <= MOST_READ_BYTES:
            buffer = memoryview(bytearray(size + 1))
            while (count := self.read_at(buffer, done)) and done - offset <= MOST_READ_BYTES:
                parts.append(bytes(buffer[:count]))
                done += count
        if max(size, done - offset) > MOST_READ_BYTES:
            raise self._unreadable(f"it is larger than {MOST_READ_BYTES >> 20} MiB")
        return b"".join(parts)

    def _unreadable(self, why: str) -> StoreError:
        error = StoreError(
            f"Cannot read {self._told}: {why}.",
            hint="Remove it, or move it away, and run the same command again.",
        )
        error.reason = why
        return error

    def write_at(self, data: memoryview, offset: int) -> None:
        """Write all of the data at the offset."""
        written = 0
        try:
            while written < len(data):
                count = _write_some(self.descriptor, data[written:], offset + written)
                if not count:
                    raise OSError(NOTHING_WRITTEN)  # noqa: TRY301
                written += count
        except OSError as error:
            raise self._refused(error, "write") from error

    def append(self, data: bytes) -> None:
        """Write at the end of a file that was opened for that; with one call, as a rule."""
        left = memoryview(data)
        try:
            while left:
                count = os.write(self.descriptor, left)
                if not count:
                    raise OSError(NOTHING_WRITTEN)  # noqa: TRY301
                left = left[count:]
        except OSError as error:
            raise self._refused(error, "write") from error

    def status(self) -> os.stat_result:
        """Return the file's stat."""
        try:
            self.seen = os.fstat(self.descriptor)
        except OSError as error:
            raise self._refused(error, "look at") from error
        return self.seen

    def truncate(self, size: int) -> None:
        """Cut it to this size."""
        try:
            os.ftruncate(self.descriptor, size)
        except OSError as error:
            raise self._refused(error, "cut") from error

    def sync(self) -> None:
        """Have what was written survive a power cut."""
        begun = begin_wait(DISK)
        try:
            os.fsync(self.descriptor)
        except OSError as error:
            raise self._refused(error, "write") from error
        finally:
            end_wait(DISK, begun)

    def sync_data(self) -> None:
        """Sync the bytes, and no times."""
        try:
            getattr(os, "fdatasync", os.fsync)(self.descriptor)
        except OSError as error:
            raise self._refused(error, "write") from error

    def protect(self, mode: int) -> None:
        """Set its permissions, if the file system has any."""
        try:
            os.chmod(self.descriptor if os.chmod in os.supports_fd else self.path, mode)  # noqa: PTH101
        except OSError as error:
            if error.errno not in UNSUPPORTED:
                raise self._refused(error, "change") from error

    def mark_changed(self) -> None:
        """Set the time of its last change to now, if the file system allows it."""
        try:
            os.utime(self.descriptor if os.utime in os.supports_fd else self.path)
        except OSError as error:
            if error.errno not in UNSUPPORTED:
                raise self._refused(error, "change") from error

    def is_at(self, path: "RootedPath") -> bool:
        """Whether a path still leads to this very file."""
        there = path.status()
        return there is not None and (there.st_ino, there.st_dev) == self.identity

    def stream(self, buffer_bytes: int) -> io.BufferedReader:
        """Return a stream that reads it from the start; close the file, not the stream."""
        return io.BufferedReader(_Reading(self), buffer_bytes)

    def close(self) -> None:
        """Close it; a second time does nothing."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            try:
                os.close(descriptor)
            except OSError as error:  # of a write that was put off, on a network disk
                raise self._refused(error, "write") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _refused(self, error: OSError, act: str) -> StoreError:
        return refused(error, act, self._told, self.needed_bytes)


class _Reading(io.RawIOBase):
    """An open file, read from the start, for a buffer of the standard library above it."""

    def __init__(self, file: OpenFile) -> None:
        self._file, self._position = file, 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place, counted from the start or from here, and return it."""
        self._position = offset + (self._position if whence == os.SEEK_CUR else 0)
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Read the next bytes."""
        count = self._file.read_at(buffer, self._position)
        self._position += count
        return count


def _write_some(descriptor: int, data: memoryview, offset: int) -> int:
    if _pwrite is not None:
        return int(_pwrite(descriptor, data, offset))
    with _seeking:
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.write(descriptor, data)
