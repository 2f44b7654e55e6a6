"""The last step: verified bytes under their final name, durably, in one rename.

The folder is opened once, from a place that was there when the fetch began; the rename goes by
that descriptor (renameat), so that nobody can lead it elsewhere by a symlink meanwhile.
"""

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

from downloader.disk.advice import nearest_folder
from downloader.disk.durable import BINARY, NO_FOLLOW, make_folder, naming, sync_folder
from downloader.disk.hashing import BUFFER_BYTES, feed, new_sha256
from downloader.disk.positioned import read_at, write_at
from downloader.errors import StoreError
from downloader.transfer.locked_file import is_same_file

HAS_FOLDER_DESCRIPTORS = {os.open, os.mkdir, os.unlink, os.stat} <= os.supports_dir_fd
FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0)
NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_EXCL | NO_FOLLOW | BINARY


class Place:
    """Where a file goes, as it was when its fetch began.

    Args:
        target: The final name.

    Raises:
        StoreError: Something that is no file stands there.
    """

    def __init__(self, target: Path) -> None:
        self._target = target
        check_target(target)
        self._base = nearest_folder(target.parent)
        with naming(self._base, "look at"):
            self._was = self._base.stat()

    def take(self, descriptor: int, path: Path, sha256: str) -> bool:
        """Rename an open file to the final name, and sync the folder.

        Args:
            descriptor: The open file, whose bytes were verified and synced.
            path: Its name so far.
            sha256: What it was verified to be.

        Returns:
            Whether its name so far is gone; it stays where the target is on another file system,
            and gets a copy.

        Raises:
            StoreError: The disk refused, or somebody swapped the file or the folder.
        """
        check_target(self._target)
        with naming(self._target, "replace"), self._folder() as folder:
            if not is_same_file(descriptor, path):
                raise self._swapped(path)
            try:
                os.replace(path, self._name(folder), dst_dir_fd=folder)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                self._copy(descriptor, folder, sha256)
                is_gone = False
            else:
                self._check_placed(descriptor, path)
                is_gone = True
            self._sync(folder)
        return is_gone

    @contextlib.contextmanager
    def _folder(self) -> Iterator[int | None]:
        """Open the target's folder, making what is missing of it; None where systems cannot."""
        if not HAS_FOLDER_DESCRIPTORS:
            make_folder(self._target.parent)
            self._check_base(self._base.stat())
            yield None
            return
        with contextlib.ExitStack() as closing:
            opened = os.open(self._base, FOLDER)
            closing.callback(os.close, opened)
            self._check_base(os.fstat(opened))
            for part in self._target.parent.relative_to(self._base).parts:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, dir_fd=opened)
                opened = os.open(part, FOLDER | NO_FOLLOW, dir_fd=opened)
                closing.callback(os.close, opened)
            yield opened

    def _check_base(self, now: os.stat_result) -> None:
        if not os.path.samestat(self._was, now):
            raise self._swapped(self._base)

    def _name(self, folder: int | None, name: str = "") -> Path:
        """Return the name to use with the folder's descriptor, or the whole path without one."""
        path = self._target.with_name(name or self._target.name)
        return path if folder is None else Path(path.name)

    def _check_placed(self, descriptor: int, path: Path) -> None:
        """Take back what was renamed when it is not what was verified, or not where it belongs.

        Between the comparison and the rename there is an instant that no system call closes.
        """
        if not is_same_file(descriptor, self._target):
            with contextlib.suppress(OSError):
                self._target.unlink()
            raise self._swapped(path)

    def _copy(self, descriptor: int, folder: int | None, sha256: str) -> None:
        """Copy to another file system: beside the target first, read again, then renamed.

        The partial stays, for its owner to remove.
        """
        readable = self._target.name.encode()[:200].decode("utf-8", "ignore")
        unfinished = self._name(folder, f".{readable}.{secrets.token_hex(4)}.new")
        copy = os.open(unfinished, NEW_FILE, 0o666, dir_fd=folder)
        try:
            size = _copy_bytes(descriptor, copy)
            os.fsync(copy)
            self._check_copy(copy, size, sha256)
            os.replace(unfinished, self._name(folder), src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(unfinished, dir_fd=folder)
            raise
        finally:
            os.close(copy)

    def _check_copy(self, copy: int, size: int, sha256: str) -> None:
        digest = new_sha256()
        feed(copy, 0, size, (digest,))
        if digest.hexdigest() != sha256:
            raise StoreError(f"The copy at {self._target} has other bytes than what was copied.")

    def _sync(self, folder: int | None) -> None:
        if folder is None:
            sync_folder(self._target.parent)
        else:
            os.fsync(folder)

    def _swapped(self, path: Path) -> StoreError:
        return StoreError(
            f"{path} was replaced by somebody while {self._target.name} was fetched.",
            hint="Find out which program does that, and run the same command again.",
        )


def check_target(target: Path) -> None:
    """Refuse to put a file where a folder, a FIFO or a device stands; a symlink is replaced.

    Raises:
        StoreError: It is none of nothing, a file or a symlink.
    """
    with naming(target, "look at"):
        try:
            mode = target.lstat().st_mode
        except FileNotFoundError:
            return
    if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
        kind = "a folder" if stat.S_ISDIR(mode) else "no regular file"
        raise StoreError(f"{target} is {kind}.", hint="Move it away, or choose another `to`.")


def _copy_bytes(descriptor: int, copy: int) -> int:
    """Copy a whole open file into another, and return how many bytes it has."""
    buffer = memoryview(bytearray(BUFFER_BYTES))
    position = 0
    while count := read_at(descriptor, buffer, position):
        write_at(copy, buffer[:count], position)
        position += count
    return position
