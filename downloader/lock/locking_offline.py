"""models.lock brought up to date without asking anybody: from a bundle, or from what is known.

What is locked here already stays as it is.
"""

from collections.abc import Iterator, Mapping

from downloader.bundling import bundles
from downloader.bundling.bundles import Bundle
from downloader.declared import Declared
from downloader.disk.durable import write_file
from downloader.fs.rooted_path import RootedPath
from downloader.lock import resolve
from downloader.lock.admitting import check_locked
from downloader.lock.lockfile import LockedModel, dump
from downloader.lock.relocking import CURRENT, is_current, relock
from downloader.project import Project


def take_lock(project: Project, bundle: Bundle) -> list[str]:
    """Take what the project lacks of a bundle's manifest and lock.

    Both where it has no models.yaml; else what is locked in the bundle for the very entries that
    are not locked here. What is locked here already stays as it is.

    Returns:
        What was done, a line each.

    Raises:
        ModelmakeError: What the bundle has cannot be used, or models.lock may not be written.
    """
    if not project.manifest_path.exists():
        from downloader.manifest import manifest  # noqa: PLC0415 - refuses it before it is written

        manifest.load(bundle.manifest, f"{bundles.MANIFEST} of the bundle")
        if not project.lock_path.exists():
            write_file(RootedPath.of(project.lock_path), dump(bundle.lock))
        write_file(RootedPath.of(project.manifest_path), bundle.manifest)
        return [f"{project.manifest_path.name} and {project.lock_path.name} are the bundle's"]
    models = bundle.lock.models
    taken = {each.name: models[each.name] for each in _stale(project) if _has(models, each)}
    return _relock(project, taken)


def lock_offline(project: Project) -> None:
    """Lock the models of which everything is known without asking a server.

    Raises:
        ModelmakeError: models.lock may not be written.
    """
    locked = {
        each.name: resolve.lock_model(
            each.outlined, project.lockfile.models.get(each.name), list, upgrade=False
        )
        for each in _stale(project)
        if each.outlined
    }
    _relock(project, {n: m for n, m in locked.items() if all(f.is_pinned for f in m.files)})


def _stale(project: Project) -> Iterator[Declared]:
    return (each for each in project.declared if each.is_known and not is_current(project, each))


def _has(models: Mapping[str, LockedModel], each: Declared) -> bool:
    if each.name not in models or models[each.name].entry != each.digest:
        return False
    check_locked(each, models[each.name])
    return True


def _relock(project: Project, models: Mapping[str, LockedModel]) -> list[str]:
    if not models:
        return []

    wanted = [each for each in project.declared if each.name in models]
    return relock(project, wanted, lambda each, _before: models[each.name], CURRENT)
