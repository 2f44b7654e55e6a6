"""Models into models.lock: what is stale of those wanted is locked, written and put in words."""

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from downloader.declared import Declared
from downloader.errors import LockError
from downloader.lock import lock_changes
from downloader.lock.lockfile import LockedModel
from downloader.project import Project
from downloader.safe_path import find_collision

_putting = threading.Lock()

Locked = Callable[[Declared, LockedModel | None], LockedModel]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is wanted of the lock.

    Attributes:
        names: The models it is about; all when there is none. Others stay as they are locked.
        upgrade: Ask also for what was pinned on first use, and for what a provider has now.
        allow_downgrade: Take also what is older than the lock.
        fills: Ask also for sizes that nobody could tell when the model was locked.
    """

    names: tuple[str, ...] = ()
    upgrade: bool = False
    allow_downgrade: bool = False
    fills: bool = False

    def is_about(self, name: str) -> bool:
        """Whether a model is meant."""
        return not self.names or name in self.names

    def is_open(self, before: LockedModel | None) -> bool:
        """Whether a model that is locked for its entry as it stands is looked at all the same."""
        is_unknown = before is not None and any(each.size is None for each in before.files)
        return self.upgrade or (self.fills and is_unknown)


CURRENT = Wish()
"""Only what is stale is locked."""


def relock(project: Project, wanted: Iterable[Declared], locked: Locked, wish: Wish) -> list[str]:
    """Lock what is stale of the wanted models.

    Args:
        project: Whose lock.
        wanted: The models.
        locked: Tells what a model is to be locked as, given what it was.
        wish: Whether to lock also what is current; and whether about all models, so that what is
            declared no more is dropped.

    Returns:
        What was done, a line each.

    Raises:
        LockError: Two models would write one file, or the lock may not be written.
        StoreError: The disk refused.
    """
    models: dict[str, LockedModel] = {}
    lines: list[str] = []
    for each in wanted:
        before = project.lockfile.models.get(each.name)
        if is_current(project, each) and not wish.is_open(before):
            continue
        models[each.name] = locked(each, before)
        lines += lock_changes.lines(each.name, before, models[each.name])
    with _putting:
        _check_targets(project, models)
        had = set(project.lockfile.models)
        project.put_locked(models, drops=not wish.names)
        dropped = sorted(had - project.lockfile.models.keys())
    return [*lines, *(f"dropped {name}: models.yaml declares it no more" for name in dropped)]


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
