"""What is on this machine already, in place of fetching it: by size, then by digest.

    here, or in the store           as `doit` would
    in the folder that is named     found (finding.py), then reflinked, linked or copied
    in a bundle's tar               written out one by one (bundling/bundles.py), then linked
    in an archive that was found    unpacked

The way of a file is that of a fetch: claim, place, receipt, pin, store. Nothing is ever dialled.
"""

import functools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from downloader.artifact import Artifact
from downloader.bundling import bundles
from downloader.disk.durable import make_folder
from downloader.disk.private_folder import private_folder
from downloader.errors import Interrupted, ModelmakeError, StoreError
from downloader.finding import Found, Search, StopCheck, key
from downloader.fs.rooted_path import RootedPath
from downloader.model import Model
from downloader.progress import bytes_text
from downloader.project import Project
from downloader.store import has_reflinks
from downloader.syncing.linker import LINKING, way
from downloader.syncing.syncing import Outcome, Syncer
from downloader.transfer.preflight import Room

AT_ONCE = 8
"""Files that are copied and synced at once."""

Want = tuple[str, Artifact]
"""A model's name and an artifact of it."""


@dataclass(slots=True)
class Report:
    """What became of the files that were wanted.

    Attributes:
        done: What was done for each that is in place now.
        missing: Those whose bytes are not here.
        failed: How many could not be put in place.
    """

    done: list[Outcome] = field(default_factory=list)
    missing: list[Want] = field(default_factory=list)
    failed: int = 0

    def by(self, *verbs: str) -> list[Outcome]:
        """Return what was done in these ways."""
        return [each for each in self.done if each.verb in verbs]


