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
import stat
from collections.abc import Sequence

import msgspec

from downloader.artifact import Artifact, Size, is_digest, is_etag, is_safe
from downloader.fs.files import write_file
from downloader.fs.rooted_path import APPEND, REPLACE, RootedPath
from downloader.network.ranges import Range, merge
from downloader.urls import Location

VERSION = 1


class Binding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a partial's bytes belong to; another binding makes them worthless."""

    path: str
    """The artifact's path."""
    place: str
    """SHA-256 of the canonical URL: it may hold a query that must not be written down."""
    size: Size | None
    sha256: str | None
    validator: str | None
    """The server's strong ETag, exactly as received."""
    git_sha1: str | None = None
    """What else is known of the bytes before their SHA-256 is."""

    def admits(self, found: "Binding", *, anywhere: bool = False) -> bool:
        """Whether bytes that a journal binds to `found` are of the file that is wanted now.

        Args:
            found: What the journal says.
            anywhere: They may have come from another place too: each piece is checked, or the
                places are copies of one file by its SHA-256.
        """
        sizes = {found.size, self.size} - {None}
        same_file = found.identity == self.identity
        same_place = anywhere or found.place == self.place
        return found.can_resume and same_file and same_place and len(sizes) <= 1

    @property
    def identity(self) -> tuple[str, str | None, str | None]:
        """Which file it is, as far as is known before it arrives."""
        return self.path, self.sha256, self.git_sha1

    @property
    def can_resume(self) -> bool:
        """Whether a later run can know that its bytes are of the same file."""
        return self.validator is not None or self.sha256 is not None


class _Head(msgspec.Struct, frozen=True, kw_only=True):
    version: int
    binding: Binding


def binding_for(artifact: Artifact, location: Location | None) -> Binding:
    """Return what a partial's bytes belong to when they come from this location.

    It is None if they may come from anywhere.
    """
    return Binding(
        path=artifact.path,
        place=location.place if location else "",
        size=artifact.size,
        sha256=artifact.sha256,
        validator=None,
        git_sha1=None if artifact.is_pinned else artifact.git_sha1,
    )


class Journal:
    """A journal on disk.

    Only who holds its partial reads or writes it.

    Args:
        path: Where it is, or will be.

    Attributes:
        is_there: Whether it may be on the disk.
    """

    def __init__(self, path: RootedPath) -> None:
        self.path = path
        self.is_there, self._is_torn = True, False

    def read(self) -> tuple[Binding, list[Range]] | None:
        """Return what it says; None if it says nothing.

        Raises:
            StoreError: The disk refused.
        """
        status = self.path.status()
        if status is None:
            self.is_there = False
        if status is None or not stat.S_ISREG(status.st_mode):
            return None
        text = self.path.read_bytes()
        self._is_torn = not text.endswith(b"\n")
        return load(text)

    def take_over(
        self, wanted: Binding, length: int, *, anywhere: bool
    ) -> tuple[Binding, list[Range]] | None:
        """Return what a partial may resume from, and let the journal say that and no more.

        Args:
            wanted: What the bytes are to belong to.
            length: How many bytes the partial has on the disk.
            anywhere: As in `Binding.admits`.

        Returns:
            What they belong to and which they are; None if none are confirmed.

        Raises:
            StoreError: The disk refused.
        """
        found = self.read()
        ranges = vouched(found, wanted, length, anywhere=anywhere)
        if found is None or not ranges:
            return None
        taken = found[0] if wanted.admits(found[0]) else wanted, ranges
        if taken != found:
            self.replace(*taken)  # no later tear may bring its lines back
        return taken

    def note(self, binding: Binding, ranges: Sequence[Range]) -> None:
        """Add a line; the first one is preceded by the binding.

        Raises:
            StoreError: The disk refused. The next line then begins on a line of its own.
        """
        is_new = not self.path.is_file()
        head = dump_head(binding) if is_new else b"\n" * self._is_torn
        self.is_there = self._is_torn = True
        with self.path.open(REPLACE if is_new else APPEND) as file:
            file.append(head + dump_ranges(ranges))
        self._is_torn = False

    def replace(self, binding: Binding, ranges: Sequence[Range]) -> None:
        """Let it say this and nothing from before, in one step.

        Raises:
            StoreError: The disk refused; it says what it said.
        """
        self.is_there = True
        write_file(self.path, dump_head(binding) + dump_ranges(ranges))
        self._is_torn = False

    def remove(self) -> None:
        """Remove it; one that comes later under its name is never taken for it after a power cut.

        Raises:
            StoreError: The disk refused.
        """
        self._is_torn = False
        if not self.is_there:
            return
        self.path.remove(missing_ok=True)
        self.path.parent.sync_folder(self.path)
        self.is_there = False


def dump_head(binding: Binding) -> bytes:
    """Return the journal's first line."""
    return msgspec.json.encode(_Head(version=VERSION, binding=binding)) + b"\n"


def dump_ranges(ranges: Sequence[Range]) -> bytes:
    """Return one line of ranges."""
    return json.dumps([list(span) for span in ranges], separators=(",", ":")).encode() + b"\n"


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
    if parsed.version != VERSION or not lines or not _may_be_ours(parsed.binding):
        return None
    return parsed.binding, _last_ranges(lines[:-1])  # what follows the last line end is torn


def _may_be_ours(binding: Binding) -> bool:
    """Whether a binding is one that we may have written: its validator goes into a header."""
    return (
        is_safe(binding.path)
        and is_digest(binding.place)
        and (binding.sha256 is None or is_digest(binding.sha256))
        and (binding.validator is None or is_etag(binding.validator))
    )


def vouched(
    found: tuple[Binding, list[Range]] | None,
    wanted: Binding,
    length: int,
    *,
    anywhere: bool = False,
) -> list[Range]:
    """Return which ranges of a partial may be taken over; none if it belongs to something else.

    Args:
        found: What its journal says.
        wanted: What the bytes are to belong to.
        length: How many bytes the partial has on the disk.
        anywhere: As in `Binding.admits`.
    """
    if found is None or not wanted.admits(found[0], anywhere=anywhere):
        return []
    size = wanted.size if wanted.size is not None else found[0].size
    if size is not None and any(stop > size for _, stop in found[1]):
        return []  # it lies, or a server sent more than it may
    return [Range(start, min(stop, length)) for start, stop in found[1] if start < length]


def _last_ranges(lines: Sequence[bytes]) -> list[Range]:
    for line in reversed(lines):
        try:
            pairs = msgspec.json.decode(line, type=list[tuple[int, int]])
        except msgspec.DecodeError:
            continue
        if all(0 <= start < stop for start, stop in pairs):
            return merge(Range(*pair) for pair in pairs)
    return []
