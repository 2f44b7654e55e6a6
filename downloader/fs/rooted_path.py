"""A path below one folder, through which files are opened, written, renamed and removed.

Paths come out of files that other people write: models.lock, a bundle, an archive. They are checked
when such a file is loaded. This is the second wall: a check that was forgotten there does no harm,
because nothing done through a RootedPath reaches a place outside its root, as with Go's os.Root.

What the system refuses is raised as StoreError, which names the path and says what to do. Its
`errno` and its `__cause__` are the system's own.

Each operation opens the folders from the root down, one by one, by descriptor (openat) and without
following a symlink. A symlink below the root is followed only if it leads to a place below the
root. The root itself is the user's own choice, and may be reached through symlinks.

Folders that were just used stay open, a few of them: the next operation there begins with one stat
that tells whether the path still leads to the same folder, and the way down is spared. Who does
several things in one folder holds it open (`held`), which spares that look too. And who looks again
before it matters is content with a look of a moment ago (`held(soon=True)`).

Windows has no descriptors of folders. There the real path of the parent folder is compared with
the root's before each operation; whoever swaps a folder between the two is not held off.
"""

import contextlib
import errno
import functools
import itertools
import os
import shutil
import stat
import threading
import time
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Self

from downloader.errors import StoreError
from downloader.fs.open_file import UNSUPPORTED, OpenFile, refused
from downloader.fs.run_token import DISK, begin_wait, end_wait

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)  # not on Windows, where making a symlink needs a privilege
BINARY = getattr(os, "O_BINARY", 0)  # only Windows would translate line ends without it
NO_WAITING = getattr(os, "O_NONBLOCK", 0)  # a FIFO would block
READ = os.O_RDONLY | NO_FOLLOW | BINARY | NO_WAITING
NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_EXCL | NO_FOLLOW | BINARY
APPEND = os.O_RDWR | os.O_CREAT | os.O_APPEND | NO_FOLLOW | BINARY
REPLACE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | NO_FOLLOW | BINARY
HAS_FOLDER_DESCRIPTORS = {
    os.open,
    os.mkdir,
    os.unlink,
    os.stat,
} <= os.supports_dir_fd and shutil.rmtree.avoids_symlink_attacks

_LONGEST_BYTES = 4096
"""Of a whole path, with a NUL (PATH_MAX of Linux). By its name in an open folder a longer one could
be made, and no program that is given the whole path could open it."""
_SEPARATOR = str(PurePath("a", "b"))[1:-1]  # as pathlib joins, without a Path for each
_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0)
_MOMENT_SECONDS = 1.0
"""How long a look at a folder may be ago for `held(soon=True)`."""
_WRITES = os.O_WRONLY | os.O_RDWR


