"""What nobody needs any more, of a store and of the projects that share it: found, then removed.

A blob is needed while the models.lock of any remembered project names it, whether the target is
there or not. Where one project is out of sight, no blob is removed: nobody can tell what it needs.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from downloader.errors import ModelmakeError, StoreError
from downloader.fs.rooted_path import RootedPath
from downloader.lock.lockfile import LockedModel
from downloader.project import Project
from downloader.store import Known, Projects, Store, store_at
from downloader.syncing.sharing import PROJECTS, known_as
from downloader.transfer.locked_file import partial_name
from downloader.waste import BLOB, LEFTOVER, Ages, Wanted, Waste, freed_bytes, of_model, of_store


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
            models = project.locked().models
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
