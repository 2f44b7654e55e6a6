"""Find and remove what nobody needs: of a store, and of the projects that share it.

A blob is needed as long as the models.lock of any remembered project names it, whether the target
is there or not; with `unused`, as long as any project has it in place. If one project is out of
sight, no blob is removed: nobody can tell what it needs.

Stale temporary files of earlier runs are found in the store and in the private folder of each
model, `.modelmake`; no symlink in them is followed. What a run may be using stays: a partial is
removed only under its lock, a folder of a living process not at all, and what nothing guards only
if nobody wrote to it for an hour.
"""

import contextlib
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from downloader.artifact import Artifact, LockedModel, bytes_text, counted
from downloader.errors import ModelmakeError, StoreError
from downloader.fs import scratch
from downloader.fs.files import PRIVATE_FOLDER, Private, look
from downloader.fs.locks import (
    is_held,
    partial_name,
    remove_unless_held,
)
from downloader.fs.rooted_path import RootedPath
from downloader.project.project import Project
from downloader.store.blobs import Store, store_at
from downloader.store.claims import GROWING, noted_path
from downloader.store.projects import KnownProject, Projects
from downloader.targets.shared import known_as, lock_of

BLOB, PARTIAL, QUARANTINED, LEFTOVER = "blob", "partial", "quarantined file", "leftover"
KINDS = (BLOB, PARTIAL, QUARANTINED, LEFTOVER)
SETTLED_SECONDS = 3600.0
"""Seconds without a write after which a file is unused, if no lock tells."""
DAY_SECONDS = 86_400.0

OWNERS_FOLDERS = (Private.LINKING, Private.UNPACKING)
KILLED = "left by a killed run"


@dataclass(frozen=True, slots=True, kw_only=True)
class Garbage:
    """One file or folder that nobody needs.

    Attributes:
        kind: One of KINDS.
        path: Where it is.
        frees_bytes: What the disk gets back.
        why: Why nobody needs it, a few words.
    """

    kind: str
    path: RootedPath
    frees_bytes: int
    why: str

    def remove(self) -> bool:
        """Remove it; return False if a run has it now.

        Raises:
            StoreError: The disk refused.
        """
        if self.kind == PARTIAL:
            return remove_unless_held(self.path)
        status = self.path.status()
        if status is None:
            return True  # a run put it in place, or removed it
        if stat.S_ISDIR(status.st_mode):
            self.path.remove_tree(ignore_errors=False)
        else:
            self.path.remove(missing_ok=True)
        return True


