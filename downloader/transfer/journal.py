r"""The record beside a partial: what it is part of, and which of its ranges are on disk.

    {"version":1,"binding":{"path":…,"place":…,"size":…,"sha256":…,"validator":…}}\n
    [[0,33554432]]\n
    [[0,67108864]]\n

The first line says what the bytes belong to; each later line is the whole list of ranges that
were synced to disk when it was written, and the last whole line counts. A kill tears at most the
last line, and a torn line is not believed; so nothing here needs a sync of its own.
Rejected: a fixed-size bitmap (aria2) - it must be written in place and can tear anywhere.
"""

import json
from collections.abc import Sequence

import msgspec

from downloader.transfer.ranges import Range, merge

VERSION = 1


class Binding(msgspec.Struct, frozen=True, kw_only=True):
    """What a partial's bytes belong to; another binding makes them worthless."""

    path: str
    """The artifact's path."""
    place: str
    """SHA-256 of the canonical URL: it may hold a query that must not be written down."""
    size: int | None
    sha256: str | None
    validator: str | None
    """The server's strong ETag, exactly as received."""

    def admits(self, found: "Binding") -> bool:
        """Whether bytes that a journal binds to `found` are of the file that is wanted now."""
        sizes = {found.size, self.size} - {None}
        same_file = (found.path, found.place, found.sha256) == (self.path, self.place, self.sha256)
        return found.can_resume and same_file and len(sizes) <= 1

    @property
    def can_resume(self) -> bool:
        """Whether bytes fetched later can be told to be of the same file."""
        return self.validator is not None or self.sha256 is not None


class _Head(msgspec.Struct, frozen=True, kw_only=True):
    version: int
    binding: Binding


def dump_head(binding: Binding) -> bytes:
    """Return the journal's first line."""
    return msgspec.json.encode(_Head(version=VERSION, binding=binding)) + b"\n"


def dump_ranges(ranges: Sequence[Range]) -> bytes:
    """Return one line of ranges."""
    return json.dumps([list(each) for each in ranges], separators=(",", ":")).encode() + b"\n"


def load(text: bytes) -> tuple[Binding, list[Range]] | None:
    """Read a journal.

    Returns:
        Its binding and the ranges of its last whole line; None when its head is torn, foreign or
        of another version.
    """
    head, *lines = text.split(b"\n")
    try:
        parsed = msgspec.json.decode(head, type=_Head)
    except msgspec.DecodeError:
        return None
    if parsed.version != VERSION or not lines:
        return None
    return parsed.binding, _last_ranges(lines[:-1])  # what follows the last line end is torn


def _last_ranges(lines: Sequence[bytes]) -> list[Range]:
    for line in reversed(lines):
        try:
            pairs = msgspec.json.decode(line, type=list[tuple[int, int]])
        except msgspec.DecodeError:
            continue
        if all(0 <= start < stop for start, stop in pairs):
            return merge(Range(*pair) for pair in pairs)
    return []
