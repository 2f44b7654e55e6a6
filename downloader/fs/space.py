"""Whether a disk has room for all that a run will write there, asked before the bytes move.

Each file has a claim on the disk it is written to: at first as many bytes as the lock says, less
what its partial holds; once it moves, what is missing of it at that moment. A disk's claims
together must fit into what is free on it. Bytes that are written lower both sides alike, so it
does not matter when one asks. Other programs, and other runs, are seen by what they have written.
"""

import functools
import os
import shutil
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from downloader.artifact import bytes_text
from downloader.errors import StoreError
from downloader.fs.open_file import nearest_folder

HINT = (
    "Free some space there, or fetch fewer models at a time; MODELMAKE_PREFLIGHT=0 "
    "tries it all the same."
)
_statvfs = getattr(os, "statvfs", None)  # not on Windows

SMALL_BYTES = 1 << 20
BLOCK_BYTES = 512
"""The unit of st_blocks, on every system that has it."""


class _Claim(msgspec.Struct, frozen=True):
    disk: int
    missing: Callable[[], int]


class DiskBudget:
    """Disk space that the files of one run still need; safe to share between threads.

    Args:
        is_watched: Whether anything is refused at all.
    """

    def __init__(self, *, is_watched: bool = True) -> None:
        self._is_watched = is_watched
        self._changing = threading.Lock()
        self._moving: dict[str, _Claim] = {}
        self._planned: dict[str, tuple[int, int]] = {}
        self._planned_bytes: dict[int, int] = {}

    def plan(self, files: Iterable[tuple[str | os.PathLike[str], int]]) -> None:
        """Claim room for files that are going to be fetched.

        Args:
            files: The path of each one's partial, and the file's size in bytes. One that moves
                already keeps its claim.

        Raises:
            StoreError: A disk has no room for all of them; no claim is made.
        """
        if not self._is_watched:
            return
        with self._changing:

            @functools.cache  # many files have one folder
            def disks(parent: str) -> tuple[int, Path, bool]:
                disk, folder = disk_of(Path(parent))
                return disk, folder, folder == Path(parent) and _has_entries(parent)

            folders = {}
            for path, size in files:
                partial = os.fspath(path)
                if partial in self._moving:
                    continue  # it says itself what is missing
                parent = os.path.dirname(partial)  # noqa: PTH120 - no Path for each
                disk, folder, is_there = disks(parent)
                folders[disk] = folder
                self._forget(partial)
                held = held_bytes(partial) if is_there else 0
                self._planned[partial] = (disk, max(0, size - held))
                self._planned_bytes[disk] = (
                    self._planned_bytes.get(disk, 0) + self._planned[partial][1]
                )
            try:
                for disk, folder in folders.items():
                    self._check(disk, folder)
            except StoreError:
                self._planned, self._planned_bytes = {}, {}
                raise

    def claim(self, path: str | os.PathLike[str], missing: Callable[[], int]) -> None:
        """Claim room for a file that is about to move, instead of what was planned for it.

        Args:
            path: Its partial's.
            missing: Says how many of its bytes are not written yet; called from other threads.

        Raises:
            StoreError: The disk has no room for it beside the other claims.
        """
        if not self._is_watched:
            return
        partial = os.fspath(path)
        with self._changing:
            if self._is_counted(partial, missing()):
                return
            disk, folder = disk_of(Path(partial).parent)
            self._forget(partial)
            self._moving[partial] = _Claim(disk, missing)
            try:
                self._check(disk, folder)
            except StoreError:
                self._forget(partial)
                raise

    def release(self, path: str | os.PathLike[str]) -> None:
        """Give up the file's claim: it is there, or will not come."""
        with self._changing:
            self._forget(os.fspath(path))

    def _is_counted(self, partial: str, missing_bytes: int) -> bool:
        """Whether a small file's plan covers it, and was found to fit: it need not be asked again.

        Until it is there its bytes count as planned and as written, which is little.
        """
        return missing_bytes <= min(SMALL_BYTES, self._planned.get(partial, (0, 0))[1])

    def _forget(self, partial: str) -> None:
        self._moving.pop(partial, None)
        if found := self._planned.pop(partial, None):
            disk, count_bytes = found
            self._planned_bytes[disk] -= count_bytes

    def _check(self, disk: int, folder: Path) -> None:
        moving = (each.missing() for each in self._moving.values() if each.disk == disk)
        needed = self._planned_bytes.get(disk, 0) + sum(moving)
        free = free_bytes(folder)
        if free is not None and needed > free:
            raise StoreError(
                f"Not enough room: this run has still to write {bytes_text(needed)} "
                f"({needed:,} bytes), and the disk of {folder} has {bytes_text(free)} "
                f"({free:,} bytes) free.",
                hint=HINT,
            )


def free_bytes(folder: Path) -> int | None:
    """Return how many bytes may be written to the folder's disk; None if it tells nothing true.

    Some network and virtual file systems report no blocks at all, or more free ones than they have.
    """
    try:
        if _statvfs is None:
            return shutil.disk_usage(folder).free
        status = _statvfs(folder)
    except OSError:
        return None
    if not 0 <= status.f_bavail <= status.f_blocks or not status.f_blocks:
        return None
    return int(status.f_bavail * status.f_frsize)


def disk_of(folder: Path) -> tuple[int, Path]:
    """Return which disk the folder is or will be on, and the nearest folder that is there."""
    nearest = nearest_folder(folder)
    try:
        return nearest.stat().st_dev, nearest
    except OSError:
        return 0, nearest


def _has_entries(folder: str) -> bool:
    """Whether anything is in a folder: then partials may be, and each is looked at."""
    try:
        with os.scandir(folder) as entries:
            return any(entries)
    except OSError:
        return True


def held_bytes(partial: str | os.PathLike[str]) -> int:
    """Return what a partial takes on the disk already; holes do not count."""
    try:
        status = os.lstat(partial)
    except OSError:
        return 0
    blocks = getattr(status, "st_blocks", None)
    return status.st_size if blocks is None else blocks * BLOCK_BYTES
