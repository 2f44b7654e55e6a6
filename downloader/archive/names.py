"""The names of an archive's members, judged one by one and together. Pure."""

from downloader.archive.limits import Limits, UnsafeArchive
from downloader.safe_path import check_path, collision_key

_ROOT = (b".", b"./")
_SHOWN_CHARACTERS = 200


def shown(name: str | bytes) -> str:
    """Return a name as it may be shown: quoted, escaped to ASCII, not too long."""
    cut = name[:_SHOWN_CHARACTERS]
    return ascii(cut) if len(cut) == len(name) else f"{cut!a}..."


def path_of(name: bytes, *, is_folder: bool) -> str:
    """Return the path that a member's name means; empty for the archive's own root, `./`.

    Raises:
        UnsafeArchive: It is not a safe path below the folder that is unpacked to.
    """
    if is_folder and name in _ROOT:
        return ""
    try:
        path = name.decode().removeprefix("./")
        path = path.removesuffix("/") if is_folder else path
        check_path(path)
    except UnicodeDecodeError as error:
        raise UnsafeArchive(f"the name of its member {shown(name)} is not UTF-8") from error
    except ValueError as error:
        raise UnsafeArchive(f"of its members {error}") from error
    return path


class _Folder:
    """A folder: whether it came as a member, and what lies in it by collision key."""

    __slots__ = ("inside", "is_listed")

    def __init__(self) -> None:
        self.inside: dict[str, tuple[str, _Folder | None]] = {}
        self.is_listed = False


class Names:
    """All names so far, as a tree in which no two may be one file on any file system."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._root = _Folder()
        self._entries = self._folders = self._bytes = 0

    def add(self, path: str, *, is_folder: bool) -> None:
        """Take in a member; files may come before the folder they lie in.

        Args:
            path: Its path, as `path_of` returned it.
            is_folder: Whether it is a folder.

        Raises:
            UnsafeArchive: The name is taken on some file system, or it is too much of something.
        """
        *folders, last = path.split("/")
        self._check_limits(path, len(folders))
        inside = self._root
        for part in folders:
            inside = self._folder(inside, part, path)
        if not is_folder:
            self._file(inside, last, path)
            return
        folder = self._folder(inside, last, path) if last else inside
        if folder.is_listed:
            raise UnsafeArchive(f"its member {shown(path)} comes twice")
        folder.is_listed = True

    def count(self) -> None:
        """Count one thing more that the archive brings.

        Raises:
            UnsafeArchive: There are too many.
        """
        self._entries += 1
        if self._entries > self._limits.entries:
            raise UnsafeArchive(f"it has more than {self._limits.entries} entries")

    def only_folder(self) -> str | None:
        """Return the name of the one folder that everything lies in, if there is one."""
        found = [name for name, folder in self._root.inside.values() if folder is not None]
        return found[0] if len(found) == len(self._root.inside) == 1 else None

    def _check_limits(self, path: str, depth: int) -> None:
        self._bytes += len(path.encode())
        if self._bytes > self._limits.names_bytes:
            raise UnsafeArchive(f"its names take more than {self._limits.names_bytes} bytes")
        if depth > self._limits.depth:
            raise UnsafeArchive(
                f"its member {shown(path)} lies more than {self._limits.depth} folders deep"
            )

    def _folder(self, parent: _Folder, part: str, path: str) -> _Folder:
        known = parent.inside.get(_key(part))
        if known is None:
            self.count()
            self._folders += 1
            if self._folders > self._limits.folders:
                raise UnsafeArchive(f"it has more than {self._limits.folders} folders")
            known = parent.inside[_key(part)] = (part, _Folder())
        spelling, folder = known
        if spelling != part or folder is None:
            raise _clash(path, part, spelling)
        return folder

    def _file(self, parent: _Folder, part: str, path: str) -> None:
        self.count()
        known = parent.inside.get(_key(part))
        if known is not None:
            raise _clash(path, part, known[0])
        parent.inside[_key(part)] = (part, None)


def _key(part: str) -> str:
    """Return the collision key of one part; parts do not affect each other across a slash."""
    key = collision_key(part)
    return part if key == part else key  # the same object twice costs the memory of one


def _clash(path: str, part: str, spelling: str) -> UnsafeArchive:
    if part == spelling:
        return UnsafeArchive(
            f"its member {shown(path)} comes twice, or {shown(part)} as two things"
        )
    return UnsafeArchive(
        f"for its member {shown(path)} some systems take {shown(part)} and {shown(spelling)}"
        " for one name"
    )
