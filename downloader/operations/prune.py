"""Find and remove what nobody needs: of a store, and of the projects that share it.

A blob is needed as long as the models.lock of any remembered project names it, whether the target
is there or not. If one project is out of sight, no blob is removed: nobody can tell what it needs.

Stale temporary files of earlier runs are found in the store and in the private folder of each
model, `.modelmake`; no symlink in them is followed. What a run may be using stays: a partial is
removed only under its lock, a folder of a living process not at all, and what nothing guards only
if it was not written to for an hour.
"""

import contextlib
import os
import re
import stat
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from downloader.artifact import LockedModel
from downloader.errors import ModelmakeError, StoreError
from downloader.fs.commit import QUARANTINE
from downloader.fs.files import PRIVATE_FOLDER, naming
from downloader.fs.locks import (
    PARTIALS,
    is_alive,
    is_held,
    machine,
    partial_name,
    remove_unless_held,
)
from downloader.fs.rooted_path import RootedPath
from downloader.project.project import Project
from downloader.store.blobs import Store, store_at
from downloader.store.claims import GROWING, noted_path
from downloader.store.projects import Known, Projects
from downloader.targets.shared import PROJECTS, known_as, lock_of

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


@dataclass(slots=True)
class Prunable:
    """What a look at all of it gave.

    Attributes:
        waste: What may go.
        forgotten: Projects that are there no more.
        hindrances: Why no blob may go, where that is so.
    """

    waste: list[Waste] = field(default_factory=list)
    forgotten: list[Known] = field(default_factory=list)
    hindrances: list[ModelmakeError] = field(default_factory=list)


class Pruner:
    """Prunes one store, and what the projects that share it keep beside their models.

    Args:
        project: The project this is run in; it counts, remembered or not.
        ages: What is old.
        notice: Takes lines for the user.

    Raises:
        StoreError: The store cannot be used.
    """

    def __init__(self, project: Project, ages: Ages, notice: Callable[[str], None]) -> None:
        self._own = known_as(project)
        self._ages, self._notice = ages, notice
        self._store: Store | None = store_at(project.settings.store)
        self._wanted: dict[str, Wanted | None] = {}

    def find(self) -> Prunable:
        """Return what may go; nothing is changed.

        Raises:
            StoreError: The store cannot be listed.
        """
        found = Prunable()
        digests = list(self._store.digests()) if self._store else []  # before the locks are read
        roots = list(self._store.roots()) if self._store else []
        needed = set[str]()
        for project in self._projects(found):
            needed |= self._needed(project, found)
        for folder, wanted in self._wanted.items():
            found.waste += of_model(Path(folder), wanted, self._ages)
        if self._store:
            if not found.hindrances:
                found.waste[:0] = _unneeded(self._store, digests, needed)
                found.waste += _unneeded_layers(self._store, roots, needed)
            found.waste += of_store(self._store.root, self._ages)
        return found

    def remove(self, found: Prunable) -> Iterator[Waste]:
        """Remove what was found, and yield what is gone; what the disk refuses is a hindrance."""
        for each in found.waste:
            try:
                if each.remove():
                    yield each
            except StoreError as error:
                found.hindrances.append(error)
        if self._store:
            try:
                for project in found.forgotten:
                    Projects(RootedPath(self._store.root, PROJECTS)).forget(project)
                self._store.forget_all_but(set(self._store.digests()))
            except StoreError as error:
                found.hindrances.append(error)

    def _projects(self, found: Prunable) -> Iterator[Known]:
        """Yield this project, and those that are remembered and there."""
        yield self._own
        if self._store is None:
            return
        remembered, unreadable = Projects(RootedPath(self._store.root, PROJECTS)).look()
        found.hindrances += unreadable
        for project in remembered:
            if project.lock == self._own.lock:
                self._add(dict.fromkeys(project.former, NOTHING))
                continue
            try:
                is_gone = project.is_gone
            except StoreError as error:
                found.hindrances.append(self._out_of_sight(project, error))
                continue
            if is_gone:
                found.forgotten.append(project)
            else:
                yield project

    def _needed(self, project: Known, found: Prunable) -> set[str]:
        """Return digests and roots that a project's lock names; note what its folders may hold."""
        self._add(dict.fromkeys(project.former, NOTHING))
        try:
            if project.has_no_lock:
                self._add(dict.fromkeys(project.folders.values(), NOTHING))
                if project is not self._own:
                    self._notice(f"{project.lock} is not there: nothing is kept for that project.")
                return set()
            models = lock_of(project).models
        except ModelmakeError as error:
            self._add(dict.fromkeys(project.folders.values()))
            found.hindrances.append(self._out_of_sight(project, error))
            return set()
        self._add({at: _wanted(models.get(name)) for name, at in project.folders.items()})
        artifacts = [a for model in models.values() for a in (*model.files, *model.archives)]
        return {name for each in artifacts for name in (each.sha256, each.root) if name}

    def _add(self, folders: dict[str, Wanted | None]) -> None:
        """Note folders; several models, and several projects, may share one."""
        for folder, wanted in folders.items():
            key = os.path.realpath(folder)
            before = self._wanted.get(key, NOTHING)
            self._wanted[key] = before | wanted if before and wanted else None

    def _out_of_sight(self, project: Known, error: ModelmakeError) -> StoreError:
        told = f"No blob is removed: nobody can tell which ones {project.lock} names. {error}"
        if project is self._own or self._store is None:
            return StoreError(told, hint=error.hint)
        note = Projects(RootedPath(self._store.root, PROJECTS)).file(project)
        return StoreError(told, hint=f"Where that project is gone for good, remove {note}.")


NOTHING = Wanted(frozenset(), frozenset())


def _wanted(model: LockedModel | None) -> Wanted | None:
    """Return what of a model is wanted; None where its lock does not name it (so)."""
    if model is None:
        return None
    files = (*model.files, *model.archives)
    return Wanted(
        frozenset(partial_name(each.path) for each in files),
        frozenset(each.path for each in model.archives),
    )


def _unneeded(store: Store, digests: list[str], needed: set[str]) -> Iterator[Waste]:
    for sha256 in digests:
        if sha256 not in needed:
            path = store.path(sha256)
            frees = freed_bytes(path)
            also = "" if frees else "; it frees nothing, since a target is the same file"
            why = f"no models.lock names it{also}"
            yield Waste(kind=BLOB, path=path, frees_bytes=frees, why=why)


def _unneeded_layers(store: Store, roots: list[str], needed: set[str]) -> Iterator[Waste]:
    for path in [store.layer_path(root) for root in roots if root not in needed]:
        why = "pieces of a file that no models.lock names"
        yield Waste(kind=LEFTOVER, path=path, frees_bytes=freed_bytes(path), why=why)
