"""What has to be fetched for some targets, as one look at the disk and the store tells.

So the disk is asked for room before the first byte, and `doit plan` says what it will be asked.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from downloader.artifact import Artifact
from downloader.disk.private_folder import private_folder
from downloader.fs.rooted_path import RootedPath
from downloader.project import Project
from downloader.syncing.sharing import Sharing
from downloader.syncing.target import Target

FileKey = tuple[str, str]
"""A model's name and a file's path."""


def private_archives(folder: Path) -> RootedPath:
    """Return where a model's archives wait that are not to be kept."""
    return private_folder(folder) / "archives"


def archive_place(project: Project, name: str, archive: Artifact) -> RootedPath | None:
    """Return where an archive is looked for, and fetched to; None for its target."""
    folder = project.folder(name)
    if project.named(name).keeps_archives or RootedPath(folder, archive.path).is_file():
        return None
    return private_archives(folder) / archive.path


class Needs:
    """What a project has to fetch."""

    def __init__(self, project: Project, sharing: Sharing) -> None:
        self._project, self._sharing = project, sharing

    def planned(self, files: Iterable[FileKey]) -> Iterator[tuple[RootedPath, Artifact]]:
        """Yield what has to be fetched for these targets, each with its model's workspace.

        An archive stands for its files; what is right already, or may be, is left out, and so are
        bytes that are fetched for another target and linked to this one.
        """
        seen: set[FileKey | str] = set()
        for name, path in files:
            folder, artifact = self._project.folder(name), self._project.artifact(name, path)
            if not self._must_be_fetched(name, artifact):
                continue
            if artifact.archive is not None:
                artifact = self._project.artifact(name, artifact.archive)
                if not self._must_be_fetched(name, artifact):
                    continue
            key = self._key(name, artifact)
            if key not in seen:
                seen.add(key)
                yield private_folder(folder), artifact

    def _key(self, name: str, artifact: Artifact) -> FileKey | str:
        """Return what is the same for files that are fetched once: bytes that go into the store.

        An archive that is not to be kept does not go there.
        """
        is_private = (
            self._project.lockfile.models[name].has_archive(artifact.path)
            and archive_place(self._project, name, artifact) is not None
        )
        if artifact.sha256 is None or is_private or not self._sharing.is_near(name):
            return name, artifact.path
        return artifact.sha256

    def is_missing(self, name: str, member: Artifact) -> bool:
        """Whether a file is neither at its place, as one look tells, nor in the store."""
        target = Target(self._project.folder(name), member, "")
        return target.must_be_fetched and not self._sharing.has(name, member)

    def _must_be_fetched(self, name: str, artifact: Artifact) -> bool:
        """Whether a file takes further room: what is copied from a store far away does, too."""
        if artifact.archive is not None:
            return self.is_missing(name, artifact)
        place = None
        if self._project.lockfile.models[name].has_archive(artifact.path):
            place = archive_place(self._project, name, artifact)
        target = Target(self._project.folder(name), artifact, "", place)
        is_shared = place is None and self._sharing.has(name, artifact, is_near=True)
        return target.must_be_fetched and not is_shared
