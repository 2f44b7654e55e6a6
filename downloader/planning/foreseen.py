"""The project as it will be once models.lock is brought up to date, as far as nobody is asked."""

from collections.abc import Sequence

from downloader.artifact import Artifact
from downloader.declared import Declared
from downloader.lock import resolve
from downloader.lock.lockfile import LockedModel, Lockfile
from downloader.project import Project


def foresee(project: Project) -> Project:
    """Return the project with the models.lock that it would have, kept in memory only.

    What follows from an entry is taken from there, with the pins that still hold; what a server
    would tell when it is asked for a size stays unknown.
    """
    if not project.is_stale:
        return project
    before = project.lockfile.models
    models: dict[str, LockedModel] = {}
    for each in project.declared:
        if found := _locked(each, before.get(each.name)):
            models[each.name] = found
    seen = Project(project.manifest_path, project.settings)
    seen.lockfile, seen.declared = Lockfile(models=models), project.declared
    return seen


def _locked(each: Declared, before: LockedModel | None) -> LockedModel | None:
    if before is not None and before.entry == each.digest:
        return before
    if each.outlined is None:
        return None
    return resolve.lock_model(each.outlined, before, _unasked, upgrade=False)


def _unasked(artifacts: Sequence[Artifact]) -> Sequence[Artifact]:
    return artifacts
