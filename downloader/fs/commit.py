"""Move verified bytes to their final name, or set wrong ones aside.

`Commit` holds the folder open that was there when the download began. The rename uses that
descriptor (renameat), so nobody can redirect it by a symlink meanwhile. Wrong bytes go to the
quarantine: for people to look at, never used again.
"""

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Sequence
from typing import Self

from downloader.errors import StoreError
from downloader.fs import scratch
from downloader.fs.digests import StopCheck, copy_hashed, sha256_of
from downloader.fs.files import Private, look, write_file
from downloader.fs.open_file import OpenFile, nearest_folder, stat_of
from downloader.fs.rooted_path import NEW_FILE, READ, RootedPath

SHOWN_DIGITS = 12
MOST_RANGE_BYTES = 16 << 20


def set_aside(path: RootedPath, workspace: RootedPath, size: int, sha256: str) -> str:
    """Move a file out of the way; nothing that was set aside before is lost.

    The same bytes again take the place of those before, or each try would use the same space again.

    Args:
        path: The file.
        workspace: The model's private folder.
        size: How many bytes of it came.
        sha256: Their SHA-256 in hex; any other word if it is not a file.

    Returns:
        A sentence for the error: how many bytes, which, and where they are.

    Raises:
        StoreError: The disk refused.
    """
    aside = _place(workspace / Private.QUARANTINE, path.name.removesuffix(".part"), size, sha256)
    aside.parent.make_folder()
    path.move_to(aside)
    return f"Its {size:,} bytes, SHA-256 {sha256}, were set aside as {aside}."


def set_range_aside(
    path: RootedPath, workspace: RootedPath, spans: Sequence[tuple[int, int]]
) -> str:
    """Copy the first of some wrong ranges out of a file, at most so much as is kept of one.

    Args:
        path: The file, which stays as it is.
        workspace: The model's private folder.
        spans: Half-open ranges, in bytes.

    Returns:
        As `set_aside`; empty if there is no range.

    Raises:
        StoreError: The disk refused.
    """
    if not spans:
        return ""
    start, stop = spans[0]
    copy = path.with_name(f"{path.stem}-{start}.part")
    buffer = memoryview(bytearray(min(stop - start, MOST_RANGE_BYTES)))
    with path.open(READ) as file:
        wrong = bytes(buffer[: file.read_full(buffer, start)])
    write_file(copy, wrong)
    sha256 = hashlib.sha256(wrong, usedforsecurity=False).hexdigest()
    told = set_aside(copy, workspace, len(wrong), sha256)
    return f"Of bytes {start:,}-{stop - 1:,}: {told[0].lower()}{told[1:]}"


def _place(folder: RootedPath, name: str, size: int, sha256: str) -> RootedPath:
    """Return the first path of this name and digest, or numbered, that is free."""
    first = folder / f"{name}-{sha256[:SHOWN_DIGITS]}"
    aside, number = first, 1
    while os.path.lexists(aside) and not _has(aside, size, sha256):
        number += 1
        aside = first.with_name(f"{first.name}-{number}")
    return aside


def _has(aside: RootedPath, size: int, sha256: str) -> bool:
    """Whether these very bytes are there; hashing tells if others have their name by chance."""
    return aside.is_file() and aside.lstat().st_size == size and sha256_of(aside) == sha256


