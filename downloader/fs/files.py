"""Read and write files so that a kill, a full disk or another process does no harm.

A file is replaced in the order of restic's local backend: write, fsync the file, rename, fsync the
folder. So a kill or a power cut leaves the old file or the new one, never a half.

Lines are appended to a file by many threads and processes with one write. A torn or foreign line is
skipped by `read_lines`: such files hold nothing that cannot be found out again.
"""

import contextlib
import functools
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from downloader.errors import StoreError
from downloader.fs import scratch
from downloader.fs.open_file import OpenFile
from downloader.fs.rooted_path import APPEND, NEW_FILE, READ, RootedPath

SMALL_BYTES = 64 << 10
"""A file up to this size arrives whole in memory, and is hashed again in no time."""
PRIVATE_FOLDER = ".modelmake"
"""Its name; no file of a model may have it (artifact.py)."""


class Private(StrEnum):
    """Folders below the private folder of a model, or of a project."""

    ARCHIVES = "archives"
    """Archives that are not to be kept, until their files are in place."""
    LINKING = "linking"
    """Files of the store on their way to a target."""
    PARTIALS = "partials"
    """Files that have not arrived whole."""
    QUARANTINE = "quarantine"
    """Bytes that proved wrong; so a folder of the store is called too."""
    UNPACKING = "unpacking"
    """Files that come out of an archive."""


@functools.lru_cache(256)  # asked at every step of a file's way
def private_folder(folder: Path) -> RootedPath:
    """Return the private folder of a model's folder, or of a project's: its workspace.

    What is on its way, receipts, locks: all that may be deleted without losing a model's bytes.
    """
    return RootedPath(folder, PRIVATE_FOLDER)


def look(path: Path | RootedPath | str) -> os.stat_result | None:
    """Return how what stands there looks; None if nothing does, or one may not look."""
    try:
        return os.lstat(path)
    except OSError:
        return None


def is_same(path: Path | RootedPath, status: os.stat_result) -> bool:
    """Whether what stands there is the very file that was looked at, by this name or another."""
    found = look(path)
    return found is not None and os.path.samestat(found, status)


