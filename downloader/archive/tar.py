"""Read a tar as its members, one after the other: files and folders, nothing else.

A header block is 512 bytes. Its fields are those of POSIX.1-1988 (ustar) with GNU's numbers, as the
manual of GNU tar ("Basic Tar Format") and tar(5) of FreeBSD describe them. Owner, mode and times
are ignored: nothing of them is taken over. A PAX header (POSIX.1-2001, "pax Extended Header") holds
what the block has no room for: records `LENGTH KEY=VALUE` and a line feed, where LENGTH counts the
whole record in decimal.

What comes before a member and belongs to it is read as GNU tar, bsdtar and Python write it: a PAX
header (`x`), a long name of GNU (`L`). Everything that readers are known to interpret differently
is refused: a name given twice, two sizes, data in a folder, a tar after the tar. Names are checked
one by one and together. The standard library's tarfile is not used: it skips what it does not
understand, and its filters had to be repaired again and again (CVE-2024-12718, CVE-2025-4138,
-4330, -4435, -4517, -8194).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from downloader.archive.compression import (
    READ_BYTES,
    Compressed,
    LimitExceeded,
    Limits,
    UnsafeArchive,
)
from downloader.artifact import MAX_PATH_BYTES, check_path, collision_key
from downloader.errors import BadArchive

BLOCK_BYTES = 512
ZEROS = bytes(BLOCK_BYTES)
MOST_SIZE = (1 << 63) - 1

_NAME, _HEADER_SIZE, _SUM = slice(0, 100), slice(124, 136), slice(148, 156)
_TYPE, _MAGIC, _PREFIX = slice(156, 157), slice(257, 263), slice(345, 500)
_POSIX, _GNU, _OLD = b"ustar\0", b"ustar ", bytes(6)
_OCTAL = re.compile(rb" *([0-7]+)[ \0]*")
_BINARY = 0x80


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """The content of a header block.

    Attributes:
        name: The member's name, as its bytes.
        size: How many bytes of data follow.
        kind: The type flag; the NUL of tars before POSIX is given as b"0".
    """

    name: bytes
    size: int
    kind: bytes


def parse_header(block: bytes) -> Header:
    """Read a header block that is not all zeros.

    Raises:
        BadArchive: It is none, or is damaged.
    """
    magic = block[_MAGIC]
    spaces_for_sum = 32 * 8  # the sum is made as if its own field held spaces
    if magic not in (_POSIX, _GNU, _OLD) or (
        _number(block[_SUM]) != sum(block) - sum(block[_SUM]) + spaces_for_sum
    ):
        raise BadArchive("a tar header in it is damaged")
    name, prefix = _text(block[_NAME]), _text(block[_PREFIX])
    if magic == _POSIX and prefix:
        name = prefix + b"/" + name
    kind = block[_TYPE]
    if kind == b"\0":
        kind = b"5" if name.endswith(b"/") else b"0"  # so old tars wrote folders
    return Header(name=name, size=_number(block[_HEADER_SIZE]), kind=kind)


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _number(field: bytes) -> int:
    """Return a number in octal digits, or after a byte 0x80 in base 256; never a negative one."""
    octal = _OCTAL.fullmatch(field)
    if octal:
        return int(octal[1], 8)
    value = int.from_bytes(field[1:], "big")
    if field[0] != _BINARY or value > MOST_SIZE:
        raise BadArchive("a number in a tar header of it is negative, too large or damaged")
    return value


MOST_PAX_BYTES = 1 << 20

_LENGTH = re.compile(rb"([0-9]{1,7}) ")
_PAX_SIZE = re.compile(rb"[0-9]{1,19}")
_MOST_IN_BLOCK = 0o77777777777
_CHANGES_A_MEMBER = {b"path", b"size", b"linkpath"}


def pax_records(data: bytes) -> dict[bytes, bytes]:
    """Return the values by their keys.

    Raises:
        BadArchive: They are malformed, or a key comes twice.
    """
    found: dict[bytes, bytes] = {}
    position = 0
    while position < len(data):
        length = _LENGTH.match(data, position)
        stop = position + int(length[1]) if length else 0
        body = data[length.end() : stop] if length else b""
        key, equals, value = body[:-1].partition(b"=")
        if stop > len(data) or not body.endswith(b"\n") or not equals or key in found:
            raise BadArchive("a PAX header in it is malformed")
        found[key] = value
        position = stop
    return found


def is_sparse(found: dict[bytes, bytes]) -> bool:
    """Whether these records make GNU tar read the member's data as pieces of a larger file."""
    return any(key.startswith(b"GNU.sparse.") for key in found)


