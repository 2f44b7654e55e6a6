"""A tar as its members, one after the other: files and folders, nothing else.

What comes before a member and belongs to it is understood as GNU tar, bsdtar and Python write it:
a PAX header (`x`), a long name of GNU (`L`). Everything that readers are known to take for
different things is refused: a name told twice, two sizes, data in a folder, a tar after the tar.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from downloader.archive import pax
from downloader.archive.compressed import READ_BYTES, Compressed
from downloader.archive.header import BLOCK_BYTES, ZEROS, Header, parse
from downloader.archive.limits import Limits, UnsafeArchive
from downloader.archive.names import Names, path_of, shown
from downloader.errors import BadArchive
from downloader.safe_path import MAX_PATH_BYTES

_FILE, _FOLDER = b"0", b"5"
_PAX, _PAX_GLOBAL, _LONG_NAME, _LONG_LINK = b"x", b"g", b"L", b"K"
_MOST_BYTES = {
    _PAX: pax.MOST_BYTES,
    _PAX_GLOBAL: pax.MOST_BYTES,
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
        found = pax.records(extended.get(_PAX, b""))
        name = _name(header, extended.get(_LONG_NAME), found.get(b"path"))
        entry = _entry(header, name, found)
        self._names.add(entry.path, is_folder=entry.is_folder)
        self._total += entry.size
        if self._limits.total_bytes is not None and self._total > self._limits.total_bytes:
            raise UnsafeArchive(
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
                pax.check_global(pax.records(content))
                continue
            if header.kind in extended or header.kind == _PAX_GLOBAL:
                raise BadArchive("headers in it that describe a member contradict each other")
            extended[header.kind] = content
        if header is None and extended:
            raise BadArchive("a header in it describes a member that does not come")
        return header, extended

    def _header(self) -> Header | None:
        block = self._block()
        return None if block == ZEROS else parse(block)

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
    kind = "a sparse file" if pax.is_sparse(found) else _REFUSED.get(header.kind)
    if kind is None and header.kind not in (_FILE, _FOLDER):
        kind = f"of the unknown type {header.kind!a}"
    if kind:
        raise UnsafeArchive(f"its member {shown(name)} is {kind}, not a plain file or folder")
    size = pax.size_of(found, header.size)
    is_folder = header.kind == _FOLDER
    if size is None or (is_folder and size):
        raise BadArchive(f"the headers of its member {shown(name)} contradict each other in size")
    return Entry(path=path_of(name, is_folder=is_folder), is_folder=is_folder, size=size)
