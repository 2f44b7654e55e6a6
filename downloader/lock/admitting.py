"""Whether a lock may be used for the models of a manifest: all of it, before any of it is used."""

from collections.abc import Iterable
from itertools import chain

from downloader.declared import Declared
from downloader.errors import LockError
from downloader.lock.follows import check_asked, check_follows, tampered
from downloader.lock.lockfile import LockedModel, Lockfile
from downloader.safe_path import find_collision


def check_lock(declared: Iterable[Declared], lock: Lockfile) -> None:
    """Refuse a lock that does not follow from the manifest.

    A model that is stale is passed over: it will be locked anew, and what is kept of it then is
    compared with the new entry. So is one that is declared no more: nothing obeys it.

    Raises:
        LockError: Names the model that does not follow.
    """
    current = [each for each in declared if _is_current(each, lock)]
    for each in current:
        check_locked(each, lock.models[each.name])
    if any(each.outlined is None for each in current):
        _check_targets(current, lock)


def _is_current(each: Declared, lock: Lockfile) -> bool:
    found = lock.models.get(each.name)
    return each.is_known and found is not None and found.entry == each.digest


def check_locked(each: Declared, found: LockedModel) -> None:
    """Refuse what a lock says of a model where it does not follow from the entry.

    Raises:
        LockError: It does not.
    """
    if each.outlined:
        check_follows(each.name, found, each.outlined)
        return
    from downloader.lock.resolve import is_chosen  # noqa: PLC0415 - few projects have such a model
    from downloader.sources.registry import asking_source_for, source_name  # noqa: PLC0415

    if found.source != source_name(each.entry):
        raise tampered(each.name, "its source differs")
    source = asking_source_for(each.entry)
    check_asked(each.name, found, source.check(found) if source else "")
    for file in found.files:
        if not is_chosen(file.path, each.entry):
            raise tampered(f"{each.name}/{file.path}", "include and exclude leave it out")


def _check_targets(current: Iterable[Declared], lock: Lockfile) -> None:
    """Refuse a file in the place of another model's, where a provider told its path.

    Raises:
        LockError: Names both.
    """
    targets = (
        f"{each.folder}/{artifact.path}"
        for each in current
        for artifact in chain(lock.models[each.name].archives, lock.models[each.name].files)
    )
    if found := find_collision(targets):
        raise LockError(
            f"models.lock: {found[0]!a} and {found[1]!a} would be one place on some disks.",
            hint="Give one of the models another `to`, or take models.lock back from version "
            "control.",
        )