def check_pax_global(found: dict[bytes, bytes]) -> None:
    """Accept a global header that only remarks, as `git archive` writes it.

    Raises:
        UnsafeArchive: It would change the members after it.
    """
    if found.keys() & _CHANGES_A_MEMBER or is_sparse(found):
        raise UnsafeArchive("a global PAX header in it changes names or sizes")


def pax_size(found: dict[bytes, bytes], size_in_block: int) -> int | None:
    """Return the member's size; None when header block and record contradict each other.

    Writers leave 0 in the block when the number does not fit there. If readers chose
    differently between the two, one saw members that the other did not (CVE-2025-62518).
    """
    text = found.get(b"size")
    if text is None:
        return size_in_block
    size = int(text) if _PAX_SIZE.fullmatch(text) else -1
    fits_not = size_in_block == 0 and _MOST_IN_BLOCK < size <= MOST_SIZE
    return size if size == size_in_block or fits_not else None


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
            LimitExceeded: There are too many.
        """
        self._entries += 1
        if self._entries > self._limits.entries:
            raise LimitExceeded(f"it has more than {self._limits.entries} entries")

    def only_folder(self) -> str | None:
        """Return the name of the one folder that everything lies in, if there is one."""
        found = [name for name, folder in self._root.inside.values() if folder is not None]
        return found[0] if len(found) == len(self._root.inside) == 1 else None

    def _check_limits(self, path: str, depth: int) -> None:
        self._bytes += len(path.encode())
        if self._bytes > self._limits.names_bytes:
            raise LimitExceeded(f"its names take more than {self._limits.names_bytes} bytes")
        if depth > self._limits.depth:
            raise LimitExceeded(
                f"its member {shown(path)} lies more than {self._limits.depth} folders deep"
            )

    def _folder(self, parent: _Folder, part: str, path: str) -> _Folder:
        known = parent.inside.get(_key(part))
        if known is None:
            self.count()
            self._folders += 1
            if self._folders > self._limits.folders:
                raise LimitExceeded(f"it has more than {self._limits.folders} folders")
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


_FILE, _FOLDER = b"0", b"5"
_PAX, _PAX_GLOBAL, _LONG_NAME, _LONG_LINK = b"x", b"g", b"L", b"K"
_MOST_BYTES = {
    _PAX: MOST_PAX_BYTES,
    _PAX_GLOBAL: MOST_PAX_BYTES,
    _LONG_NAME: MAX_PATH_BYTES + 1,  # it ends with a NUL
    _LONG_LINK: MAX_PATH_BYTES + 1,
}
_REFUSED = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a character device",
    b"4": "a block device",
    b"6": "a FIFO",
    b"S": "a sparse file",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A member as its headers describe it.

    Attributes:
        path: Where it belongs, below the folder that is unpacked to; empty for that itself.
        is_folder: A folder, or a regular file.
        size: How many bytes of data it has.
    """

    path: str
    is_folder: bool
    size: int


