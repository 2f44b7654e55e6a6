"""A path below one folder, through which files are opened, written, renamed and removed.

Paths come out of files that other people write: models.lock, a bundle, an archive. They are checked
when such a file is loaded. This is the second wall: a check that was forgotten there does no harm,
because nothing done through a RootedPath reaches a place outside its root, as with Go's os.Root.

Each operation opens the folders from the root down, one by one, by descriptor (openat) and without
following a symlink. A symlink below the root is followed only if it leads to a place below the
root. The root itself is the user's own choice, and may be reached through symlinks.

Windows has no descriptors of folders. There the real path of the parent folder is compared with
the root's before each operation; whoever swaps a folder between the two is not held off.
"""

import contextlib
import errno
import functools
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from downloader.errors import StoreError

NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)  # not on Windows, where making a symlink needs a privilege
BINARY = getattr(os, "O_BINARY", 0)  # only Windows would translate line ends without it
NO_WAITING = getattr(os, "O_NONBLOCK", 0)  # a FIFO would block
READ = os.O_RDONLY | NO_FOLLOW | BINARY | NO_WAITING
NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_EXCL | NO_FOLLOW | BINARY
HAS_FOLDER_DESCRIPTORS = {
    os.open,
    os.mkdir,
    os.unlink,
    os.stat,
} <= os.supports_dir_fd and shutil.rmtree.avoids_symlink_attacks

_LONGEST_BYTES = 4096
"""Of a whole path, with a NUL (PATH_MAX of Linux). By its name in an open folder a longer one could
be made, and no program that is given the whole path could open it."""
_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0)
_APPEND = os.O_RDWR | os.O_CREAT | os.O_APPEND | BINARY
_MODES = {
    "rb": os.O_RDONLY | BINARY | NO_WAITING,
    "wb": os.O_WRONLY | os.O_CREAT | os.O_TRUNC | BINARY,
    "xb": os.O_WRONLY | os.O_CREAT | os.O_EXCL | BINARY,
    "ab": _APPEND & ~os.O_RDWR | os.O_WRONLY,
    "a+b": _APPEND,
}


class SymlinkLeavesRoot(OSError):  # noqa: N818 - reads as what happened
    """A symlink below a root leads to a place outside it."""

    def __init__(self, path: Path, root: Path) -> None:
        super().__init__(errno.ELOOP, f"{path} is a symlink that leads out of {root}")


