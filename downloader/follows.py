"""Whether models.lock follows from models.yaml, so that a change by hand cannot slip in."""

from downloader.artifact import Artifact
from downloader.errors import LockError
from downloader.lockfile import RESTORE_HINT, LockedModel


def check_follows(name: str, locked: LockedModel, outlined: LockedModel) -> None:
    """Refuse a lock that says other than its manifest entry: somebody changed it by hand.

    Raises:
        LockError: It names other files, another place, or another digest than is published.
    """
    files = {artifact.path: artifact for artifact in locked.files}
    same_model = (locked.source, locked.revision) == (outlined.source, outlined.revision)
    has_same_files = files.keys() == {artifact.path for artifact in outlined.files}
    if not (same_model and has_same_files and len(locked.files) == len(files)):
        raise _tampered(name, "its source, revision or list of files")
    for declared in outlined.files:
        if not agree(declared, files[declared.path]):
            raise _tampered(f"{name}/{declared.path}", "the size, digest or URL")


def _tampered(what: str, part: str) -> LockError:
    return LockError(
        f"models.lock does not follow from models.yaml for {what}: {part} differs.",
        hint=RESTORE_HINT,
    )


def agree(declared: Artifact, locked: Artifact) -> bool:
    """Whether the lock repeats every field that the entry fixes."""
    return (
        declared.url == locked.url
        and declared.sha256 in (None, locked.sha256)
        and declared.size in (None, locked.size)
    )
