"""What killed and finished runs left in places of our own, and nobody needs: found, removed safely.

Looked at are the store and the private folder of each model, `.modelmake`; no symlink in them is
followed. What a run may be using stays: a partial is removed only under its lock, a folder of a
living process not at all, and what nothing guards only when it was not written to for an hour.
"""

import contextlib
import os
import re
import stat
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from downloader.disk.durable import naming
from downloader.disk.private_folder import PRIVATE_FOLDER
from downloader.disk.quarantine import FOLDER as QUARANTINE
from downloader.fs.rooted_path import RootedPath
from downloader.store.claims import GROWING, noted_path
from downloader.transfer.locked_file import PARTIALS, is_alive, is_held, machine, remove_unless_held

BLOB, PARTIAL, QUARANTINED, LEFTOVER = "blob", "partial", "quarantined file", "leftover"
KINDS = (BLOB, PARTIAL, QUARANTINED, LEFTOVER)
SETTLED_SECONDS = 3600.0
"""How long ago a file was written to that no run is at work on, where no lock tells."""
DAY_SECONDS = 86_400.0

UNFINISHED = re.compile(r"\..+\.new")
OWNED = re.compile(r"(?:.*-)?(?P<machine>[0-9a-f]{6})-(?P<process>\d+)-[0-9a-f]+(?:\.part)?")
"""A name that says whose it is: which process of which machine."""
OWNERS_FOLDERS = ("linking", "unpacking")
KILLED = "left by a killed run"


@dataclass(frozen=True, slots=True, kw_only=True)
class Waste:
    """One file or folder that may go.

    Attributes:
        kind: One of KINDS.
        path: Where it is.
        frees_bytes: What the disk gets back.
        why: Why it may go, a few words.
    """

    kind: str
    path: RootedPath
    frees_bytes: int
    why: str

    def remove(self) -> bool:
        """Remove it, and return whether it is gone; False where a run has it now.

        Raises:
            StoreError: The disk refused.
        """
        with naming(self.path, "remove"):
            if self.kind == PARTIAL:
                return remove_unless_held(self.path)
            with contextlib.suppress(FileNotFoundError):  # a run put it in place, or removed it
                if stat.S_ISDIR(self.path.lstat().st_mode):
                    self.path.remove_tree(ignore_errors=False)
                else:
                    self.path.remove()
            return True


class Entry(NamedTuple):
    """What stands in a folder, as it was listed."""

    listed: os.DirEntry[str]
    path: RootedPath

    @property
    def name(self) -> str:
        """Its name in the folder."""
        return self.path.name


@dataclass(frozen=True, slots=True)
class Ages:
    """What is old: partials and quarantined files after `longest_seconds`, by the clock `now`."""

    now: float
    longest_seconds: float

    def of_old(self, entry: Entry) -> str:
        """Return how old a file is in words, empty when it is not old."""
        seconds = self._seconds(entry)
        return f"{seconds / DAY_SECONDS:.0f} days old" if seconds >= self.longest_seconds else ""

    def is_settled(self, entry: Entry) -> bool:
        """Whether a file was not written to for an hour."""
        return self._seconds(entry) >= SETTLED_SECONDS

    def _seconds(self, entry: Entry) -> float:
        """Return for how long a file was not written to; none for one that a run just took away."""
        try:
            return self.now - entry.listed.stat(follow_symlinks=False).st_mtime
        except FileNotFoundError:
            return 0.0