class _OpenFolder:
    """An open folder; closed when the last who uses it lets go of it.

    Args:
        path: The text that led to it.
        descriptor: The folder, as the system knows it.
        disk: The number of its disk, if that is known.
    """

    __slots__ = (
        "_asked",
        "_disk",
        "_failure",
        "_known",
        "_looked",
        "_path",
        "_synced",
        "_syncing",
        "descriptor",
    )

    def __init__(self, path: str, descriptor: int, disk: int | None = None) -> None:
        self._path, self.descriptor, self._disk = path, descriptor, disk
        self._asked, self._synced, self._syncing = itertools.count(1), 0, threading.Lock()
        self._failure: tuple[int, tuple[object, ...]] | None = None
        self._looked = time.monotonic()
        self._known: tuple[int, int] | None = None

    @property
    def _identity(self) -> tuple[int, int]:
        """Its inode and disk; a folder of many that is used once is never asked."""
        if self._known is None:
            status = os.fstat(self.descriptor)
            self._known = status.st_ino, status.st_dev
        return self._known

    def is_there(self, *, soon: bool = False) -> bool:
        """Whether the path still leads to it.

        Args:
            soon: Whether it is enough that it did so a moment ago.
        """
        now = time.monotonic()
        if soon and now - self._looked < _MOMENT_SECONDS:
            return True
        try:
            status = os.stat(self._path)  # noqa: PTH116 - no Path for each look
        except OSError:
            return False
        self._looked = now
        return (status.st_ino, status.st_dev) == self._identity

    @property
    def disk(self) -> int:
        """The number of the disk that it is on."""
        return self._identity[1] if self._disk is None else self._disk

    def sync(self) -> None:
        """Have the names in it survive a power cut.

        Who asks while another's sync is under way waits for that, and then one sync does for all
        who wait: many small files are renamed in one folder at a time. All of them are told of its
        failure, since the system tells of one only once.

        Raises:
            OSError: The disk refused.
        """
        ours = next(self._asked)  # what was done before is covered by a sync that begins later
        begun = begin_wait(DISK)
        try:
            self._sync(ours)
        finally:
            end_wait(DISK, begun)

    def _sync(self, ours: int) -> None:
        with self._syncing:
            if self._failure is not None and ours < self._failure[0]:
                raise OSError(*self._failure[1])
            if ours < self._synced:
                return
            following = next(self._asked)
            try:
                os.fsync(self.descriptor)
            except OSError as error:
                # Not the error itself: it refers to this folder, which would then stay open.
                self._failure = following, error.args
                raise
            self._synced = following

    def __del__(self, close: "Callable[[int], None]" = os.close) -> None:
        if hasattr(self, "descriptor"):
            with contextlib.suppress(OSError):
                close(self.descriptor)


class _Folder:
    """The open folder of one operation; what the system refuses there becomes a StoreError.

    It is a class, and no generator, since there is one for each operation on each file.

    Args:
        path: What is worked on.
        act: The verb for the message of an error.
        is_itself: Whether the path is the folder, and not what it is in.
        makes: Whether folders that are not there are made.
        soon: As of `RootedPath.held`.
        told: What messages call the path, if that is another name.

    Attributes:
        opened: The folder, if the system has descriptors of folders.
    """

    __slots__ = ("_act", "_is_itself", "_makes", "_path", "_soon", "_told", "opened")

    def __init__(  # noqa: PLR0913 - most callers give two
        self,
        path: "RootedPath",
        act: str,
        *,
        is_itself: bool = False,
        makes: bool = False,
        soon: bool = False,
        told: "Path | RootedPath | None" = None,
    ) -> None:
        self._path, self._act, self._is_itself, self._makes = path, act, is_itself, makes
        self._soon, self._told = soon, told or path
        self.opened: _OpenFolder | None = None

    def __enter__(self) -> tuple[str, int | None]:
        """Return the path's name and the folder's descriptor, to be used together.

        If the system has no descriptors of folders, it is the whole path and None.
        """
        path = self._path
        folder = path._itself if self._is_itself else path._folder  # noqa: SLF001
        if folder is None:
            try:
                if not (self._is_itself or path.parts):
                    raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
                folder = _open_folder(
                    path, is_itself=self._is_itself, makes=self._makes, soon=self._soon
                )
            except OSError as error:
                raise refused(error, self._act, self._told) from error
            if folder is None:
                return str(path), None
        self.opened = folder  # until the operation is done
        return path.name, folder.descriptor

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        self.opened = None
        if isinstance(error, OSError):
            raise refused(error, self._act, self._told) from error


