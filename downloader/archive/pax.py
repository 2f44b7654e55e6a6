"""The records of a PAX header: what a member's header block has no room for. Pure.

POSIX.1-2001, "pax Extended Header": each is `LENGTH KEY=VALUE` and a line feed, the length being
that of the whole record in decimal.
"""

import re

from downloader.archive.header import MOST_SIZE
from downloader.archive.limits import UnsafeArchive
from downloader.errors import BadArchive

MOST_BYTES = 1 << 20

_LENGTH = re.compile(rb"([0-9]{1,7}) ")
_SIZE = re.compile(rb"[0-9]{1,19}")
_MOST_IN_BLOCK = 0o77777777777
_CHANGES_A_MEMBER = {b"path", b"size", b"linkpath"}


def records(data: bytes) -> dict[bytes, bytes]:
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


def check_global(found: dict[bytes, bytes]) -> None:
    """Accept a global header that only remarks, as `git archive` writes it.

    Raises:
        UnsafeArchive: It would change the members after it.
    """
    if found.keys() & _CHANGES_A_MEMBER or is_sparse(found):
        raise UnsafeArchive("a global PAX header in it changes names or sizes")


def size_of(found: dict[bytes, bytes], size_in_block: int) -> int | None:
    """Return the member's size; None when header block and record contradict each other.

    Writers leave 0 in the block when the number does not fit there. Where readers chose
    differently between the two, one saw members that the other did not (CVE-2025-62518).
    """
    text = found.get(b"size")
    if text is None:
        return size_in_block
    size = int(text) if _SIZE.fullmatch(text) else -1
    fits_not = size_in_block == 0 and _MOST_IN_BLOCK < size <= MOST_SIZE
    return size if size == size_in_block or fits_not else None
