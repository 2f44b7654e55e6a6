"""The last step: verified bytes under their final name, durably, in one rename.

The folders from the model's down are opened one by one, without following a symlink that leaves it,
and the rename goes by the last one's descriptor (renameat): nobody can lead it elsewhere meanwhile.
A folder that was there when the fetch began must still be the same one.
"""

import contextlib
import errno
import os
import secrets
import stat

from downloader.disk.advice import nearest_folder
from downloader.disk.durable import make_folder, naming
from downloader.disk.hashing import BUFFER_BYTES, feed, new_sha256
from downloader.disk.positioned import read_at, write_at
from downloader.errors import StoreError
from downloader.fs.rooted_path import NEW_FILE, RootedPath
from downloader.transfer.locked_file import is_same_file


class Place:
    """Where a file goes, as it was when its fetch began.

    Args:
        target: The final name.

    Raises:
        StoreError: Something that is no file stands there.
    """

    def __init__(self, target: RootedPath) -> None:
        self._target = target
        check_target(target)
        self._base = nearest_folder(target.parent.path)
        with naming(self._base, "look at"):
            self._was = self._base.stat()

    def take(self, descriptor: int, path: RootedPath, sha256: str) -> bool:
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
        with naming(self._target, "replace"):
            if not is_same_file(descriptor, path):
                raise self._swapped(path)
            self._check_base()
            make_folder(self._target.parent)
            try:
                path.move_to(self._target)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                self._copy(descriptor, sha256)
                is_gone = False
            else:
                self._check_placed(descriptor, path)
                is_gone = True
            self._target.parent.sync_folder()
        return is_gone

    def _check_base(self) -> None:
        """Refuse a folder that is not the one it was, and one that came meanwhile as a symlink."""
        if not os.path.samestat(self._was, self._base.stat()):
            raise self._swapped(self._base)
        folder = self._base
        for part in self._target.parent.path.relative_to(self._base).parts:
            folder /= part
            if os.path.islink(folder):  # noqa: PTH114 - no error where one may not look
                raise self._swapped(folder)

    def _check_placed(self, descriptor: int, path: RootedPath) -> None:
        """Take back what was renamed when it is not what was verified, or not where it belongs.

        Between the comparison and the rename there is an instant that no system call closes.
        """
        is_ours = is_same_file(descriptor, self._target)
        if not is_ours or not os.path.samestat(self._was, self._base.stat()):
            with contextlib.suppress(OSError):
                self._target.remove()
            raise self._swapped(self._base if is_ours else path)

    def _copy(self, descriptor: int, sha256: str) -> None:
        """Copy to another file system: beside the target first, read again, then renamed.

        The partial stays, for its owner to remove.
        """
        readable = self._target.name.encode()[:200].decode("utf-8", "ignore")
        unfinished = self._target.with_name(f".{readable}.{secrets.token_hex(4)}.new")
        copy = unfinished.open(NEW_FILE)
        try:
            size = _copy_bytes(descriptor, copy)
            os.fsync(copy)
            self._check_copy(copy, size, sha256)
            unfinished.move_to(self._target)
        except BaseException:
            with contextlib.suppress(OSError):
                unfinished.remove()
            raise
        finally:
            os.close(copy)

    def _check_copy(self, copy: int, size: int, sha256: str) -> None:
        digest = new_sha256()
        feed(copy, 0, size, (digest,))
        if digest.hexdigest() != sha256:
            raise StoreError(f"The copy at {self._target} has other bytes than what was copied.")

    def _swapped(self, path: object) -> StoreError:
        return StoreError(
            f"{path} was replaced by somebody while {self._target.name} was fetched.",
            hint="Find out which program does that, and run the same command again.",
        )


def check_target(target: RootedPath) -> None:
    """Refuse to put a file where a folder, a FIFO or a device stands; a symlink is replaced.

    Raises:
        StoreError: It is none of nothing, a file or a symlink; or a symlink leads to it from the
            model's folder.
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