@functools.total_ordering
class RootedPath:
    """A path below a root folder.

    Args:
        root: The folder; the caller trusts it.
        path: Where below it, with `/` between the parts; empty for the root itself.

    Attributes:
        root: The folder.
        parts: The names from the root down.
        name: The last part.

    Raises:
        StoreError: The path is absolute, or holds `..`, an empty part or NUL.
    """

    __slots__ = ("_base", "_folder", "_itself", "_text", "name", "parts", "root")

    def __init__(self, root: Path, path: str = "") -> None:
        parts = tuple(path.split("/")) if path else ()
        for part in parts:
            _check_name(root, path, part)
        self.root, self._base, self.parts = root, _base_of(str(root)), parts
        self._folder: _OpenFolder | None = None
        self._itself: _OpenFolder | None = None
        if parts:
            self._text, self.name = self._base + _SEPARATOR.join(parts), parts[-1]
        else:
            self._text, self.name = str(root), root.name

    @classmethod
    def of(cls, path: Path) -> "RootedPath":
        """Return a file or folder whose own parent folder is the root."""
        return cls(path.parent, path.name)

    def _at(
        self,
        parts: tuple[str, ...],
        *,
        folder: _OpenFolder | None = None,
        itself: _OpenFolder | None = None,
    ) -> "RootedPath":
        new = object.__new__(RootedPath)
        new.root, new._base, new.parts = self.root, self._base, parts
        new._folder, new._itself = folder, itself
        if parts:  # once more, since there is one for each step of each file
            new._text, new.name = self._base + _SEPARATOR.join(parts), parts[-1]
        else:
            new._text, new.name = str(self.root), self.root.name
        return new

    def __truediv__(self, path: str) -> "RootedPath":
        names = path.split("/") if path else []
        for name in names:
            _check_name(self.root, path, name)
        return self._at((*self.parts, *names), folder=self._itself if len(names) == 1 else None)

    def __fspath__(self) -> str:
        return self._text

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return f"RootedPath({str(self.root)!r}, {'/'.join(self.parts)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RootedPath) and self._text == other._text

    def __lt__(self, other: "RootedPath") -> bool:
        return self.path < other.path

    def __hash__(self) -> int:
        return hash(self._text)

    @property
    def path(self) -> Path:
        """The whole path, for messages and for looking (lstat). Never open or change it."""
        return Path(self._text)

    @property
    def stem(self) -> str:
        """The last part without its suffix."""
        return PurePath(self.name).stem

    @property
    def suffix(self) -> str:
        """The suffix of the last part, with its dot."""
        return PurePath(self.name).suffix

    @property
    def parent(self) -> "RootedPath":
        """The folder it is in; the root's is the root."""
        return self._at(self.parts[:-1], itself=self._folder)

    def held(self, *, makes: bool = False, soon: bool = False) -> "RootedPath":
        """Return this path with its folder held open.

        What is then done with this name, or with another one beside it, is done in that folder
        without another look at the way to it: a folder that is moved meanwhile is still the same,
        as with Go's os.Root. `leads_to_held` tells whether the path still leads there; `let_go`, or
        the end of a `with`, ends it. Systems without descriptors of folders hold none.

        Args:
            makes: Whether folders that are not there are made.
            soon: Whether it is enough that the path led to that folder a moment ago: for scratch
                files, and for who looks (`Commit`) before a file is there for others. It may be
                gone since.

        Raises:
            StoreError: The folder cannot be opened.
        """
        if self._folder is not None:
            return self._at(self.parts, folder=self._folder)
        act = "make the folder" if makes else "look at"
        told = self.parent if makes else self
        with (folder := _Folder(self, act, makes=makes, soon=soon, told=told)):
            return self._at(self.parts, folder=folder.opened)

    def entered(self) -> "RootedPath":
        """Return this folder, held open for what is right below it, and made if it is not there.

        It stands in a folder that is held open. A symlink is refused, wherever it leads.

        Raises:
            StoreError: The folder cannot be made or opened.
        """
        with _Folder(self, "make the folder") as (name, folder):
            if folder is None:
                if self.path.is_symlink():
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
                self.path.mkdir(exist_ok=True)
                return self
            below = _open_below(name, folder, makes=True)
        # Whether another disk is mounted here is not worth a look: links say what they cannot do.
        opened = _OpenFolder(self._text, below, self.disk)
        return self._at(self.parts, folder=self._folder, itself=opened)

    def let_go(self) -> None:
        """Hold the folder open no longer, so that its disk can be unmounted.

        It would end by itself, but an error that somebody keeps keeps all that led to it.
        """
        self._folder = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.let_go()

    @property
    def is_held(self) -> bool:
        """Whether its folder is held open."""
        return self._folder is not None

    @property
    def disk(self) -> int | None:
        """The number of the disk that its folder is on, if that is held open."""
        return self._folder.disk if self._folder is not None else None

    def leads_to_held(self) -> bool:
        """Whether the path still leads to the folder that is held open."""
        return self._folder is not None and self._folder.is_there()

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

    def open(
        self, flags: int, *, act: str = "", told: "Path | RootedPath | None" = None
    ) -> OpenFile:
        """Open the file; a symlink at its name is refused.

        Args:
            flags: READ, NEW_FILE, APPEND, REPLACE or others of the system.
            act: The verb for the message of an error; "read" or "write" when not given.
            told: What messages call the file, if that is another name.
        """
        act = act or ("write" if flags & _WRITES else "read")
        with _Folder(self, act, told=told) as (name, folder):
            if flags & os.O_CREAT and _is_too_long(self._text):
                raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
            return OpenFile(os.open(name, flags | NO_FOLLOW, 0o666, dir_fd=folder), self, told)

    def open_if_there(self, flags: int) -> OpenFile | None:
        """Open the file as `open` does; None if there is none."""
        try:
            with _Folder(self, "read") as (name, folder):
                try:
                    return OpenFile(os.open(name, flags | NO_FOLLOW, dir_fd=folder), self)
                except FileNotFoundError:
                    return None
        except StoreError as error:
            if error.errno != errno.ENOENT:
                raise
        return None

    def read_bytes(self) -> bytes:
        """Return what is in the file."""
        with self.open(READ) as file:
            return file.read()

    def read_if_there(self) -> bytes | None:
        """Return what is in the file, None if there is none."""
        file = self.open_if_there(READ)
        if file is None:
            return None
        with file:
            return file.read()

    def lstat(self) -> os.stat_result:
        """Look at what stands there."""
        with _Folder(self, "look at") as (name, folder):
            return os.stat(name, dir_fd=folder, follow_symlinks=False)

    def status(self) -> os.stat_result | None:
        """Look at what stands there; None if nothing does."""
        try:
            with _Folder(self, "look at") as (name, folder):
                try:
                    return os.stat(name, dir_fd=folder, follow_symlinks=False)
                except FileNotFoundError:
                    return None
        except StoreError as error:
            if error.errno != errno.ENOENT:
                raise
        return None

    def make_folder(self, told: Path | None = None) -> None:
        """Make this folder, the root and what is between them, as far as they are not there.

        Args:
            told: What messages call it, if that is another name.
        """
        with _Folder(self, "make the folder", is_itself=True, makes=True, told=told):
            pass

    def make_new_folder(self) -> None:
        """Make this folder, where nothing may be yet; the folders above it are there."""
        with _Folder(self, "make the folder") as (name, folder):
            os.mkdir(name, dir_fd=folder)

    def remove(self, *, missing_ok: bool = False) -> None:
        """Remove a file or a symlink."""
        try:
            with _Folder(self, "remove") as (name, folder):
                os.unlink(name, dir_fd=folder)
        except StoreError as error:
            if not missing_ok or error.errno != errno.ENOENT:
                raise

    def remove_folder(self) -> None:
        """Remove an empty folder."""
        with _Folder(self, "remove") as (name, folder):
            os.rmdir(name, dir_fd=folder)

    def remove_tree(self, *, ignore_errors: bool = True) -> None:
        """Remove a folder and all that is in it.

        Args:
            ignore_errors: Leave what cannot be removed, and say nothing.
        """
        passed_over = (StoreError,) if ignore_errors else ()
        with contextlib.suppress(*passed_over), _Folder(self, "remove") as (name, folder):
            shutil.rmtree(name, ignore_errors=ignore_errors, dir_fd=folder)

    def move_to(self, to: "RootedPath") -> None:
        """Give it another name, instead of a file that may have that name."""
        with _Folder(self, "write", told=to) as (name, folder), _Folder(to, "write") as there:
            os.replace(name, there[0], src_dir_fd=folder, dst_dir_fd=there[1])

    def hardlink_to(self, file: "Path | RootedPath") -> None:
        """Make this free name another name of a file.

        Args:
            file: A file of the user's own; or one that no symlink may lead away from.
        """
        found = file if isinstance(file, RootedPath) else RootedPath.of(file)
        with _Folder(found, "link", told=self) as (name, folder), _Folder(self, "write") as here:
            os.link(name, here[0], src_dir_fd=folder, dst_dir_fd=here[1], follow_symlinks=False)

    def protect(self, mode: int) -> None:
        """Set the permissions of a regular file."""
        with self.open(READ, act="change") as file:
            file.protect(mode)

    def mark_changed(self) -> None:
        """Set the time of the last change of a regular file to now."""
        with self.open(READ, act="change") as file:
            file.mark_changed()

    def sync_folder(self, told: "RootedPath | None" = None) -> None:
        """Make renames in this folder survive a power cut, if the file system can.

        Windows cannot, and journals them; some network and virtual disks refuse (UNSUPPORTED).

        Args:
            told: The file in it that was written, which a message then names.
        """
        with (used := _Folder(self, "write" if told else "sync", is_itself=True, told=told)):
            if used.opened is None:
                return
            try:
                used.opened.sync()
            except OSError as error:
                if error.errno not in UNSUPPORTED:
                    raise

    def names(self) -> list[str]:
        """Return the names in this folder, sorted; none if it is not there."""
        try:
            with _Folder(self, "list", is_itself=True) as (_, folder):
                return sorted(os.listdir(self if folder is None else folder))  # noqa: PTH208
        except StoreError as error:
            if error.errno != errno.ENOENT:
                raise
        return []

    def leads_out(self) -> bool:
        """Whether a symlink below the root leads to another place than below it."""
        try:
            _real(self.root, self.parts)
        except OSError:
            return True
        return False

    def is_file(self) -> bool:
        """Whether a regular file stands there, and no symlink to one."""
        try:
            status = self.status()
        except StoreError:
            return False
        return status is not None and stat.S_ISREG(status.st_mode)


