"""One file that is fetched as it is: what a run would do for it, by the questions a run asks."""

import threading
from dataclasses import dataclass

from downloader import receipts
from downloader.artifact import Artifact
from downloader.disk.private_folder import private_folder
from downloader.errors import ModelmakeError, SettingError
from downloader.fs.rooted_path import RootedPath
from downloader.planning.plan import Action, PlannedFile, Said
from downloader.project import Project
from downloader.sources.interface import Source
from downloader.sources.registry import source_for
from downloader.syncing.begun import begun
from downloader.syncing.sharing import Sharing
from downloader.syncing.target import Target
from downloader.transfer.placing import check_target


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A file that is looked at.

    Attributes:
        name: The model.
        artifact: What models.lock says of it.
        why: The rule that makes it stale; None where it is up to date.
        place: Where it is to be when that is no target.
    """

    name: str
    artifact: Artifact
    why: str | None
    place: RootedPath | None = None


class Judge:
    """Says what would be done for single files; writes nothing, and is safe to share."""

    def __init__(self, project: Project, sharing: Sharing) -> None:
        self._project, self._sharing = project, sharing
        self._finding = threading.Lock()
        self._receipts: dict[str, dict[str, receipts.Receipt]] = {}
        self._sources: dict[str, Source] = {}

    def file(self, wanted: Wanted) -> PlannedFile:
        """Return what would be done for a file that is fetched as it is; it may be hashed."""
        artifact = wanted.artifact
        if wanted.why is None:
            return PlannedFile(path=artifact.path, action="present", size=artifact.size)
        if self._project.is_read_only and not artifact.is_pinned:
            return refused(wanted, "models.lock pins no SHA-256 for it, and may not be written")
        try:
            return self._stale(wanted)
        except ModelmakeError as error:
            return refused(wanted, str(error))

    def member(self, wanted: Wanted) -> PlannedFile:
        """Return what would be done for a file of an archive, `unpack` where that is needed."""
        if wanted.why is None:
            return self.file(wanted)
        try:
            found = self._here(wanted)
            check_target(self._target(wanted).path)
        except ModelmakeError as error:
            return refused(wanted, str(error))
        return found or planned(wanted, "unpack", "unpacked")

    def bytes_to_read(self, wanted: Wanted) -> int:
        """Return how many bytes are going to be hashed for a file, its blob's among them."""
        artifact, target = wanted.artifact, self._target(wanted)
        if wanted.why is None or artifact.size is None or not artifact.is_pinned:
            return 0
        if not target.must_be_fetched:
            return artifact.size
        is_shared = wanted.place is None and self._sharing.must_read(artifact, target.path)
        return artifact.size * is_shared

    def _stale(self, wanted: Wanted) -> PlannedFile:
        if found := self._here(wanted):
            return found
        check_target(self._target(wanted).path)
        return self._fetched(wanted)

    def _here(self, wanted: Wanted) -> PlannedFile | None:
        """Return what is done where the right bytes are at the target or in the store."""
        target = self._target(wanted)
        if target.present(self._known(wanted.name)):
            return planned(wanted, "adopt", "verified")
        if wanted.place is None and self._sharing.foresee(wanted.artifact, target.path):
            check_target(target.path)
            return planned(wanted, "link", "linked")
        return None

    def _fetched(self, wanted: Wanted) -> PlannedFile:
        is_offline = self._project.settings.is_offline
        try:
            size, have = self._resumed(wanted)
        except SettingError:
            if is_offline:
                return planned(wanted, "missing", None)
            raise
        if is_offline and (size is None or not 0 < have == size):
            return planned(wanted, "missing", None)
        return PlannedFile(
            path=wanted.artifact.path,
            action="fetch",
            outcome="fetched",
            why=str(wanted.why or ""),
            size=size,
            bytes_to_move=None if size is None else max(0, size - have),
            bytes_resumed=have,
        )

    def _resumed(self, wanted: Wanted) -> tuple[int | None, int]:
        """Return the file's size and how many bytes of it are in a partial, as far as is known."""
        locations = self._source(wanted.name).locate(wanted.artifact)
        return begun(workspace(self._project, wanted.name), wanted.artifact, lambda: locations)

    def _target(self, wanted: Wanted) -> Target:
        folder, entry = self._project.folder(wanted.name), self._project.named(wanted.name).digest
        return Target(folder, wanted.artifact, entry, wanted.place)

    def _known(self, name: str) -> dict[str, receipts.Receipt]:
        with self._finding:
            if name not in self._receipts:
                self._receipts[name] = receipts.load(self._project.folder(name))
            return self._receipts[name]

    def _source(self, name: str) -> Source:
        with self._finding:
            if name not in self._sources:
                self._sources[name] = source_for(self._project.named(name).entry)
            return self._sources[name]


def workspace(project: Project, name: str) -> RootedPath:
    """Return a model's private folder."""
    return private_folder(project.folder(name))


def planned(wanted: Wanted, action: Action, outcome: Said | None) -> PlannedFile:
    """Return a plan for the file in which no byte comes over the wire."""
    return PlannedFile(
        path=wanted.artifact.path,
        action=action,
        outcome=outcome,
        why=str(wanted.why or ""),
        size=wanted.artifact.size,
    )


def refused(wanted: Wanted, why: str) -> PlannedFile:
    """Return a plan for a file that cannot be brought up to date."""
    return PlannedFile(
        path=wanted.artifact.path, action="refuse", why=why, size=wanted.artifact.size
    )