class Commit:
    """Where a file goes, as it was when its fetch began; a context manager.

    Args:
        target: The final name.
        is_free: Whether a look told a moment ago that nothing stands there.

    Raises:
        StoreError: There is something else than a file.
    """

    def __init__(self, target: RootedPath, *, is_free: bool = False) -> None:
        self._target = target
        try:
            self._target = target.held()
        except StoreError as error:
            if error.errno != errno.ENOENT:  # a folder that is not there is made when it is needed
                raise
        if not is_free:
            check_target(self._target)
        if not self._target.is_held:
            self._base = nearest_folder(target.parent.path)
            self._was = stat_of(self._base)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._target.let_go()

    def take(self, file: OpenFile, sha256: str, watch: StopCheck) -> bool:
        """Rename an open file to the final name, and sync the folder.

        Args:
            file: The open file, whose bytes were verified and synced.
            sha256: What it was verified to be.
            watch: Called often while the file is copied; raises Interrupted to stop that.

        Returns:
            Whether its name so far is gone; it stays where the target is on another file system,
            and gets a copy.

        Raises:
            StoreError: The disk refused, or somebody swapped the file or the folder.
        """
        file.status()
        is_free = check_target(self._target) and self._target.is_held
        if not file.is_at(file.path):
            raise self._swapped(file.path)
        if not is_free:
            self._check_base()
        if not self._target.is_held:
            self._target.parent.make_folder()
        is_gone = True
        try:
            file.path.move_to(self._target)
        except StoreError as error:
            if error.errno != errno.EXDEV:
                raise
            self._check_base()
            self._copy(file, sha256, watch)
            is_gone = False
        else:
            self._check_placed(file, is_free=is_free)
        self._target.parent.sync_folder(self._target)
        return is_gone

    def _check_base(self) -> None:
        """Refuse a folder that is not the one it was, and one that came meanwhile as a symlink."""
        if self._target.is_held:
            if not self._target.leads_to_held():
                raise self._swapped(self._target.parent)
            return
        if not os.path.samestat(self._was, stat_of(self._base)):
            raise self._swapped(self._base)
        folder = self._base
        for part in self._target.parent.path.relative_to(self._base).parts:
            folder /= part
            if os.path.islink(folder):  # noqa: PTH114 - no error where one may not look
                raise self._swapped(folder)

    def _check_placed(self, file: OpenFile, *, is_free: bool) -> None:
        """Take back what was renamed when it is not what was verified, or not where it belongs.

        Between the comparison and the rename there is an instant that no system call closes. If
        nothing stood there before, one look by the whole path tells all of it after the rename.
        """
        if is_free:
            found = look(self._target)
            if found is not None and os.path.samestat(found, file.seen or file.status()):
                return
        if not file.is_at(self._target):
            with contextlib.suppress(StoreError):
                self._target.remove()
            raise self._swapped(file.path)
        if is_free and not self._target.leads_to_held():
            with contextlib.suppress(StoreError):
                self._target.move_to(file.path)
            raise self._swapped(self._target.parent)
        if not self._target.is_held and not os.path.samestat(self._was, stat_of(self._base)):
            with contextlib.suppress(StoreError):
                self._target.remove()
            raise self._swapped(self._base)

    def _copy(self, file: OpenFile, sha256: str, watch: StopCheck) -> None:
        """Copy to another file system: beside the target first, read again, then renamed.

        The partial stays, for its owner to remove.
        """
        unfinished = scratch.unfinished(self._target)
        copy = unfinished.open(NEW_FILE, told=self._target)
        try:
            if copy_hashed(file.read_at, copy, watch) != sha256:
                raise StoreError(  # noqa: TRY301
                    f"The copy at {self._target} has other bytes than what was copied."
                )
            unfinished.move_to(self._target)
        except BaseException:
            with contextlib.suppress(StoreError):
                unfinished.remove()
            raise
        finally:
            copy.close()

    def _swapped(self, path: object) -> StoreError:
        return StoreError(
            f"{path} was replaced by somebody while {self._target.name} was fetched.",
            hint="Find out which program does that, and run the same command again.",
        )


def check_target(target: RootedPath) -> bool:
    """Refuse to put a file where a folder, a FIFO or a device stands; a symlink is replaced.

    Returns:
        Whether nothing stands there.

    Raises:
        StoreError: It is none of nothing, a file or a symlink; or a symlink leads to it from the
            model's folder.
    """
    status = target.status()
    if status is None:
        return True
    mode = status.st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
        kind = "a folder" if stat.S_ISDIR(mode) else "no regular file"
        raise StoreError(f"{target} is {kind}.", hint="Move it away, or choose another `to`.")
    return False
