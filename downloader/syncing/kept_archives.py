"""Archives where they are kept: brought there once a run, doubted, removed when not needed.

An archive that is not to be kept waits in the model's private folder until its files are in place.
"""

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from downloader import receipts
from downloader.artifact import Artifact
from downloader.disk.private_folder import private_folder
from downloader.disk.quarantine import set_aside
from downloader.errors import BadArchive, ModelmakeError
from downloader.freshness import why_stale
from downloader.fs.rooted_path import RootedPath
from downloader.progress import Observer
from downloader.project import Project
from downloader.syncing.files import FileSyncer, Outcome
from downloader.syncing.needs import FileKey, archive_place, private_archives
from downloader.syncing.unpacking import remove_abandoned

Had = tuple[Outcome, RootedPath]
"""What was done for an archive, and where it is."""


class KeptArchives:
    """The archives of one project; who asks for one holds its lock."""

    def __init__(self, project: Project, files: FileSyncer) -> None:
        self._project, self._files = project, files
        self._had: dict[FileKey, Had | ModelmakeError] = {}

    def have(self, name: str, archive: Artifact, observer: Observer, *, again: bool = False) -> Had:
        """Bring the archive itself to where it is kept, once a run.

        Args:
            name: The model.
            archive: The archive, as in models.lock.
            observer: Told about the transfer.
            again: Forget what was done before.

        Raises:
            ModelmakeError: It could not be done; the same error each time.
        """
        key = name, archive.path
        if again:
            self.forget(*key)
        if found := self._had.get(key):
            if isinstance(found, ModelmakeError):
                raise found
            return replace(found[0], moved_bytes=0, is_repeat=True), found[1]
        try:
            had = self._had[key] = self._have(name, archive, observer)
        except ModelmakeError as error:
            self._had[key] = error
            raise
        return had

    def forget(self, name: str, path: str) -> None:
        """Look at the archive anew when it is asked for next."""
        self._had.pop((name, path), None)

    @contextmanager
    def doubting(self, name: str, archive: Artifact, file: RootedPath) -> Iterator[None]:
        """Set a bad archive aside that no lock vouches for, and drop the pin made of it just now.

        So the next run fetches again. One that was pinned before will not become another.
        """
        try:
            yield
        except BadArchive as error:
            if archive.is_pinned:
                raise
            came = self._project.artifact(name, archive.path)
            workspace = private_folder(self._project.folder(name))
            hint = set_aside(file, workspace, came.size or 0, str(came.sha256))
            self._project.pin(name, archive)
            self._project.write_pins()
            told = BadArchive(str(error), hint=hint)
            self._had[name, archive.path] = told
            raise told from None

    def close(self) -> None:
        """Remove archives that are not to be kept.

        One whose files are not all in place stays for the next run.
        """
        for (name, path), found in self._had.items():
            keeps = self._project.named(name).keeps_archives
            if not (keeps or isinstance(found, ModelmakeError)) and self._is_unpacked(name, path):
                with contextlib.suppress(OSError):
                    found[1].remove()

    def sweep(self, name: str) -> None:
        """Remove what killed processes left of a model, and no run needs any more."""
        folder = self._project.folder(name)
        remove_abandoned(private_folder(folder) / "unpacking")
        for archive in self._project.lockfile.models[name].archives:
            left = private_archives(folder) / archive.path
            keeps = self._project.named(name).keeps_archives
            if left.is_file() and (keeps or self._is_unpacked(name, archive.path)):
                with contextlib.suppress(OSError):
                    left.remove()

    def _have(self, name: str, archive: Artifact, observer: Observer) -> Had:
        place = archive_place(self._project, name, archive)
        outcome = self._files.sync(name, archive, observer, place)
        if place is None:
            return outcome, RootedPath(self._project.folder(name), archive.path)
        self._project.write_pins()  # no receipt vouches for it
        return outcome, place

    def _is_unpacked(self, name: str, path: str) -> bool:
        """Whether the archive's files are known, and all in place."""
        folder = self._project.folder(name)
        known = receipts.load(folder)
        members = self._project.lockfile.models[name].out_of(path)
        return bool(members) and not any(
            why_stale(each, folder / each.path, known.get(each.path)) for each in members
        )