def open_to_read(path: Path | RootedPath) -> OpenFile:
    """Open a file to read it; a symlink at its name is refused.

    Args:
        path: A file of the user's own; or one that no symlink may lead away from.

    Raises:
        StoreError: It cannot be opened.
    """
    return path.open(READ) if isinstance(path, RootedPath) else open_own(path, READ)


def open_own(path: Path, flags: int = os.O_RDONLY | BINARY | NO_WAITING) -> OpenFile:
    """Open a file of the user's own to read it; it may be reached by symlinks.

    Raises:
        StoreError: It cannot be opened.
    """
    named = RootedPath.of(path)
    try:
        return OpenFile(os.open(path, flags), named)
    except OSError as error:
        raise refused(error, "read", path) from error


def read_own(path: Path) -> bytes:
    """Return what is in a file of the user's own; it may be reached by symlinks.

    Raises:
        StoreError: It cannot be read.
    """
    with open_own(path) as file:
        return file.read()


def _check_name(root: Path, path: str, part: str) -> None:
    """Refuse a part that is not the name of one thing in its folder.

    Raises:
        StoreError: It is none.
    """
    is_name = part not in {"", ".", ".."} and "\0" not in part
    if not is_name or (os.name == "nt" and {"\\", ":"} & set(part)):
        raise StoreError(
            f"{path[:200]!a} is not a path below {root}.",
            hint="Find out who wrote that path, and restore the file that holds it.",
        )