def looks_same(now: os.stat_result, before: os.stat_result) -> bool:
    """Whether it is the same file with the same bytes, as far as a stat can tell."""
    same_times = (now.st_size, now.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    return os.path.samestat(now, before) and same_times


def write_file(path: RootedPath, content: bytes) -> None:
    """Replace the file's content in one step.

    Raises:
        StoreError: The disk refused; the old content is still there.
    """
    path.parent.make_folder()
    unfinished = scratch.unfinished(path)
    try:
        with unfinished.open(NEW_FILE, told=path) as file:
            file.append(content)
            file.sync()
        unfinished.move_to(path)
    except BaseException:
        with contextlib.suppress(StoreError):  # the first error is the one to tell
            unfinished.remove(missing_ok=True)
        raise
    path.parent.sync_folder(path)


T = TypeVar("T")

appending = threading.Lock()
"""Held while any such file is written; who replaces one as a whole takes it too."""
_queues: dict[RootedPath, list[bytes]] = {}
"""Lines that wait to be written, by file; only who holds `appending` takes any out."""


def read_lines(file: RootedPath, decoder: msgspec.json.Decoder[T]) -> Iterable[T]:
    """Return what the lines hold, in their order; nothing if there is no file.

    Raises:
        StoreError: It is not a regular file, or too long to be one of ours.
    """
    try:
        text = file.read_bytes()
    except StoreError as error:
        if error.errno is None:
            raise
        return ()
    return decoded_lines(text, decoder)


def decoded_lines(text: bytes, decoder: msgspec.json.Decoder[T]) -> Iterable[T]:
    """Return what the lines of a text hold, in their order."""
    try:
        return decoder.decode_lines(text)
    except (ValueError, RecursionError):
        return _readable_lines(text, decoder)


MOST_WAITING_LINES = 64
MOST_WAITING_SECONDS = 0.2
_waiting: dict[RootedPath, list[bytes]] = {}
"""Lines of `append_soon` by file; only who holds `_deferring` changes it."""
_deferring = threading.Lock()
_waits_since = 0.0


def append_soon(file: RootedPath, line: bytes) -> None:
    """Append a line together with others, a little later: many small files cost one write.

    It is on the disk after MOST_WAITING_SECONDS at the earliest, by whoever comes next, and by
    `write_waiting` at the end of a run at the latest. A run that is killed before that loses it, so
    it may hold nothing that is dear to find out again.

    Raises:
        StoreError: The disk refused this line or one that waited.
    """
    global _waits_since  # noqa: PLW0603 - there is one queue in a process
    with _deferring:
        if not _waiting:
            _waits_since = time.monotonic()
        lines = _waiting.setdefault(file, [])
        lines.append(line)
        is_due = len(lines) >= MOST_WAITING_LINES
        if not is_due and time.monotonic() - _waits_since < MOST_WAITING_SECONDS:
            return
    write_waiting()


def write_waiting(file: RootedPath | None = None) -> None:
    """Write the lines that wait, of one file or of all.

    Raises:
        StoreError: The disk refused some; the others were tried.
    """
    with _deferring:
        files = [file] if file in _waiting else [] if file else list(_waiting)
        found = [(each, _waiting.pop(each)) for each in files]
    errors = []
    for each, lines in found:
        try:
            append_line(each, b"".join(lines))
        except StoreError as error:
            errors.append(error)
    if errors:
        raise errors[0]


def append_line(file: RootedPath, line: bytes) -> None:
    """Append a line, and with it those that other threads brought while one was writing.

    So a run of many small files writes once for several; each waits until its own line is there.
    A line that could not be written is dropped, and the caller is told.

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
            with file.held(makes=True) as held, held.open(APPEND) as opened:
                opened.append(_line_break(opened) + b"".join(lines))
        except BaseException:
            queue.remove(line)
            raise
        del queue[: len(lines)]


def _line_break(lines: OpenFile) -> bytes:
    """Return what a line has to begin with: a line break if a kill tore the one before."""
    size, last = lines.status().st_size, bytearray(b"\n")
    if size:
        lines.read_at(memoryview(last), size - 1)
    return b"" if last == b"\n" else b"\n"


def _readable_lines(text: bytes, decoder: msgspec.json.Decoder[T]) -> Iterable[T]:
    for line in text.splitlines():
        try:
            yield decoder.decode(line)
        except (ValueError, RecursionError):
            continue


SPARE_LINES = 10_000
"""How many lines that have a newer one are left before the file is rewritten."""
S = TypeVar("S", bound=msgspec.Struct)


class KeyedLines(Generic[S]):
    """A file of JSON lines in which the last line of a key counts, and what is known of it here.

    Many threads and processes append to it. It holds what can be found out again: a torn or foreign
    line is skipped, and a line that another process appends while this one replaces the file may be
    lost.

    Args:
        file: Where it is.
        kind: What a line holds.
        key: Returns what a line is found by.
        sound: Returns those of some lines that we can have written.
    """

    def __init__(
        self,
        file: RootedPath,
        kind: type[S],
        key: Callable[[S], str],
        sound: Callable[[Sequence[S]], Iterable[S]],
    ) -> None:
        self._file, self._key, self._sound = file, key, sound
        self._decoder = msgspec.json.Decoder(kind)
        self._changing = threading.Lock()
        self._known: dict[str, S] = {}
        self._inode, self._read_bytes, self._lines = -1, 0, 0

    def get(self, key: str) -> S | None:
        """Return the last line of a key, as far as the file was read; `refresh` reads the rest."""
        return self._known.get(key)

    def refresh(self) -> None:
        """Read what was appended since the last time, by whichever process."""
        with self._changing:
            self._load()

    def append_soon(self, line: S) -> None:
        """Append a line as `files.append_soon` does; this process knows it at once.

        Raises:
            StoreError: The disk refused this line or one that waited.
        """
        with self._changing:
            self._known[self._key(line)] = line
        append_soon(self._file, msgspec.json.encode(line) + b"\n")

    def append(self, lines: Sequence[S]) -> None:
        """Append lines, and rewrite the file if most of what was read of it is out of date.

        Raises:
            StoreError: The disk refused; this process knows the lines all the same.
        """
        with self._changing:
            self._known.update({self._key(each): each for each in lines})
        append_line(self._file, b"".join(msgspec.json.encode(each) + b"\n" for each in lines))
        if self._lines > 2 * len(self._known) + SPARE_LINES:
            with contextlib.suppress(StoreError):  # it is long, and no worse
                self.keep_only(lambda _: True)

    def keep_only(self, wanted: Callable[[S], bool]) -> None:
        """Drop all other lines, and those that have a newer one.

        Raises:
            StoreError: The disk refused.
        """
        with self._changing, appending:
            self._load()
            kept = {key: each for key, each in self._known.items() if wanted(each)}
            self._known = kept
            if self._lines > len(kept):
                text = b"".join(msgspec.json.encode(each) + b"\n" for each in kept.values())
                write_file(self._file, text)

    def _load(self) -> None:
        try:
            with self._file.open(READ) as file:
                inode = file.status().st_ino
                if inode != self._inode:  # a whole new file, as after `keep_only` elsewhere
                    self._inode, self._read_bytes, self._lines = inode, 0, 0
                    self._known = {}
                text = file.read(self._read_bytes)
        except StoreError:
            return
        whole = text[: text.rfind(b"\n") + 1]
        self._read_bytes += len(whole)
        self._lines += whole.count(b"\n")
        found = self._sound(list(decoded_lines(whole, self._decoder)))
        self._known.update({self._key(each): each for each in found})
