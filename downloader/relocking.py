"""Models into models.lock: what is stale of those wanted is locked, written and put in words."""

import threading
from collections.abc import Callable, Iterable, Mapping

from downloader.declared import Declared
from downloader.errors import LockError
from downloader.lockfile import LockedModel
from downloader.progress import counted
from downloader.project import Project
from downloader.safe_path import find_collision

_putting = threading.Lock()

Locked = Callable[[Declared, LockedModel | None], tuple[LockedModel, list[str]]]


def relock(
    project: Project, wanted: Iterable[Declared], locked: Locked, *, upgrade: bool
) -> list[str]:
    """Lock what is stale of the wanted models.

    Args:
        project: Whose lock.
        wanted: The models.
        locked: Tells what a model is to be locked as, given what it was; and notices of that.
        upgrade: Lock also what is current.

    Returns:
        What was done, a line each, notices among them.

    Raises:
        LockError: Two models would write one file, or the lock may not be written.
        StoreError: The disk refused.
    """
    models: dict[str, LockedModel] = {}
    lines: list[str] = []
    for each in wanted:
        if is_current(project, each) and not upgrade:
            continue
        before = project.lockfile.models.get(each.name)
        models[each.name], notices = locked(each, before)
        lines += [_line(each.name, before, models[each.name]), *notices]
    with _putting:
        _check_targets(project, models)
        project.put_locked(models)
    return lines


def _check_targets(project: Project, models: Mapping[str, LockedModel]) -> None:
    """Refuse two models that would write one file, once their providers told the names.

    Raises:
        LockError: Names both targets.
    """
    current = [each for each in project.declared if is_current(project, each)]
    locked = {each.name: project.lockfile.models[each.name] for each in current} | dict(models)
    targets = (
        f"{project.named(name).folder}/{artifact.path}"
        for name, each in locked.items()
        for artifact in (*each.archives, *each.files)
    )
    if found := find_collision(targets):
        raise LockError(
            f"{found[0]} and {found[1]} would be one place on some disks.",
            hint="Give one of the models another `to`.",
        )


def is_current(project: Project, each: Declared) -> bool:
    """Whether models.lock says what a model is, for the entry as it stands now."""
    before = project.lockfile.models.get(each.name)
    return before is not None and before.entry == each.digest


def _is_same(before: LockedModel, after: LockedModel) -> bool:
    return (before.files, before.archives) == (after.files, after.archives)


def _line(name: str, before: LockedModel | None, after: LockedModel) -> str:
    verb = "locked" if before is None else "same" if _is_same(before, after) else "changed"
    moved = after.archives or after.files
    sizes = [artifact.size for artifact in moved]
    known = sum(size for size in sizes if size is not None)
    total = f"{known:,} bytes" if None not in sizes else f"{known:,} bytes or more"
    unpinned = sum(not artifact.is_pinned for artifact in moved)
    wait = f", {unpinned} to be pinned on first use" if unpinned else ""
    kind = "archive" if after.archives else "file"
    return f"{verb} {name}: {counted(len(sizes), kind)}, {total}{wait}"