def _base_of(root: str) -> str:
    """Return what stands before the parts in the text of a path below the root."""
    if root == os.curdir:
        return ""
    return root if root.endswith(_SEPARATOR) else root + _SEPARATOR


def _is_too_long(path: str) -> bool:
    return len(path) >= _LONGEST_BYTES // 4 and len(os.fsencode(path)) >= _LONGEST_BYTES


def _is_symlink(part: str, folder: int) -> bool:
    try:
        return stat.S_ISLNK(os.stat(part, dir_fd=folder, follow_symlinks=False).st_mode)
    except OSError:
        return False


_kept: dict[tuple[str, tuple[str, ...]], _OpenFolder] = {}
"""Folders that stay open for the next operation in them, by root and parts."""
_MOST_KEPT = 16


def close_idle_folders() -> None:
    """Close the folders that are kept open, so that their disk can be unmounted."""
    _kept.clear()


def _open_folder(
    path: RootedPath, *, is_itself: bool, makes: bool, soon: bool
) -> _OpenFolder | None:
    """Open a path's folder, or the folder that it is itself; None if the system cannot."""
    root, parts = path.root, path.parts if is_itself else path.parts[:-1]
    key = path._base, parts  # noqa: SLF001
    found = _kept.get(key)
    if found is not None:
        _kept.pop(key, None)
        if found.is_there(soon=soon):
            _kept[key] = found  # the last one: others go first
            return found
    if makes and not os.path.isdir(root):  # noqa: PTH112 - one stat is cheaper than a refusal
        root.mkdir(parents=True, exist_ok=True)
    if HAS_FOLDER_DESCRIPTORS:
        opened = _OpenFolder(str(root.joinpath(*parts)), _walk(root, parts, makes=makes))
        while len(_kept) >= _MOST_KEPT:
            _kept.pop(next(iter(tuple(_kept)), key), None)
        _kept[key] = opened
        return opened
    _check_real(root, parts)
    if makes:
        root.joinpath(*parts).mkdir(parents=True, exist_ok=True)
    return None


