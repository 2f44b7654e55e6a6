"""Whether models.lock follows from models.yaml, so that a change by hand cannot slip in."""

from collections.abc import Sequence

from downloader.artifact import Artifact
from downloader.errors import LockError
from downloader.lock.lock_gate import RESTORE_HINT
from downloader.lock.lockfile import LockedModel


def check_follows(name: str, locked: LockedModel, outlined: LockedModel) -> None:
    """Refuse a lock that says other than its manifest entry: somebody changed it by hand.

    Raises:
        LockError: It names other files or archives, another place, or another digest than is
            published.
    """
    if (locked.source, locked.revision) != (outlined.source, outlined.revision):
        raise tampered(name, "its source or revision differs")
    _check_list(name, "archives", outlined.archives, locked.archives)
    _check_list(name, "files", outlined.files, locked.files)


def _check_list(
    name: str, kind: str, declared: Sequence[Artifact], locked: Sequence[Artifact]
) -> None:
    found = {each.path: each for each in locked}
    wanted = {each.path for each in declared}
    if found.keys() != wanted or len(found) < len(locked):
        raise tampered(name, f"{kind}: {_other(wanted, set(found))}")
    for each in declared:
        if not agree(each, found[each.path]):
            raise tampered(f"{name}/{each.path}", f"{_field(each, found[each.path])} differs")


def _other(wanted: set[str], found: set[str]) -> str:
    """Return which path is in one of the lists only."""
    if more := sorted(found - wanted):
        return f"{more[0]!a} is not one of them"
    if less := sorted(wanted - found):
        return f"{less[0]!a} is missing"
    return "one stands there twice"


def check_asked(name: str, locked: LockedModel, difference: str) -> None:
    """Refuse a lock of a model whose provider tells its files, where the entry cannot mean it.

    Args:
        name: The model's name.
        locked: What models.lock holds of it.
        difference: What its source says is not as the entry wants it; empty when all is.

    Raises:
        LockError: It cannot have been written from this entry.
    """
    if difference:
        raise tampered(name, f"{difference} differs")
    archives = {each.path for each in locked.archives}
    if archives and not {each.archive for each in locked.files} <= archives:
        raise tampered(name, "a file is of an archive that is not listed")


def tampered(what: str, why: str) -> LockError:
    """Return the error for a lock that says what its manifest does not lead to."""
    return LockError(
        f"models.lock does not follow from models.yaml for {what}: {why}.",
        hint=RESTORE_HINT,
    )


def agree(declared: Artifact, locked: Artifact) -> bool:
    """Whether the lock repeats every field that the entry fixes, and has no other."""
    return (
        declared.url == locked.url
        and declared.sha256 in (None, locked.sha256)
        and not (declared.is_pinned and locked.first_use)
        and declared.size in (None, locked.size)
        and declared.archive == locked.archive
        and declared.into == locked.into
        and declared.checkpoint == locked.checkpoint
    )


def _field(declared: Artifact, locked: Artifact) -> str:
    """Return which field keeps the two from agreeing."""
    for field in ("url", "archive", "into", "checkpoint"):
        if getattr(declared, field) != getattr(locked, field):
            return f"`{field}`"
    return "`size` or `sha256`"
