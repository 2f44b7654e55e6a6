"""Remove what was fetched: targets, what is noted of them, and the folders that this leaves empty.

A model's folder, or one above it, may be a symlink: it is the folder it leads to, so the files in
it are removed, and the link stays. What lies behind a symlink further down that leads out of the
model's folder is not removed, and that is said.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterable
from pathlib import Path

from downloader.artifact import Artifact, bytes_text, counted, task_name
from downloader.errors import StoreError
from downloader.fs.files import look, private_folder
from downloader.fs.rooted_path import RootedPath
from downloader.project.project import Project
from downloader.store.blobs import store_at
from downloader.targets.state import forget_receipts, load_receipts

Say = Callable[[str], object]


class Cleaner:
    """Removes targets of one project; it counts them, since doit asks for a model and its files.

    Args:
        project: Whose targets.
        say: Takes a line about each file that is removed.
        tell: Takes a line about each that is not.
    """

    def __init__(self, project: Project, say: Say, tell: Say) -> None:
        self._project, self._say, self._tell = project, say, tell
        self._seen = set[RootedPath]()
        self._left = 0
        self._removed_bytes: list[int] = []
        self._digests: dict[str, int] = {}
        self._is_dry = False

    def clean_model(self, name: str, *, dryrun: bool) -> None:
        """Remove a model's targets, and what is noted of them.

        Raises:
            StoreError: The disk refused.
        """
        models, model = self._project.models(), self._project.model(name)
        for artifact in model.artifacts:
            self._remove(name, artifact, dryrun=dryrun)
        if dryrun or not model.folder.is_dir():
            return
        forget_receipts(model.folder, [artifact.path for artifact in model.artifacts])
        is_shared = sum(each.folder == model.folder for each in models) > 1
        # What another model keeps there may be gigabytes of a partial that has no receipt yet.
        if not is_shared and not load_receipts(model.folder):
            private_folder(model.folder).remove_tree()
        targets = [RootedPath(model.folder, artifact.path) for artifact in model.artifacts]
        inside = {target.parent.path for target in targets if not target.parent.leads_out()}
        self._remove_empty(inside | {model.folder})

    def clean_file(self, name: str, path: str, *, dryrun: bool) -> None:
        """Remove one target.

        Raises:
            StoreError: The disk refused.
        """
        self._remove(name, self._project.artifact(name, path), dryrun=dryrun)
        folder = RootedPath(self._project.folder(name), path).parent
        if not (dryrun or folder.leads_out()):
            self._remove_empty([folder.path])

    def summary(self) -> str:
        """Return what was done, and what the shared store still holds of it; empty in a dry run."""
        if not self._removed_bytes:
            return "" if self._left else "Nothing to clean: none of these files is here."
        if self._is_dry:
            return ""
        files, size = counted(len(self._removed_bytes), "file"), sum(self._removed_bytes)
        stored, place = self._stored()
        told = f"Removed {files} ({bytes_text(size)})."
        if stored:
            told += (
                f" {bytes_text(stored)} of that are still in the shared store, {place}:"
                " `doit prune --unused` removes them there too."
            )
        return told

    def _remove(self, name: str, artifact: Artifact, *, dryrun: bool) -> None:
        """Remove a target once: doit cleans a model, and each of its files as well."""
        target = RootedPath(self._project.folder(name), artifact.path)
        if target in self._seen:
            return
        self._seen.add(target)
        try:
            status = target.status()
        except StoreError as error:
            if error.errno != errno.ELOOP:
                raise
            if look(target.path):
                self._left += 1
                self._tell(f"{target} is left: {error.reason}. Remove it there if you want.")
            return
        if status is None or not _is_file(target, status):
            return
        self._is_dry = dryrun
        self._removed_bytes.append(status.st_size)
        if artifact.sha256:
            self._digests[artifact.sha256] = status.st_size
        self._say(f"{task_name(name)} - removing file '{target}'")
        if not dryrun:
            target.remove()

    def _remove_empty(self, folders: Iterable[Path]) -> None:
        for folder in sorted(folders, key=lambda each: len(each.parts), reverse=True):
            for each in (folder, *folder.parents):
                is_own = each != self._project.root and each.is_dir() and not each.is_symlink()
                if not is_own or RootedPath(each).names():
                    break
                RootedPath.of(each).remove_folder()

    def _stored(self) -> tuple[int, str]:
        """Return how many bytes of what was removed the shared store has, and where that is."""
        try:
            store = store_at(self._project.settings.store)
            if store is None:
                return 0, ""
            found = (size for sha256, size in self._digests.items() if store.has(sha256))
            return sum(found), str(store.root)
        except StoreError:  # its users are told
            return 0, ""


def _is_file(target: RootedPath, status: os.stat_result) -> bool:
    """Whether it is a file, or a symlink to one, which is removed in its place."""
    mode = status.st_mode
    return stat.S_ISREG(mode) or (stat.S_ISLNK(mode) and target.path.is_file())
