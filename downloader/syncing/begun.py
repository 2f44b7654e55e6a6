"""What is there of a file that did not arrive whole: its partial, as far as its journal vouches."""

import os
from collections.abc import Callable

from downloader.artifact import Artifact, Location
from downloader.fs.rooted_path import RootedPath
from downloader.transfer.journal import Journal, binding_for, vouched
from downloader.transfer.locked_file import PARTIALS, partial_path
from downloader.transfer.ranges import total


def has_partials(workspace: RootedPath) -> bool:
    """Whether there is any file that did not arrive whole: one look, and not one for each file."""
    try:
        with os.scandir(workspace / PARTIALS) as entries:
            return any(entries)
    except OSError:
        return False


def begun(
    workspace: RootedPath, artifact: Artifact, locations: Callable[[], tuple[Location, ...]]
) -> tuple[int | None, int]:
    """Return a file's length, as far as is known, and how many of its bytes the next run keeps.

    Args:
        workspace: The model's private folder.
        artifact: The file.
        locations: Tells where it is fetched from; asked where there is a partial.

    Raises:
        ModelmakeError: The journal cannot be read; or from `locations`.
    """
    partial = partial_path(workspace, artifact.path)
    try:
        length = os.lstat(partial).st_size
    except OSError:
        return artifact.size, 0
    found = _journal(partial).read()
    ranges = vouched(found, binding_for(artifact, locations()[0]), length)
    size = found[0].size if found and ranges and artifact.size is None else artifact.size
    return size, total(ranges)


def is_kept(workspace: RootedPath, artifact: Artifact) -> bool:
    """Whether what came of a file that is being fetched can be gone on from.

    Raises:
        StoreError: Its journal cannot be read.
    """
    if artifact.is_pinned:
        return True
    found = _journal(partial_path(workspace, artifact.path)).read()
    return found is not None and found[0].can_resume


def _journal(partial: RootedPath) -> Journal:
    return Journal(partial.with_suffix(".journal"))
