"""Read and write files so that a kill, a full disk or another process does no harm.

A file is replaced in the order of restic's local backend: write, fsync the file, rename, fsync the
folder. So a kill or a power cut leaves the old file or the new one, never a half.

Lines are appended to a file by many threads and processes with one write. A torn or foreign line is
skipped by `read_lines`: such files hold nothing that cannot be found out again.

Reads and writes at a position are used by several threads at once. POSIX has calls for that.
Windows has not: there each seek and its read or write are one step under a lock, which costs
parallel disk access and nothing else.
"""

import contextlib
import errno
import functools
import os
import secrets
import shutil
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO, TypeVar

import msgspec

from downloader.artifact import bytes_text
from downloader.errors import StoreError
from downloader.fs.rooted_path import RootedPath

PRIVATE_FOLDER = ".modelmake"
"""Its name; no file of a model may have it (artifact.py)."""


@functools.lru_cache(256)  # asked at every step of a file's way
def private_folder(folder: Path) -> RootedPath:
    """Return the private folder of a model's folder, or of a project's: its workspace.

    What is on its way, receipts, locks: all that may be deleted without losing a model's bytes.
    """
    return RootedPath(folder, PRIVATE_FOLDER)


def look(path: Path | RootedPath | str) -> os.stat_result | None:
    """Return how what stands there looks; None where nothing does, or one may not look."""
    try:
        return os.lstat(path)
    except OSError:
        return None


def is_same(path: Path | RootedPath, status: os.stat_result) -> bool:
    """Whether what stands there is the very file that was looked at, by this name or another."""
    found = look(path)
    return found is not None and os.path.samestat(found, status)