class Members:
    """The members of a tar in its order; between two of them `data` gives the former's bytes.

    Attributes:
        place: Where reading stands, to be put after what is wrong there.
    """

    def __init__(self, plain: Compressed, limits: Limits) -> None:
        self._plain, self._limits = plain, limits
        self._names = Names(limits)
        self._left = self._padding = self._total = 0
        self._before = ""
        self.place = ""

    def __iter__(self) -> Iterator[Entry]:
        """Yield each member; when it ends, the archive was read to its last byte.

        Raises:
            BadArchive: The archive is refused, whatever came before.
        """
        while entry := self._next():
            self._before = f" its member {shown(entry.path)}"
            self.place = f", in{self._before}"
            yield entry
            for _ in self.data():
                pass
            self._take(self._padding)

    def data(self) -> Iterator[memoryview]:
        """Yield the bytes of the current member that were not taken yet.

        Raises:
            BadArchive: They are not all there.
        """
        while self._left:
            chunk = self._plain.some(min(self._left, READ_BYTES))
            if not chunk:
                raise BadArchive("it is cut short")
            self._left -= len(chunk)
            yield chunk

    def only_folder(self) -> str | None:
        """Return the name of the one folder that everything so far lies in, if there is one."""
        return self._names.only_folder()

    def _next(self) -> Entry | None:
        self.place = f", after{self._before}" if self._before else ""
        header, extended = self._headers()
        if header is None:
            self._check_end()
            self.place = ""
            return None
        self.place = ""  # what is wrong from here on names the member
        found = pax_records(extended.get(_PAX, b""))
        name = _name(header, extended.get(_LONG_NAME), found.get(b"path"))
        entry = _entry(header, name, found)
        self._names.add(entry.path, is_folder=entry.is_folder)
        self._total += entry.size
        if self._limits.total_bytes is not None and self._total > self._limits.total_bytes:
            raise LimitExceeded(
                f"with {shown(name)} its files have more than {self._limits.total_bytes} bytes"
            )
        self._left, self._padding = entry.size, -entry.size % BLOCK_BYTES
        return entry

    def _headers(self) -> tuple[Header | None, dict[bytes, bytes]]:
        """Return the next member's header block, None at the end, and what came before it."""
        extended: dict[bytes, bytes] = {}
        while (header := self._header()) and header.kind in _MOST_BYTES:
            content = self._content(header)
            if header.kind == _PAX_GLOBAL and not extended:
                self._names.count()
                check_pax_global(pax_records(content))
                continue
            if header.kind in extended or header.kind == _PAX_GLOBAL:
                raise BadArchive("headers in it that describe a member contradict each other")
            extended[header.kind] = content
        if header is None and extended:
            raise BadArchive("a header in it describes a member that does not come")
        return header, extended

    def _header(self) -> Header | None:
        block = self._block()
        return None if block == ZEROS else parse_header(block)

    def _content(self, header: Header) -> bytes:
        if header.size > _MOST_BYTES[header.kind]:
            raise BadArchive(f"a header in it describes a member with {header.size} bytes")
        content = self._take(header.size)
        self._take(-header.size % BLOCK_BYTES)
        return content

    def _block(self) -> bytes:
        block = self._plain.up_to(BLOCK_BYTES)
        if len(block) < BLOCK_BYTES:
            raise BadArchive("it is cut short: the two zero blocks that end a tar are missing")
        return block

    def _take(self, count_bytes: int) -> bytes:
        taken = self._plain.up_to(count_bytes)
        if len(taken) < count_bytes:
            raise BadArchive("it is cut short")
        return taken

    def _check_end(self) -> None:
        """Accept a second zero block, and then nothing but zeros to the last byte."""
        if self._block() != ZEROS:
            raise BadArchive("a lone zero block stands where a tar ends with two")
        while rest := self._plain.some(READ_BYTES):
            if bytes(rest).strip(b"\0"):
                raise BadArchive("more data follows after the end of its tar")


def _name(header: Header, long_name: bytes | None, pax_path: bytes | None) -> bytes:
    """Return the member's name from the one place that tells it."""
    if pax_path is not None and long_name is not None:
        raise BadArchive(f"its member {shown(header.name)} is named twice")
    if pax_path is not None:
        return pax_path
    if long_name is None:
        return header.name
    name, _, rest = long_name.partition(b"\0")
    if rest.strip(b"\0"):
        raise BadArchive(f"the long name of its member {shown(name)} goes on after its end")
    return name


def _entry(header: Header, name: bytes, found: dict[bytes, bytes]) -> Entry:
    kind = "a sparse file" if is_sparse(found) else _REFUSED.get(header.kind)
    if kind is None and header.kind not in (_FILE, _FOLDER):
        kind = f"of the unknown type {header.kind!a}"
    if kind:
        raise UnsafeArchive(f"its member {shown(name)} is {kind}, not a plain file or folder")
    size = pax_size(found, header.size)
    is_folder = header.kind == _FOLDER
    if size is None or (is_folder and size):
        raise BadArchive(f"the headers of its member {shown(name)} contradict each other in size")
    return Entry(path=path_of(name, is_folder=is_folder), is_folder=is_folder, size=size)