class Entry(NamedTuple):
    """A file or folder, as it was listed."""

    path: RootedPath
    listed: os.DirEntry[str]

    @property
    def is_file(self) -> bool:
        """Whether it is a regular file."""
        return self.listed.is_file(follow_symlinks=False)

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder, and no symlink to one."""
        return self.listed.is_dir(follow_symlinks=False)

    def garbage(self, kind: str, why: str) -> Garbage:
        """Return it as one that nobody needs."""
        below = self.path.path.rglob("*") if self.is_folder else ()
        freed = sum(map(freed_bytes, [self.path.path, *below]))
        return Garbage(kind=kind, path=self.path, frees_bytes=freed, why=why)


def listed(folder: RootedPath) -> list[Entry]:
    """Return what is in a folder; nothing if it cannot be read, or if a symlink leads there."""
    on_the_way = (folder, *folder.above()) if folder.parts else ()
    if any(map(os.path.islink, on_the_way)):  # no error where one may not look
        return []
    try:
        found = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return []
    return [Entry(folder / entry.name, entry) for entry in found]


def freed_bytes(path: Path | RootedPath) -> int:
    """Return what removing a file frees: nothing if it has another name too."""
    try:
        status = os.lstat(path)
    except OSError:
        return 0
    return status.st_size if stat.S_ISREG(status.st_mode) and status.st_nlink == 1 else 0


@dataclass(frozen=True, slots=True)
class Ages:
    """Age limit: partials and quarantined files after `longest_seconds`, by the clock `now`."""

    now: float
    longest_seconds: float

    @classmethod
    def of_days(cls, days: float) -> "Ages":
        """Return that what is so many days old by now is old."""
        return cls(time.time(), days * DAY_SECONDS)

    def of_old(self, entry: Entry) -> str:
        """Return how old a file is in words, empty if it is not old."""
        seconds = self._seconds(entry)
        return f"{seconds / DAY_SECONDS:.0f} days old" if seconds >= self.longest_seconds else ""

    def is_settled(self, entry: Entry) -> bool:
        """Whether nobody wrote to a file for an hour."""
        return self._seconds(entry) >= SETTLED_SECONDS

    def _seconds(self, entry: Entry) -> float:
        """Return the seconds since the last write; 0 for a file that a run just took away."""
        try:
            return self.now - entry.listed.stat(follow_symlinks=False).st_mtime
        except FileNotFoundError:
            return 0.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """The parts of a model's private folder that a run may resume with.

    Attributes:
        partials: Their names.
        archives: The paths of archives that may have to be unpacked.
    """

    partials: frozenset[str] = frozenset()
    archives: frozenset[str] = frozenset()

    @classmethod
    def by(cls, model: LockedModel | None) -> "Wanted | None":
        """Return what is wanted of a model; None if no lock names the model."""
        if model is None:
            return None
        files = (*model.files, *model.archives)
        partials = frozenset(partial_name(artifact.path) for artifact in files)
        return cls(partials, frozenset(archive.path for archive in model.archives))

    def __or__(self, other: "Wanted") -> "Wanted":
        return Wanted(self.partials | other.partials, self.archives | other.archives)


NOTHING = Wanted()


def of_model(folder: Path, wanted: Wanted | None, ages: Ages) -> Iterator[Garbage]:
    """Yield what nobody needs of a model's private folder.

    Args:
        folder: The model's.
        wanted: What stays until it is old; None if nobody can tell.
        ages: What is old.
    """
    private = RootedPath(folder, PRIVATE_FOLDER)
    yield from _unfinished(private, ages)
    for entry in filter(_is_file, listed(private / Private.PARTIALS)):
        if entry.path.suffix == ".part":
            if (why := _why_partial(entry, wanted, ages)) and not is_held(entry.path):
                yield entry.garbage(PARTIAL, why)
        elif ages.is_settled(entry) and not os.path.lexists(entry.path.with_suffix(".part")):
            yield entry.garbage(LEFTOVER, KILLED)
    yield from _quarantined(private, ages)
    for temporary in (private / name for name in OWNERS_FOLDERS):
        yield from _unfinished(temporary, ages)
        for entry in listed(temporary):
            owner = scratch.owner_of(entry.path.name)
            if owner is None or owner.is_alive or scratch.is_unfinished(entry.path.name):
                continue
            if owner.is_of_this_machine or ages.of_old(entry):
                yield entry.garbage(LEFTOVER, KILLED)
    if wanted is not None:
        yield from _archives(private / "archives", wanted, ages)


def of_store(root: Path, ages: Ages) -> Iterator[Garbage]:
    """Yield what nobody needs of a store, blobs excepted."""
    store = RootedPath(root)
    blobs = [entry.path for entry in listed(store / "sha256") if entry.is_folder]
    for folder in (store, store / "projects", store / "pieces", *blobs):
        yield from _unfinished(folder, ages)
    yield from _quarantined(store, ages)
    for note in filter(_is_file, listed(store / GROWING)):
        if ages.is_settled(note) and not _is_growing(note):
            yield note.garbage(LEFTOVER, KILLED)


def _why_partial(entry: Entry, wanted: Wanted | None, ages: Ages) -> str:
    """Return why nobody needs a partial; empty if somebody may."""
    owner = scratch.owner_of(entry.path.name)
    if owner and owner.is_alive:
        return ""
    if wanted is not None and entry.path.name not in wanted.partials and not owner:
        return "models.lock does not name its file"
    return ages.of_old(entry)


def _is_file(entry: Entry) -> bool:
    return entry.is_file


def _quarantined(folder: RootedPath, ages: Ages) -> Iterator[Garbage]:
    for entry in listed(folder / Private.QUARANTINE):
        if not entry.is_folder and (why := ages.of_old(entry)):
            yield entry.garbage(QUARANTINED, why)


def _unfinished(folder: RootedPath, ages: Ages) -> Iterator[Garbage]:
    for entry in listed(folder):
        if scratch.is_unfinished(entry.path.name) and entry.is_file and ages.is_settled(entry):
            yield entry.garbage(LEFTOVER, KILLED)


def _archives(base: RootedPath, wanted: Wanted, ages: Ages) -> Iterator[Garbage]:
    """Yield archives that models.lock does not name, wherever their paths put them."""
    folders = [base]
    while folders:
        entries = listed(folders.pop())
        folders += [entry.path for entry in entries if entry.is_folder]
        for entry in filter(_is_file, entries):
            path = "/".join(entry.path.parts[len(base.parts) :])
            if path not in wanted.archives and ages.is_settled(entry):
                yield entry.garbage(LEFTOVER, "an archive that models.lock does not name")


def _is_growing(note: Entry) -> bool:
    """Whether a run holds the partial that a note names."""
    try:
        partial = noted_path(note.path.read_bytes())
    except StoreError:
        return False
    return partial is not None and is_held(partial)


@dataclass(slots=True)
class Prunable:
    """Result of `Pruner.find`.

    Attributes:
        garbage: What nobody needs.
        forgotten: Projects that were deleted.
        hindrances: Why no blob may go, if so.
    """

    garbage: list[Garbage] = field(default_factory=list)
    forgotten: list[KnownProject] = field(default_factory=list)
    hindrances: list[ModelmakeError] = field(default_factory=list)

    def lines(self, *, dry_run: bool) -> Iterator[str]:
        """Yield a line for each forgotten project; in a dry run for each file too."""
        for garbage in self.garbage if dry_run else ():
            frees = bytes_text(garbage.frees_bytes)
            yield f"would remove {garbage.path} ({frees}): {garbage.why}"
        for project in self.forgotten:
            verb = "would forget" if dry_run else "forgot"
            yield f"{verb} {project.lock}, which no longer exists"


def summary(removed: Iterable[Garbage], *, dry_run: bool) -> str:
    """Return one line that counts what was removed, or would be, by kind."""
    sizes: dict[str, list[int]] = {kind: [] for kind in KINDS}
    for garbage in removed:
        sizes[garbage.kind].append(garbage.frees_bytes)
    if not any(sizes.values()):
        return "Nothing to prune."
    parts = [
        f"{counted(len(freed), kind)} ({bytes_text(sum(freed))})"
        for kind, freed in sizes.items()
        if freed
    ]
    verb, freed = ("would remove", "would free") if dry_run else ("removed", "freed")
    total = sum(map(sum, sizes.values()))
    return f"{verb} {', '.join(parts)}; {freed} {bytes_text(total)}"


def _is_gone(project: KnownProject) -> bool:
    """Whether a lock that could not be read, or all of its project, went a moment ago."""
    with contextlib.suppress(StoreError):
        return project.has_no_lock or project.is_gone
    return False


class Pruner:
    """Prunes one store, and what the projects that share it keep beside their models.

    Args:
        project: The project this is run in; it counts, remembered or not.
        ages: What is old.
        notice: Takes lines for the user.
        unused: Whether blobs may go too that a models.lock names, and no project has in place.

    Raises:
        StoreError: The store cannot be used.
    """

    def __init__(
        self,
        project: Project,
        ages: Ages,
        notice: Callable[[str], None],
        *,
        unused: bool = False,
    ) -> None:
        self._own = known_as(project)
        self._ages, self._notice, self._is_unused = ages, notice, unused
        self._store: Store | None = store_at(project.settings.store)
        if self._store:
            self._projects = Projects(self._store.root)
        self._wanted: dict[str, Wanted | None] = {}

    def find(self) -> Prunable:
        """Return what nobody needs; nothing is changed.

        Raises:
            StoreError: The store cannot be listed.
        """
        found = Prunable()
        digests = list(self._store.digests()) if self._store else []  # before the locks are read
        roots = list(self._store.roots()) if self._store else []
        needed = set[str]()
        for project in [self._own, *self._remembered(found)]:
            needed |= self._needed(project, found)
        for folder, wanted in self._wanted.items():
            self._tell_symlinks(Path(folder))
            found.garbage += of_model(Path(folder), wanted, self._ages)
        if self._store:
            if not found.hindrances:
                blobs = (self._store.path(sha256) for sha256 in digests if sha256 not in needed)
                layers = (self._store.layer_path(root) for root in roots if root not in needed)
                why = "no project has it in place" if self._is_unused else "no models.lock names it"
                found.garbage[:0] = [_unneeded_blob(path, why) for path in blobs]
                found.garbage += map(_unneeded_layer, layers)
            found.garbage += of_store(self._store.root, self._ages)
        return found

    def remove(self, found: Prunable) -> Iterator[Garbage]:
        """Remove what was found, and yield what is gone; what the disk refuses is a hindrance."""
        for garbage in found.garbage:
            try:
                if garbage.remove():
                    yield garbage
            except StoreError as error:
                found.hindrances.append(error)
        if self._store:
            try:
                for project in found.forgotten:
                    self._projects.forget(project)
                self._store.forget_all_but(set(self._store.digests()))
            except StoreError as error:
                found.hindrances.append(error)

    def _remembered(self, found: Prunable) -> Iterator[KnownProject]:
        """Yield the other projects that the store remembers and that still exist."""
        if self._store is None:
            return
        remembered, unreadable = self._projects.look()
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

    def _needed(self, project: KnownProject, found: Prunable) -> set[str]:
        """Return digests and roots that a project's lock names; note what its folders may hold."""
        self._add(dict.fromkeys(project.former, NOTHING))
        try:
            models = lock_of(project).models
        except ModelmakeError as error:
            if not _is_gone(project):
                self._add(dict.fromkeys(project.folders.values()))
                found.hindrances.append(self._out_of_sight(project, error))
                return set()
            self._add(dict.fromkeys(project.folders.values(), NOTHING))
            if project is not self._own:
                self._notice(f"{project.lock} does not exist: nothing is kept for it.")
            return set()
        self._add({folder: Wanted.by(models.get(name)) for name, folder in project.folders.items()})
        return {
            key
            for name, model in models.items()
            for file in (*model.files, *model.archives)
            if not self._is_unused or _is_there(project.folders.get(name), file)
            for key in (file.sha256, file.root)
            if key
        }

    def _add(self, folders: dict[str, Wanted | None]) -> None:
        """Note folders; several models, and several projects, may share one."""
        for folder, wanted in folders.items():
            key = os.path.realpath(folder)
            before = self._wanted.get(key, NOTHING)
            self._wanted[key] = before | wanted if before and wanted else None

    def _tell_symlinks(self, folder: Path) -> None:
        """Say which of the private folders of a model are symlinks: nothing behind one is ours."""
        private = folder / PRIVATE_FOLDER
        places = [private] + [private / name for name in Private]
        for place in filter(os.path.islink, places):
            self._notice(f"{place} is a symlink: nothing behind it is removed.")

    def _out_of_sight(self, project: KnownProject, error: ModelmakeError) -> StoreError:
        told = f"No blob is removed: nobody can tell which ones {project.lock} names. {error}"
        if project is self._own or self._store is None:
            return StoreError(told, hint=error.hint)
        note = self._projects.file(project)
        return StoreError(told, hint=f"If that project is gone for good, remove {note}.")


def _is_there(folder: str | None, file: Artifact) -> bool:
    """Whether a file is in place, as far as a stat tells, or its folder is out of sight."""
    if folder is None:
        return True
    nearest = next(each for each in (Path(folder), *Path(folder).parents) if os.path.lexists(each))
    if not nearest.is_dir():  # a symlink to a disk that is not mounted
        return True
    status = look(f"{folder}/{file.path}")
    return status is not None and file.size in (None, status.st_size)


def _unneeded_blob(path: RootedPath, why: str) -> Garbage:
    frees = freed_bytes(path)
    also = "" if frees else "; this frees nothing, because a target is the same file"
    return Garbage(kind=BLOB, path=path, frees_bytes=frees, why=f"{why}{also}")


def _unneeded_layer(path: RootedPath) -> Garbage:
    why = "pieces of a file that no models.lock names"
    return Garbage(kind=LEFTOVER, path=path, frees_bytes=freed_bytes(path), why=why)
