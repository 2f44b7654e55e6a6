"""models.lock brought up to date without asking anybody: from a bundle, or from what is known.

What is locked here already stays as it is.
"""

from collections.abc import Iterator, Mapping

from downloader import declared, gate
from downloader.bundling import bundles
from downloader.bundling.bundles import AGAIN, Bundle
from downloader.declared import Declared
from downloader.disk.durable import naming, write_file
from downloader.errors import BadArchive, ManifestError
from downloader.fs.rooted_path import RootedPath
from downloader.lock import lockfile, resolve
from downloader.lock.admitting import check_lock, check_locked
from downloader.lock.lockfile import LockedModel, dump
from downloader.lock.relocking import CURRENT, is_current, relock
from downloader.project import Project


def take_lock(project: Project, bundle: Bundle) -> list[str]:
    """Take what the project lacks of a bundle's manifest and lock.

    Both where it has no models.yaml; else what is locked in the bundle for the very entries that
    are not locked here. What is locked here already stays as it is. The whole bundle is checked
    before anything is written.

    Returns:
        What was done, a line each.

    Raises:
        ModelmakeError: What the bundle has cannot be used, or models.lock may not be written.
    """
    meant = _check_bundle(bundle)
    if not project.manifest_path.exists():
        if project.lock_path.exists():
            with naming(project.lock_path, "read"):
                text = project.lock_path.read_bytes()
            check_lock(meant, lockfile.load(text, project.lock_path.name))
        else:
            write_file(RootedPath.of(project.lock_path), dump(bundle.lock))
        write_file(RootedPath.of(project.manifest_path), bundle.manifest)
        return [f"{project.manifest_path.name} and {project.lock_path.name} are the bundle's"]
    models = bundle.lock.models
    taken = {each.name: models[each.name] for each in _stale(project) if _has(models, each)}
    return _relock(project, taken)


def _check_bundle(bundle: Bundle) -> list[Declared]:
    """Return the models of a bundle's manifest, once all that it says of itself fits together.

    Raises:
        LockError: Its models.lock does not follow from its models.yaml.
        BadArchive: Its models.yaml says something it may not, or it names a model that is not in
            its models.lock.
    """
    try:
        meant = declared.compiled(bundle.manifest, f"{bundles.MANIFEST} of the bundle")
    except ManifestError as error:  # no mistake of who runs this here
        raise BadArchive(str(error), hint=error.hint) from None
    check_lock(meant, bundle.lock)
    for name in bundle.models:
        if name not in bundle.lock.models:
            what = f"its {bundles.MARK} names {gate.shown(name)}, which its models.lock does not"
            raise BadArchive(f"The bundle cannot be used: {what}.", hint=AGAIN)
    return meant


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
