"""Whether models.lock follows from models.yaml, so that a change by hand cannot slip in."""

from downloader.artifact import Artifact
from downloader.errors import LockError
from downloader.lock.lockfile import RESTORE_HINT, LockedModel
from downloader.safe_path import check_path, find_collision


def check_follows(name: str, locked: LockedModel, outlined: LockedModel) -> None:
    """Refuse a lock that says other than its manifest entry: somebody changed it by hand.

    Raises:
        LockError: It names other files, another place, or another digest than is published.
    """
    files = {artifact.path: artifact for artifact in locked.files}
    same_model = (locked.source, locked.revision) == (outlined.source, outlined.revision)
    has_same_files = files.keys() == {artifact.path for artifact in outlined.files}
    if not (same_model and has_same_files and len(locked.files) == len(files)):
        raise _tampered(name, "its source, revision or list of files differs")
    for declared in outlined.files:
        if not agree(declared, files[declared.path]):
            raise _tampered(f"{name}/{declared.path}", "the size, digest or URL differs")


def check_asked(name: str, locked: LockedModel, difference: str) -> None:
    """Refuse a lock of a model whose provider tells its files: safe paths, known archives.

    Args:
        name: The model's name.
        locked: What models.lock holds of it.
        difference: What its source says is not as the entry wants it; empty when all is.

    Raises:
        LockError: It cannot have been written from this entry.
    """
    if difference:
        raise _tampered(name, f"{difference} differs")
    paths = [each.path for each in (*locked.archives, *locked.files)]
    for path in paths:
        try:
            check_path(path)
        except ValueError as error:
            raise _tampered(name, str(error)) from None
    if found := find_collision(paths):
        raise _tampered(name, f"{found[0]!a} and {found[1]!a} would be one place on some disks")
    archives = {each.path for each in locked.archives}
    if archives and not {each.archive for each in locked.files} <= archives:
        raise _tampered(name, "a file is of an archive that is not listed")


def _tampered(what: str, why: str) -> LockError:
    return LockError(
        f"models.lock does not follow from models.yaml for {what}: {why}.",
        hint=RESTORE_HINT,
    )


def agree(declared: Artifact, locked: Artifact) -> bool:
    """Whether the lock repeats every field that the entry fixes."""
    return (
        declared.url == locked.url
        and declared.sha256 in (None, locked.sha256)
        and not (declared.is_pinned and locked.first_use)
        and declared.size in (None, locked.size)
    )