@functools.total_ordering
class RootedPath:
    """A path below a root folder.

    Args:
        root: The folder; the caller vouches for it.
        path: Where below it, with `/` between the parts; empty for the root itself.

    Attributes:
        root: The folder.
        parts: The names from the root down.
        path: The whole path, for messages and for looking (lstat). Never open or change it.

    Raises:
        StoreError: The path is absolute, or holds `..`, an empty part or NUL.
    """

    __slots__ = ("parts", "path", "root")

    def __init__(self, root: Path, path: str = "") -> None:
        parts = tuple(path.split("/")) if path else ()
        for part in parts:
            if not _is_name(part):
                raise StoreError(
                    f"{path[:200]!a} is not a path below {root}.",
                    hint="Find out who wrote that path, and restore the file that holds it.",
                )
        self._become(root, parts)

    @classmethod
    def of(cls, path: Path) -> "RootedPath":
        """Return a file or folder whose own parent folder is the root."""
        return cls(path.parent, path.name)

    def _become(self, root: Path, parts: tuple[str, ...]) -> None:
        self.root, self.parts = root, parts
        self.path = root.joinpath(*parts)

    def _at(self, parts: tuple[str, ...]) -> "RootedPath":
        new = object.__new__(RootedPath)
        new._become(self.root, parts)
        return new

    def __truediv__(self, path: str) -> "RootedPath":
        below = RootedPath(self.root, path)
        return self._at((*self.parts, *below.parts))

    def __fspath__(self) -> str:
        return str(self.path)

    def __str__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        return f"RootedPath({str(self.root)!r}, {'/'.join(self.parts)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RootedPath) and self.path == other.path

    def __lt__(self, other: "RootedPath") -> bool:
        return self.path < other.path

    def __hash__(self) -> int:
        return hash(self.path)

    @property
    def name(self) -> str:
        """The last part."""
        return self.path.name

    @property
    def stem(self) -> str:
        """The last part without its suffix."""
        return self.path.stem

    @property
    def suffix(self) -> str:
        """What stands behind the last dot of the last part, with that dot."""
        return self.path.suffix

    @property
    def parent(self) -> "RootedPath":
        """The folder it is in; the root's is the root."""
        return self._at(self.parts[:-1])

    def above(self) -> "Iterator[RootedPath]":
        """Yield the folders it is in, the nearest first, without the root."""
        for count in range(len(self.parts) - 1, 0, -1):
            yield self._at(self.parts[:count])

    def with_name(self, name: str) -> "RootedPath":
        """Return another name in the same folder."""
        return self.parent / name

    def with_suffix(self, suffix: str) -> "RootedPath":
        """Return the same name with another suffix."""
        return self.with_name(f"{self.stem}{suffix}")

    def open(self, flags: int, mode: int = 0o666) -> int:
        """Open the file and return its descriptor; a symlink at its name is refused.

        Raises:
            OSError: The system refused, or a symlink leads out of the root.
        """
        if flags & os.O_CREAT and len(os.fsencode(self.path)) >= _LONGEST_BYTES:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
        with self.in_folder() as (name, folder):
            return os.open(name, flags | NO_FOLLOW, mode, dir_fd=folder)

    def open_file(self, mode: str) -> BinaryIO:
        """Open the file as a stream, as `open` does.

        Args:
            mode: One of "rb", "wb", "xb", "ab" and "a+b".

        Raises:
            OSError: As `open`.
        """
        return os.fdopen(self.open(_MODES[mode]), mode)  # type: ignore[return-value]

    def read_bytes(self) -> bytes:
        """Return what is in the file.

        Raises:
            OSError: As `open`.
        """
        with os.fdopen(self.open(_MODES["rb"]), "rb") as file:
            return file.read()

    def lstat(self) -> os.stat_result:
        """Look at what stands there.

        Raises:
            OSError: As `open`.
        """
        with self.in_folder() as (name, folder):
            return os.stat(name, dir_fd=folder, follow_symlinks=False)

    def make_folder(self) -> None:
        """Make this folder, the root and what is between them, as far as they are not there.

        Raises:
            OSError: One of them cannot be made, or a symlink leads out of the root.
        """
        with self._opened(self.parts, makes=True):
            pass

    def make_new_folder(self) -> None:
        """Make this folder, where nothing may be yet; the folders above it are there.

        Raises:
            OSError: As `open`, or something is there.
        """
        with self.in_folder() as (name, folder):
            os.mkdir(name, dir_fd=folder)

    def remove(self, *, missing_ok: bool = False) -> None:
        """Remove a file or a symlink.

        Raises:
            OSError: As `open`.
        """
        known = (FileNotFoundError,) if missing_ok else ()
        with contextlib.suppress(*known), self.in_folder() as (name, folder):
            os.unlink(name, dir_fd=folder)

    def remove_folder(self) -> None:
        """Remove an empty folder.

        Raises:
            OSError: As `open`, or it is not empty.
        """
        with self.in_folder() as (name, folder):
            os.rmdir(name, dir_fd=folder)

    def remove_tree(self, *, ignore_errors: bool = True) -> None:
        """Remove a folder and all that is in it.

        Args:
            ignore_errors: Leave what cannot be removed, and say nothing.

        Raises:
            OSError: As `open`, unless errors are ignored.
        """
        passed_over = (OSError,) if ignore_errors else ()
        with contextlib.suppress(*passed_over), self.in_folder() as (name, folder):
            shutil.rmtree(name, ignore_errors=ignore_errors, dir_fd=folder)

    def move_to(self, to: "RootedPath") -> None:
        """Give it another name, in place of a file that may have that name.

        Raises:
            OSError: As `open`.
        """
        with self.in_folder() as (name, folder), to.in_folder() as (new, new_folder):
            os.replace(name, new, src_dir_fd=folder, dst_dir_fd=new_folder)

    def hardlink_to(self, file: "Path | RootedPath") -> None:
        """Make this free name another name of a file.

        Args:
            file: A file of the user's own; or one that no symlink may lead away from.

        Raises:
            OSError: As `open`.
        """
        found = file if isinstance(file, RootedPath) else RootedPath.of(file)
        with found.in_folder() as (name, folder), self.in_folder() as (new, new_folder):
            os.link(name, new, src_dir_fd=folder, dst_dir_fd=new_folder, follow_symlinks=False)

    def protect(self, mode: int) -> None:
        """Set the permissions of a regular file.

        Raises:
            OSError: As `open`.
        """
        with self.open_file("rb") as file:
            os.chmod(file.fileno() if os.chmod in os.supports_fd else self.path, mode)  # noqa: PTH101

    def mark_changed(self) -> None:
        """Set the time of the last change of a regular file to now.

        Raises:
            OSError: As `open`.
        """
        with self.open_file("rb") as file:
            os.utime(file.fileno() if os.utime in os.supports_fd else self.path)

    def sync_folder(self) -> None:
        """Make renames in this folder survive a power cut; Windows cannot, and journals them.

        Raises:
            OSError: As `open`.
        """
        with self._opened(self.parts) as folder:
            if folder is not None:
                os.fsync(folder)

    def names(self) -> list[str]:
        """Return the names in this folder, sorted; none where it is not there.

        Raises:
            OSError: It cannot be listed, or a symlink leads out of the root.
        """
        try:
            with self._opened(self.parts) as folder:
                return sorted(os.listdir(self.path if folder is None else folder))  # noqa: PTH208
        except FileNotFoundError:
            return []

    def is_file(self) -> bool:
        """Whether a regular file stands there, and no symlink to one."""
        try:
            return stat.S_ISREG(self.lstat().st_mode)
        except OSError:
            return False

    @contextmanager
    def in_folder(self, *, makes: bool = False) -> Iterator[tuple[str, int | None]]:
        """Open the folder it is in.

        Args:
            makes: Whether folders that are not there are made.

        Yields:
            The name and the folder's descriptor, to be used together; the whole path and None
            where systems have no descriptors of folders.

        Raises:
            OSError: A folder cannot be opened, or a symlink leads out of the root.
        """
        if not self.parts:
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        with self._opened(self.parts[:-1], makes=makes) as folder:
            yield (str(self.path) if folder is None else self.parts[-1]), folder

    @contextmanager
    def _opened(self, parts: tuple[str, ...], *, makes: bool = False) -> Iterator[int | None]:
        """Open the folder at these parts below the root."""
        if makes and not os.path.isdir(self.root):  # noqa: PTH112 - one look is cheaper than a refusal
            self.root.mkdir(parents=True, exist_ok=True)
        if not HAS_FOLDER_DESCRIPTORS:
            self._check_real(parts)
            if makes:
                self.root.joinpath(*parts).mkdir(parents=True, exist_ok=True)
            yield None
            return
        folder = self._walk(parts, makes=makes)
        try:
            yield folder
        finally:
            os.close(folder)

    def _walk(self, parts: tuple[str, ...], *, makes: bool, is_real: bool = False) -> int:
        """Open one folder after the other, and return the last one's descriptor."""
        folder = os.open(self.root, _FOLDER)
        try:
            for part in parts:
                try:
                    below = os.open(part, _FOLDER | NO_FOLLOW, dir_fd=folder)
                except FileNotFoundError:
                    if not makes:
                        raise
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(part, dir_fd=folder)
                    below = os.open(part, _FOLDER | NO_FOLLOW, dir_fd=folder)
                except OSError:
                    if is_real or not _is_symlink(part, folder):
                        raise
                    return self._walk(self._real(parts), makes=makes, is_real=True)
                os.close(folder)
                folder = below
            opened, folder = folder, -1
            return opened
        finally:
            if folder >= 0:
                os.close(folder)

    def _real(self, parts: tuple[str, ...]) -> tuple[str, ...]:
        """Return where the parts lead to without any symlink, as parts below the root."""
        path = self.root.joinpath(*parts)
        root, real = os.path.realpath(self.root), os.path.realpath(path)
        if real == root:
            return ()
        try:
            return Path(real).relative_to(root).parts
        except ValueError:
            raise SymlinkLeavesRoot(path, self.root) from None

    def _check_real(self, parts: tuple[str, ...]) -> None:
        for number in range(1, len(parts) + 1):
            if os.path.islink(self.root.joinpath(*parts[:number])):  # noqa: PTH114 - no error where one may not look
                self._real(parts[:number])


def open_to_read(path: Path | RootedPath) -> int:
    """Open a file to read it, and return its descriptor; a symlink at its name is refused.

    Args:
        path: A file of the user's own; or one that no symlink may lead away from.

    Raises:
        OSError: It cannot be opened.
    """
    return path.open(READ) if isinstance(path, RootedPath) else os.open(path, READ)


def _is_name(part: str) -> bool:
    """Whether a part is the name of one thing in its folder."""
    if part in {"", ".", ".."} or "\0" in part:
        return False
    return os.name != "nt" or not ({"\\", ":"} & set(part))


def _is_symlink(part: str, folder: int) -> bool:
    try:
        return stat.S_ISLNK(os.stat(part, dir_fd=folder, follow_symlinks=False).st_mode)
    except OSError:
        return False
