"""An archive, as far as a run needs it: to unpack what is missing, or because it is kept.

It is fetched where a file of it is neither at its place nor in the store, as one look tells, or
where hashing tells so; then all of it is unpacked, and what was there already is dropped again.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from downloader.artifact import Artifact
from downloader.model import Model
from downloader.planning.judging import Judge, Wanted, planned, refused
from downloader.planning.plan import CANNOT, PlannedFile
from downloader.project import Project
from downloader.syncing.needs import FileKey, Needs, archive_place

Judged = dict[FileKey, PlannedFile]
"""What would be done for each file, by model and path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpacking:
    """An archive that would be unpacked.

    Attributes:
        name: The model.
        archive: The archive.
        members: Its files; none where they are not known yet.
        is_kept: Whether it stays afterwards.
    """

    name: str
    archive: Artifact
    members: tuple[Artifact, ...]
    is_kept: bool


class Archives:
    """Says what would be done for the archives of a project."""

    def __init__(self, project: Project, judge: Judge, needs: Needs) -> None:
        self._project, self._judge, self._needs = project, judge, needs

    def plan(
        self, model: Model, archive: Artifact, stale: Mapping[str, str], judged: Judged
    ) -> Unpacking | None:
        """Add what would be done for an archive, and return it where it would be unpacked.

        Args:
            model: Its model.
            archive: The archive.
            stale: The model's stale targets, each with the rule that makes it so.
            judged: What would be done for its files; the archive is added, and files that cannot
                come out of it are changed.
        """
        place, why = (model.name, archive.path), stale.get(archive.path)
        members = _members(model, archive)
        is_staged = not members or any(
            each.path in stale and self._needs.is_missing(model.name, each) for each in members
        )
        to_unpack = [each for each in members if judged[model.name, each.path].action == "unpack"]
        if not (is_staged or to_unpack):
            if archive in model.artifacts:
                judged[place] = self._judge.file(Wanted(name=model.name, artifact=archive, why=why))
            return None
        found = self._had(model, archive, why, is_known=bool(members))
        is_told = is_staged or why is not None
        judged[place] = found if is_told else msgspec.structs.replace(found, outcome=None)
        if found.action in CANNOT:
            self._cannot(model.name, found, to_unpack, judged)
            return None
        keeps = model.declared.keeps_archives
        return Unpacking(name=model.name, archive=archive, members=members, is_kept=keeps)

    def _had(
        self, model: Model, archive: Artifact, why: str | None, *, is_known: bool
    ) -> PlannedFile:
        """Return what would be done to have the archive where it is kept."""
        place = archive_place(self._project, model.name, archive)
        wanted = Wanted(
            name=model.name, artifact=archive, why=why or "its files are missing", place=place
        )
        if not is_known and self._project.is_read_only:
            return refused(wanted, "models.lock does not know its files, and may not be written")
        found = self._judge.file(wanted)
        is_fresh = why is None and place is None and found.action == "adopt"
        return planned(wanted, "present", "verified") if is_fresh else found

    def _cannot(
        self, name: str, archive: PlannedFile, to_unpack: list[Artifact], judged: Judged
    ) -> None:
        why = f"it comes out of {archive.path}"
        for each in to_unpack:
            before = judged[name, each.path]
            judged[name, each.path] = msgspec.structs.replace(
                before, action=archive.action, outcome=None, why=f"{before.why}; {why}"
            )


def _members(model: Model, archive: Artifact) -> tuple[Artifact, ...]:
    return model.locked.out_of(archive.path) if model.locked else ()
