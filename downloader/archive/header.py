"""One header block of a tar: 512 bytes that describe a member. Pure.

The fields are those of POSIX.1-1988 (ustar) with GNU's numbers, as the manual of GNU tar ("Basic
Tar Format") and tar(5) of FreeBSD give them. Owner, mode and times are not looked at: nothing of
them is taken over.
"""

import re
from dataclasses import dataclass

from downloader.errors import BadArchive

BLOCK_BYTES = 512
ZEROS = bytes(BLOCK_BYTES)
MOST_SIZE = (1 << 63) - 1

_NAME, _SIZE, _SUM = slice(0, 100), slice(124, 136), slice(148, 156)
_TYPE, _MAGIC, _PREFIX = slice(156, 157), slice(257, 263), slice(345, 500)
_POSIX, _GNU, _OLD = b"ustar\0", b"ustar ", bytes(6)
_OCTAL = re.compile(rb" *([0-7]+)[ \0]*")
_BINARY = 0x80


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a header block says.

    Attributes:
        name: The member's name, as its bytes.
        size: How many bytes of data follow.
        kind: The type flag; the NUL of tars before POSIX is given as b"0".
    """

    name: bytes
    size: int
    kind: bytes


def parse(block: bytes) -> Header:
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
    return Header(name=name, size=_number(block[_SIZE]), kind=kind)


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