class Own:
    """A folder and what is below it, as far as no symlink leads there.

    Args:
        base: The folder; it itself may be reached by a symlink.
    """

    def __init__(self, base: Path) -> None:
        self._base = RootedPath(base)

    def at(self, *parts: str) -> RootedPath:
        """Return a place below the base."""
        return self._base / "/".join(parts) if parts else self._base

    def entries(self, *parts: str) -> list[Entry]:
        """Return what is in a folder below the base; nothing where it cannot be read."""
        folder = self.at(*parts)
        if any(map(os.path.islink, (folder, *folder.above()))):  # no error where one may not look
            return []
        try:
            found = sorted(os.scandir(folder), key=lambda each: each.name)
        except OSError:
            return []
        return [Entry(each, folder / each.name) for each in found]

    def files(self, *parts: str) -> list[Entry]:
        """Return the files in a folder."""
        return [each for each in self.entries(*parts) if each.listed.is_file(follow_symlinks=False)]

    def folders(self, *parts: str) -> list[str]:
        """Return the names of the folders in a folder."""
        found = self.entries(*parts)
        return [each.name for each in found if each.listed.is_dir(follow_symlinks=False)]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What of a model's private folder somebody may go on with.

    Attributes:
        partials: Their names.
        archives: The paths of archives that may have to be unpacked.
    """

    partials: frozenset[str]
    archives: frozenset[str]

    def __or__(self, other: "Wanted") -> "Wanted":
        return Wanted(self.partials | other.partials, self.archives | other.archives)


def of_model(folder: Path, wanted: Wanted | None, ages: Ages) -> Iterator[Waste]:
    """Yield what may go of a model's private folder.

    Args:
        folder: The model's.
        wanted: What may not before it is old; None where nobody can tell.
        ages: What is old.
    """
    own, private = Own(folder), PRIVATE_FOLDER
    yield from _unfinished(own, ages, private)
    yield from _partials(own.files(private, PARTIALS), wanted, ages)
    yield from _quarantined(own.entries(private, QUARANTINE), ages)
    for name in OWNERS_FOLDERS:
        yield from _abandoned(own.entries(private, name), ages)
        yield from _unfinished(own, ages, private, name)
    if wanted is not None:
        yield from _archives(own, wanted.archives, ages)


def of_store(root: Path, ages: Ages) -> Iterator[Waste]:
    """Yield what may go of a store, but for blobs."""
    own = Own(root)
    blobs = [("sha256", each) for each in own.folders("sha256")]
    for parts in ((), ("projects",), ("pieces",), *blobs):
        yield from _unfinished(own, ages, *parts)
    yield from _quarantined(own.entries(QUARANTINE), ages)
    for each in own.files(GROWING):
        if ages.is_settled(each) and not _is_growing(each):
            yield _waste(LEFTOVER, each, KILLED)


def _partials(found: Iterable[Entry], wanted: Wanted | None, ages: Ages) -> Iterator[Waste]:
    for each in found:
        path = each.path
        if path.suffix == ".part":
            if (why := _why_partial(each, wanted, ages)) and not is_held(path):
                yield _waste(PARTIAL, each, why)
        elif ages.is_settled(each) and not os.path.lexists(path.with_suffix(".part")):
            yield _waste(LEFTOVER, each, KILLED)


def _why_partial(each: Entry, wanted: Wanted | None, ages: Ages) -> str:
    """Return why a partial may go; empty where it may not."""
    owner = OWNED.fullmatch(each.name)
    if owner and _is_alive(owner):
        return ""
    if wanted is not None and each.name not in wanted.partials and not owner:
        return "of no file that models.lock names"
    return ages.of_old(each)


def _quarantined(found: Iterable[Entry], ages: Ages) -> Iterator[Waste]:
    for each in found:
        if not each.listed.is_dir(follow_symlinks=False) and (why := ages.of_old(each)):
            yield _waste(QUARANTINED, each, why)


def _unfinished(own: Own, ages: Ages, *parts: str) -> Iterator[Waste]:
    for each in own.files(*parts):
        if UNFINISHED.fullmatch(each.name) and ages.is_settled(each):
            yield _waste(LEFTOVER, each, KILLED)


def _abandoned(found: Iterable[Entry], ages: Ages) -> Iterator[Waste]:
    """Yield what processes linked or unpacked that are gone."""
    for each in found:
        owner = OWNED.fullmatch(each.name)
        if owner is None or _is_alive(owner):
            continue
        if owner["machine"] == machine() or ages.of_old(each):
            yield _waste(LEFTOVER, each, KILLED)


def _is_alive(owner: re.Match[str]) -> bool:
    """Whether a name says that it is of a process of this machine that lives."""
    return owner["machine"] == machine() and is_alive(int(owner["process"]))


def _archives(own: Own, wanted: Collection[str], ages: Ages) -> Iterator[Waste]:
    """Yield archives of entries that are no more, wherever their paths put them."""
    base = (PRIVATE_FOLDER, "archives")
    waiting: list[tuple[str, ...]] = [()]
    while waiting:
        parts = waiting.pop()
        waiting += [(*parts, each) for each in own.folders(*base, *parts)]
        for each in own.files(*base, *parts):
            if "/".join((*parts, each.name)) not in wanted and ages.is_settled(each):
                yield _waste(LEFTOVER, each, "an archive that models.lock does not name")


def _waste(kind: str, entry: Entry, why: str) -> Waste:
    below = entry.path.path.rglob("*") if entry.listed.is_dir(follow_symlinks=False) else ()
    parts = [entry.path.path, *below]
    return Waste(kind=kind, path=entry.path, frees_bytes=sum(map(freed_bytes, parts)), why=why)


def freed_bytes(path: Path | RootedPath) -> int:
    """Return what removing a file gives back: nothing where it has another name too."""
    try:
        status = os.lstat(path)
    except OSError:
        return 0
    return status.st_size if stat.S_ISREG(status.st_mode) and status.st_nlink == 1 else 0


def _is_growing(note: Entry) -> bool:
    """Whether a run has the partial that a note names."""
    try:
        partial = noted_path(note.path.read_bytes())
    except OSError:
        return False
    return partial is not None and is_held(partial)