class Adopter:
    """Brings models up to date with what is at one place of this machine.

    Args:
        project: Whose models.
        syncer: What puts their files in place.
        watch: Called often; raises Interrupted when the run is to stop.
        tell: Takes a line about one file.
    """

    def __init__(
        self, project: Project, syncer: Syncer, watch: StopCheck, tell: Callable[[str], None]
    ) -> None:
        self._project, self._syncer, self._watch, self._tell = project, syncer, watch, tell
        self._report = Report()
        self._settled = set[tuple[str, str]]()
        self._reflinks: dict[RootedPath, bool] = {}

    def adopt(self, models: Sequence[Model], place: Path, *, shares: bool = False) -> Report:
        """Bring models up to date, and tell each file.

        Args:
            models: Those that are locked.
            place: A folder, a file, or a bundle.
            shares: Whether a target may be the same file as the one that was found.

        Raises:
            StoreError: The disk has no room for what was found; nothing was written.
            BadArchive: A bundle's tar is damaged; what was taken of it stays.
            Interrupted: The run was stopped.
        """
        wanted = [(model.name, each) for model in models for each in _files(model)]
        self._bring((each, None) for each in wanted)
        missing = self._left(wanted)
        packed = [(model.name, each) for model in models for each in _archives(model, missing)]
        self._bring((each, None) for each in packed)
        sought = [*missing, *self._left(packed)]
        for found in self._found(sought, place, shares=shares):
            chosen = [(each, found[str(key(each[1]))]) for each in sought if key(each[1]) in found]
            self._check_room(chosen)
            self._bring(chosen)
        self._unpack(models, packed, missing)
        kept = {(model.name, each.path) for model in models for each in model.artifacts}
        self._report.missing = self._left(each for each in [*wanted, *packed] if _id(each) in kept)
        return self._report

    def _found(
        self, sought: Sequence[Want], place: Path, *, shares: bool
    ) -> Iterator[Mapping[str, Found]]:
        """Yield what was found, by `key`: at once from a folder, one by one from a tar."""
        if not bundles.is_tar(place):
            search = Search((each for _, each in sought), self._watch, self._tell, shares=shares)
            yield search.look(place)
            return
        first = {str(each.sha256): (name, each) for name, each in reversed(sought) if each.sha256}
        self._claim_room((name, each.size or 0) for name, each in first.values())

        def folder_of(sha256: str) -> RootedPath:
            return self._workspace(first[sha256][0])

        for found in bundles.unpacked(place, first.keys(), folder_of, self._watch):
            yield {found.sha256: found}

    def _left(self, wanted: Iterable[Want]) -> list[Want]:
        return [each for each in wanted if _id(each) not in self._settled]

    def _bring(self, wanted: Iterable[tuple[Want, Found | None]]) -> None:
        """Put files in place whose bytes are here, several at once."""

        def bring(each: tuple[Want, Found | None]) -> None:
            (name, artifact), found = each
            act = functools.partial(self._syncer.adopt, name, artifact.path, found)
            self._do(each[0], act)

        with ThreadPoolExecutor(AT_ONCE) as pool:
            for _ in pool.map(bring, wanted):
                pass

    def _unpack(
        self, models: Iterable[Model], packed: Iterable[Want], missing: Sequence[Want]
    ) -> None:
        """Unpack the archives that are here now: nothing is fetched for them."""
        unknown = {(model.name, each.path) for model in models for each in model.not_unpacked}
        for name, archive in packed:
            if (name, archive.path) not in self._settled:
                continue
            members = [
                (of, each) for of, each in missing if (of, each.archive) == (name, archive.path)
            ]
            itself = [(name, archive)] * ((name, archive.path) in unknown)
            for want in self._left(members) or itself:
                self._do(want, functools.partial(self._syncer.sync, name, want[1].path))

    def _do(self, want: Want, act: Callable[[], Outcome | None]) -> None:
        """Do something for one file, and note how that went; a failure stops no other."""
        told = f"{want[0]}/{want[1].path}"
        try:
            self._watch()
            outcome = act()
        except Interrupted:
            raise
        except ModelmakeError as error:
            self._settled.add(_id(want))
            self._report.failed += 1
            self._tell(f"failed {told}: {error.report()}")
            return
        if outcome is None:
            return
        self._settled.add(_id(want))
        self._report.done.append(outcome)
        if outcome.verb != "verified":
            note = f", {outcome.note}" * bool(outcome.note)
            self._tell(f"{outcome.verb} {told} ({bytes_text(outcome.size)}{note})")

    def _workspace(self, name: str) -> RootedPath:
        return private_folder(self._project.folder(name)) / LINKING

    def _check_room(self, chosen: Iterable[tuple[Want, Found]]) -> None:
        copied = ((each[0], found) for each, found in chosen if not self._is_linked(each[0], found))
        self._claim_room((name, found.status.st_size) for name, found in copied)

    def _claim_room(self, needed: Iterable[tuple[str, int]]) -> None:
        room = Room(is_watched=self._project.settings.is_preflight)
        room.plan(
            ((self._workspace(name) / str(number)).path, size)
            for number, (name, size) in enumerate(needed)
        )

    def _is_linked(self, name: str, found: Found) -> bool:
        """Whether a target of the file takes no room of its own."""
        how = way(self._project.named(name).entry.link, found)
        workspace = self._workspace(name)
        try:
            make_folder(workspace)
        except StoreError:  # it is told when the file is to be placed, and stops no other
            return False
        if how == "copy" or workspace.path.stat().st_dev != found.status.st_dev:
            return False
        if workspace not in self._reflinks:
            self._reflinks[workspace] = has_reflinks(workspace)
        return how != "reflink" or self._reflinks[workspace]


def _files(model: Model) -> Iterator[Artifact]:
    """Yield what is stale of a model, but for archives that are to be unpacked."""
    assert model.locked is not None
    for artifact, why in model.why_stale():
        if why and artifact not in model.locked.archives:
            yield artifact


def _archives(model: Model, missing: Collection[Want]) -> Iterator[Artifact]:
    """Yield the archives that are stale themselves, or that a missing file is in."""
    assert model.locked is not None
    stale = {artifact.path for artifact, why in model.why_stale() if why}
    needed = {each.archive for name, each in missing if name == model.name}
    for archive in model.locked.archives:
        if archive.path in stale | needed:
            yield archive


def _id(want: Want) -> tuple[str, str]:
    return want[0], want[1].path