def _walk(root: Path, parts: tuple[str, ...], *, makes: bool, is_real: bool = False) -> int:
    """Open one folder after the other, and return the last one's descriptor."""
    folder = os.open(root, _FOLDER)
    try:
        for part in parts:
            try:
                below = _open_below(part, folder, makes=makes)
            except OSError:
                if is_real or not _is_symlink(part, folder):
                    raise
                return _walk(root, _real(root, parts), makes=makes, is_real=True)
            os.close(folder)
            folder = below
        opened, folder = folder, -1
        return opened
    finally:
        if folder >= 0:
            os.close(folder)


def _open_below(name: str, folder: int, *, makes: bool) -> int:
    """Open a folder of a folder that is open, and no symlink to one; return its descriptor."""
    try:
        return os.open(name, _FOLDER | NO_FOLLOW, dir_fd=folder)
    except FileNotFoundError:
        if not makes:
            raise
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, dir_fd=folder)
        return os.open(name, _FOLDER | NO_FOLLOW, dir_fd=folder)


def _real(root: Path, parts: tuple[str, ...]) -> tuple[str, ...]:
    """Return where the parts lead to without any symlink, as parts below the root."""
    path = root.joinpath(*parts)
    real_root, real = os.path.realpath(root), os.path.realpath(path)
    if real == real_root:
        return ()
    try:
        return Path(real).relative_to(real_root).parts
    except ValueError:
        text = f"{path} is a symlink that leads out of {root}"
        raise OSError(errno.ELOOP, text) from None


def _check_real(root: Path, parts: tuple[str, ...]) -> None:
    for number in range(1, len(parts) + 1):
        if os.path.islink(root.joinpath(*parts[:number])):  # noqa: PTH114 - no error where one may not look
            _real(root, parts[:number])
