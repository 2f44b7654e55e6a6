"""What a plan writes on each disk: at the most at one time, since every file is counted whole.

A partial becomes its target by a rename, and a hard link takes no room. Archives and all that is
unpacked from them lie there together until the run ends.
"""

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from downloader.artifact import Artifact
from downloader.planning.archives import Unpacking
from downloader.planning.judging import workspace
from downloader.planning.plan import PlannedFile, Volume
from downloader.project import Project
from downloader.syncing.sharing import Sharing
from downloader.transfer.locked_file import partial_path
from downloader.transfer.preflight import disk_of, free_bytes, held_bytes

if TYPE_CHECKING:
    from pathlib import Path


class Rooms:
    """Counts what the files of a plan take."""

    def __init__(self, project: Project, sharing: Sharing) -> None:
        self._project, self._sharing = project, sharing
        self._folders: dict[int, Path] = {}
        self._peak: dict[int, int] = {}
        self._freed: dict[int, int] = {}
        self._unknown = set[int]()

    def add_file(self, name: str, artifact: Artifact, planned: PlannedFile) -> None:
        """Count a file that is fetched or linked, and its second copy where `link` wants one."""
        if planned.action == "fetch":
            held = held_bytes(partial_path(workspace(self._project, name), artifact.path).path)
            size = planned.size
            self._add(name, None if size is None else max(0, size - held))
        elif planned.action == "link" and self._sharing.copies(name):
            self._add(name, artifact.size)
        if planned.action in ("fetch", "unpack") and self._is_stored_twice(name, artifact):
            self._add(name, artifact.size)

    def add_unpacking(self, unpacking: Unpacking) -> None:
        """Count what comes out of an archive, and the archive where it is removed at the end."""
        sizes = [each.size for each in unpacking.members] or [None]
        entry = self._project.named(unpacking.name).entry
        if entry.include or entry.exclude:
            sizes.append(None)  # what is left out is unpacked too, and nobody noted its size
        for size in sizes:
            self._add(unpacking.name, size)
        if not unpacking.is_kept:
            disk = self._disk(unpacking.name)
            self._freed[disk] = self._freed.get(disk, 0) + (unpacking.archive.size or 0)

    def volumes(self) -> Iterable[Volume]:
        """Return every disk on which something is written."""
        for disk, folder in self._folders.items():
            yield Volume(
                folder=os.path.abspath(folder),  # noqa: PTH100 - nothing is resolved
                peak_bytes=self._peak.get(disk, 0),
                freed_bytes=self._freed.get(disk, 0),
                free_bytes=free_bytes(folder),
                is_at_least=disk in self._unknown,
            )

    def _is_stored_twice(self, name: str, artifact: Artifact) -> bool:
        is_near = self._sharing.is_near(name)
        return is_near and self._sharing.copies(name) and not self._sharing.has(name, artifact)

    def _add(self, name: str, count: int | None) -> None:
        disk = self._disk(name)
        self._peak[disk] = self._peak.get(disk, 0) + (count or 0)
        if count is None:
            self._unknown.add(disk)

    def _disk(self, name: str) -> int:
        disk, folder = disk_of(self._project.folder(name))
        self._folders.setdefault(disk, folder)
        return disk