def looks_same(now: os.stat_result, before: os.stat_result) -> bool:
    """Whether it is the same file with the same bytes, as far as a look can tell."""
    same_times = (now.st_size, now.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    return os.path.samestat(now, before) and same_times


_preadv, _pwrite = getattr(os, "preadv", None), getattr(os, "pwrite", None)
_seeking = threading.Lock()


def write_at(descriptor: int, data: memoryview, offset: int) -> None:
    """Write all of the data at the offset.

    Raises:
        OSError: The disk refused.
    """
    written = 0
    while written < len(data):
        count = _write_some(descriptor, data[written:], offset + written)
        if not count:  # POSIX leaves open what that means; it would be asked for ever
            raise OSError("it takes no more bytes")
        written += count


def read_at(descriptor: int, buffer: memoryview, offset: int) -> int:
    """Read into the buffer from the offset, and return how many bytes there were.

    Raises:
        OSError: The disk refused.
    """
    if _preadv is not None:
        return int(_preadv(descriptor, [buffer], offset))
    with _seeking:
        os.lseek(descriptor, offset, os.SEEK_SET)
        found = os.read(descriptor, len(buffer))
    buffer[: len(found)] = found
    return len(found)


def _write_some(descriptor: int, data: memoryview, offset: int) -> int:
    if _pwrite is not None:
        return int(_pwrite(descriptor, data, offset))
    with _seeking:
        os.lseek(descriptor, offset, os.SEEK_SET)
        return os.write(descriptor, data)


GOES_ON = "run the same command again: it goes on from what is there."

TOO_MANY_OPEN = frozenset({errno.EMFILE, errno.ENFILE})

ADVICE = {
    "EDQUOT": f"Your disk quota is used up: free some space and {GOES_ON}",
    "EFBIG": "The file system (FAT32: 4 GiB) or `ulimit -f` allows no file so large: "
    "choose another `to` in models.yaml, or raise the limit.",
    "EROFS": "The file system is read-only: choose another `to` in models.yaml.",
    "EACCES": "You may not do that there: check who owns the file and its folder.",
    "EPERM": "You may not do that there: check who owns it, and whether it is immutable.",
    "EIO": f"The disk reports a fault: look at its health and the system's log, then {GOES_ON}",
    "ESTALE": f"The network disk lost it: see that it is mounted, then {GOES_ON}",
    "EMFILE": "Raise the limit with `ulimit -n`, or fetch fewer files at once with `doit -n 4`.",
    "ENFILE": "The whole machine has too many open: end other programs, or fetch fewer files at "
    "once with `doit -n 4`.",
    "ENAMETOOLONG": "This file system takes no name so long: choose a shorter `to` in models.yaml.",
    "ELOOP": "A symlink stands where none may: find out whose it is, and remove it.",
}


def advice(error: OSError, path: Path, needed_bytes: int | None = None) -> str:
    """Return what to do about the error, the empty string where nothing is known.

    Args:
        error: What the system said.
        path: Which file or folder was worked on.
        needed_bytes: How many bytes are still to be written there, where that is known.
    """
    name = errno.errorcode.get(error.errno or 0, "")
    return _about_space(path, needed_bytes) if name == "ENOSPC" else ADVICE.get(name, "")


def nearest_folder(path: Path) -> Path:
    """Return the path, or the nearest folder above it that exists."""
    for each in (path, *path.parents):
        if os.path.isdir(each):  # noqa: PTH112 - False, not an error, where one may not look
            return each
    return Path()


def _about_space(path: Path, needed_bytes: int | None) -> str:
    needed = f"It still needs {bytes_text(needed_bytes)}. " if needed_bytes else ""
    return f"{needed}{_free(nearest_folder(path))}Free some space and {GOES_ON}"


def _free(folder: Path) -> str:
    try:
        free_bytes = shutil.disk_usage(folder).free
    except OSError:
        return ""
    return f"The disk of {folder} has {bytes_text(free_bytes)} free. "


class naming:  # noqa: N801 - used as a function; a generator would cost more, a dozen times a file
    """Turn an OSError of the block into one line that names the file and what was tried.

    Args:
        path: The file or folder that is worked on.
        act: The verb for the message: "write", "replace".
        needed_bytes: Says how many bytes are still to be written there, when the disk is full.

    Raises:
        StoreError: In place of OSError.
    """

    __slots__ = ("_act", "_needed_bytes", "_path")

    def __init__(
        self,
        path: Path | RootedPath,
        act: str,
        needed_bytes: Callable[[], int | None] | None = None,
    ) -> None:
        self._path, self._act, self._needed_bytes = path, act, needed_bytes

    def __enter__(self) -> None:
        """Begin the block."""

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        """Raise StoreError in place of an OSError."""
        if isinstance(error, OSError):
            raise self._named(error) from error

    def _named(self, error: OSError) -> StoreError:

        reason = error.strerror or type(error).__name__
        needed = self._needed_bytes() if self._needed_bytes else None
        return StoreError(
            f"Cannot {self._act} {self._path}: {reason}.",
            hint=advice(error, Path(self._path), needed),
        )


def make_folder(path: RootedPath) -> None:
    """Make the folder and its parents, when they are not there.

    Raises:
        StoreError: It cannot be made, or something else stands there.
    """
    with naming(path, "make the folder"):
        path.make_folder()


def write_file(path: RootedPath, content: bytes) -> None:
    """Replace the file's content in one step.

    Raises:
        StoreError: The disk refused; the old content is still there.
    """
    make_folder(path.parent)
    readable = path.name.encode("utf-8", "replace")[:200].decode("utf-8", "ignore")
    unfinished = path.with_name(f".{readable}.{secrets.token_hex(4)}.new")
    with naming(path, "write"):
        try:
            _write_synced(unfinished, content)
            unfinished.move_to(path)
        except BaseException:
            with contextlib.suppress(OSError):  # the first error is the one to tell
                unfinished.remove(missing_ok=True)
            raise
        path.parent.sync_folder()


def _write_synced(path: RootedPath, content: bytes) -> None:
    with path.open_file("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


T = TypeVar("T")

appending = threading.Lock()
"""Held while any such file is written; who replaces one as a whole takes it too."""
_queues: dict[RootedPath, list[bytes]] = {}
"""Lines that wait to be written, by file; only who holds `writing` takes any out."""


def read_lines(file: RootedPath, decoder: msgspec.json.Decoder[T]) -> Iterable[T]:
    """Return what the lines hold, in their order; nothing where there is no file."""
    try:
        text = file.read_bytes()
    except OSError:
        return ()
    return decoded_lines(text, decoder)


def decoded_lines(text: bytes, decoder: msgspec.json.Decoder[T]) -> Iterable[T]:
    """Return what the lines of a text hold, in their order."""
    try:
        return decoder.decode_lines(text)
    except (ValueError, RecursionError):
        return _readable_lines(text, decoder)


def append_line(file: RootedPath, line: bytes) -> None:
    """Append a line, and with it those that other threads brought while one was writing.

    So a run of many small files writes once for several; each waits until its own line is there.
    A line that could not be written is dropped, and who wrote is told.

    Raises:
        StoreError: The disk refused.
    """
    queue = _queues.setdefault(file, [])
    queue.append(line)
    with appending:
        if line not in queue:
            return  # whoever was writing took ours along
        lines = tuple(queue)
        try:
            make_folder(file.parent)
            with naming(file, "write"), file.open_file("a+b") as stream:
                stream.write(_line_break(stream) + b"".join(lines))
        except BaseException:
            queue.remove(line)
            raise
        del queue[: len(lines)]


def _line_break(lines: BinaryIO) -> bytes:
    """Return what a line has to begin with: a line break where a kill tore the one before."""
    if not lines.seek(0, os.SEEK_END):
        return b""
    lines.seek(-1, os.SEEK_END)
    return b"" if lines.read(1) == b"\n" else b"\n"


def _readable_lines(text: bytes, decoder: msgspec.json.Decoder[T]) -> Iterable[T]:
    for line in text.splitlines():
        try:
            yield decoder.decode(line)
        except (ValueError, RecursionError):
            continue
