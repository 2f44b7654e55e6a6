"""What a run will do: the same questions that a run asks, and nothing is written.

Every target is looked at; what needs it is hashed on all cores. A file is present, adopted, linked,
downloaded or unpacked, or it cannot be had. An archive is fetched if a file of it is neither at its
place nor in the store; then all of it is unpacked, and what was there already is dropped again.

Space is counted per disk, every file whole: a partial becomes its target by a rename, and a hard
link takes no room. Archives and all that is unpacked from them lie there together until the run
ends. So the disk is asked for room before the first byte.

The fields of `Plan` are those of `doit plan --json`, in docs/plan.md; they stay.
"""

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import msgspec

from downloader.artifact import Artifact, LockedModel
from downloader.errors import ModelmakeError, SettingError, Stop
from downloader.fs.commit import check_target
from downloader.fs.digests import cores
from downloader.fs.files import private_folder
from downloader.fs.locks import partial_path
from downloader.fs.rooted_path import RootedPath
from downloader.fs.space import Room, disk_of, free_bytes, held_bytes
from downloader.project import resolve
from downloader.project.lockfile import Lockfile
from downloader.project.project import Declared, Model, Project, refuse_stale
from downloader.sources.interface import Source
from downloader.sources.registry import source_for
from downloader.targets.shared import Sharing
from downloader.targets.state import (
    FileKey,
    Receipt,
    Target,
    archive_place,
    extra,
    load_receipts,
    target_rules,
)
from downloader.transfer.partial import begun

if TYPE_CHECKING:
    from pathlib import Path


def foresee(project: Project) -> Project:
    """Return the project with the models.lock that it would have, kept in memory only.

    What follows from an entry is taken from there, with the pins that still hold; what a server
    would tell when it is asked for a size stays unknown.
    """
    if not project.is_stale:
        return project
    before = project.lockfile.models
    models: dict[str, LockedModel] = {}
    for each in project.declared:
        if found := _locked(each, before.get(each.name)):
            models[each.name] = found
    seen = Project(project.manifest_path, project.settings)
    seen.lockfile, seen.declared = Lockfile(models=models), project.declared
    return seen


def _locked(each: Declared, before: LockedModel | None) -> LockedModel | None:
    if before is not None and before.entry == each.digest:
        return before
    if each.outlined is None:
        return None
    return resolve.lock_model(each.outlined, before, _unasked, upgrade=False)


def _unasked(artifacts: Sequence[Artifact]) -> Sequence[Artifact]:
    return artifacts


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


Action = Literal["present", "adopt", "link", "fetch", "unpack", "missing", "refuse"]
Said = Literal["fetched", "linked", "verified", "unpacked"]
LockState = Literal["current", "stale", "missing"]
ModelState = Literal["locked", "stale", "unknown", "refused"]

VERSION = 1
CANNOT: frozenset[Action] = frozenset({"missing", "refuse"})


class PlannedFile(msgspec.Struct, frozen=True, kw_only=True):
    """What would be done for one file.

    Attributes:
        path: Below the model's folder.
        action: What would be done.
        outcome: What `doit` then says that it did; None where it says nothing.
        why: The rule that made it so; empty where it is present.
        size: In bytes; None where nobody knows it yet.
        bytes_to_move: How many would come over the wire; None where the size is not known.
        bytes_resumed: How many are in a partial already.
    """

    path: str
    action: Action
    outcome: Said | None = None
    why: str = ""
    size: int | None = None
    bytes_to_move: int | None = 0
    bytes_resumed: int = 0


class Extraneous(msgspec.Struct, frozen=True, kw_only=True):
    """A file in a model's folder that models.lock does not name."""

    path: str
    size: int


class PlannedModel(msgspec.Struct, frozen=True, kw_only=True):
    """What would be done for one model.

    Attributes:
        name: Its key in models.yaml.
        folder: Where its files go, from the folder of models.yaml.
        state: `locked`; `stale` where models.lock has to be brought up to date first, and the files
            are those that follow from the entry; `unknown` where only the provider can tell them;
            `refused` where nothing can be done.
        why: What is unknown or refused, a sentence without its full stop; empty otherwise.
        files: Its files, archives among them where something is done with them.
        extraneous: What else lies there; it is left alone.
    """

    name: str
    folder: str
    state: ModelState
    why: str = ""
    files: tuple[PlannedFile, ...] = ()
    extraneous: tuple[Extraneous, ...] = ()

    def count(self, action: Action) -> int:
        """Return for how many files that would be done."""
        return sum(each.action == action for each in self.files)

    @property
    def bytes_to_move(self) -> int:
        """How many bytes would come over the wire, as far as sizes are known."""
        return sum(each.bytes_to_move or 0 for each in self.files)

    @property
    def unknown_sizes(self) -> int:
        """How many files would be fetched whose size is not known."""
        return sum(each.bytes_to_move is None for each in self.files)


class Volume(msgspec.Struct, frozen=True, kw_only=True):
    """What a disk has to hold.

    Attributes:
        folder: A folder on it.
        peak_bytes: How many bytes more than now lie there at the most, while the run lasts.
        freed_bytes: How many of those, or of what is there now, are removed at its end.
        free_bytes: How many are free now; None where the disk does not tell.
        is_at_least: Whether sizes are unknown, so that it may be more.
    """

    folder: str
    peak_bytes: int
    freed_bytes: int
    free_bytes: int | None
    is_at_least: bool

    @property
    def fits(self) -> bool:
        """Whether there is room for it, as far as is known."""
        return self.free_bytes is None or self.peak_bytes <= self.free_bytes


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What `doit` would do.

    Attributes:
        lock: How models.lock stands.
        offline: Whether nothing may be dialled.
        refusal: Why `doit` would begin with nothing; None where it would begin.
        models: What would be done for each model.
        volumes: What each disk has to hold; none where nothing is written.
    """

    version: int = VERSION
    lock: LockState
    offline: bool
    refusal: str | None
    models: tuple[PlannedModel, ...]
    volumes: tuple[Volume, ...]

    @property
    def bytes_to_move(self) -> int:
        """How many bytes would come over the wire, as far as is known."""
        return sum(each.bytes_to_move for each in self.models)

    @property
    def bytes_resumed(self) -> int:
        """How many bytes are in partials already."""
        return sum(file.bytes_resumed for each in self.models for file in each.files)

    @property
    def unknown_sizes(self) -> int:
        """How many files would be fetched whose size is not known."""
        return sum(each.unknown_sizes for each in self.models)

    @property
    def is_at_least(self) -> bool:
        """Whether sizes or whole models are unknown, so that it may be more."""
        return bool(self.unknown_sizes) or any(each.state == "unknown" for each in self.models)

    @property
    def fits(self) -> bool:
        """Whether every disk has room, as far as is known."""
        return all(each.fits for each in self.volumes)

    @property
    def is_possible(self) -> bool:
        """Whether `doit` can be expected to bring everything up to date."""
        is_refused = self.refusal or any(each.state == "refused" for each in self.models)
        return not is_refused and self.fits and not self.files(*CANNOT)

    def files(self, *actions: Action) -> list[tuple[PlannedModel, PlannedFile]]:
        """Return the files for which one of these would be done, each with its model."""
        found = ((model, file) for model in self.models for file in model.files)
        return [each for each in found if each[1].action in actions]

    def dump(self) -> bytes:
        """Return the plan as JSON, with its sums, in one line."""
        sums = {
            "bytes_to_move": self.bytes_to_move,
            "bytes_resumed": self.bytes_resumed,
            "unknown_sizes": self.unknown_sizes,
            "is_at_least": self.is_at_least,
            "fits": self.fits,
            "is_possible": self.is_possible,
        }
        own: dict[str, object] = msgspec.to_builtins(self)
        return msgspec.json.encode({**own, **sums})


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
        self._receipts: dict[str, dict[str, Receipt]] = {}
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

    def _known(self, name: str) -> dict[str, Receipt]:
        with self._finding:
            if name not in self._receipts:
                self._receipts[name] = load_receipts(self._project.folder(name))
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


Reading = Callable[[int, int], None]
"""Told how many files are going to be hashed, and how many bytes they have."""


def make_plan(project: Project, names: Sequence[str], reading: Reading) -> Plan:
    """Return what `doit` would do now, or `doit fetch:NAME` for each of the names.

    Nothing is written, nothing is dialled.

    Args:
        project: Whose models.
        names: The models; none named: those that are not optional.
        reading: Told before files are hashed, which may take long.

    Raises:
        ModelmakeError: models.yaml or models.lock cannot be used, or has no model of a name.
    """
    return _Making(project, foresee(project)).plan(_unique(project, names), reading)


def _unique(project: Project, names: Sequence[str]) -> frozenset[str]:
    return frozenset(project.named(name).name for name in names)


class _Making:
    """One plan on its way.

    Args:
        project: As it is.
        seen: As it will be once it is locked.
    """

    def __init__(self, project: Project, seen: Project) -> None:
        self._project, self._seen = project, seen
        self._sharing = Sharing(seen, Stop())
        self._needs = Needs(seen, self._sharing)
        self._judge = Judge(seen, self._sharing)
        self._archives = Archives(seen, self._judge, self._needs)
        self._judged: Judged = {}
        self._stale: dict[str, dict[str, str]] = {}
        self._unpackings: list[Unpacking] = []

    def plan(self, names: frozenset[str], reading: Reading) -> Plan:
        every = self._seen.models()
        wanted = [each for each in every if _is_wanted(each, names)]
        self._judge_files(wanted, reading)
        for model in wanted:
            self._judge_archives(model)
        self._fetch_once(wanted)
        return Plan(
            lock=self._lock_state(),
            offline=self._seen.settings.is_offline,
            refusal=self._refusal(wanted),
            models=tuple(self._planned(wanted, every)),
            volumes=tuple(self._rooms(wanted).volumes()),
        )

    def _judge_files(self, models: Iterable[Model], reading: Reading) -> None:
        """Judge all that is no archive; in threads, since hashlib releases the GIL."""
        stale: list[Wanted] = []
        for model in models:
            self._stale[model.name] = {}
            for artifact, why in target_rules(model):
                wanted = Wanted(name=model.name, artifact=artifact, why=why)
                if why is None:
                    self._judged[model.name, artifact.path] = self._judge.file(wanted)
                else:
                    self._stale[model.name][artifact.path] = why
                    stale.append(wanted)
        files = [each for each in stale if not self._is_archive(each)]
        if files:
            self._judge_stale(files, reading)

    def _judge_stale(self, files: Sequence[Wanted], reading: Reading) -> None:
        from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - only where one is stale

        to_read = [count for each in files if (count := self._judge.bytes_to_read(each))]
        if to_read:
            reading(len(to_read), sum(to_read))
        with ThreadPoolExecutor(cores()) as pool:
            for each, found in zip(files, pool.map(self._judge_one, files), strict=True):
                self._judged[each.name, each.artifact.path] = found

    def _judge_one(self, wanted: Wanted) -> PlannedFile:
        is_member = wanted.artifact.archive is not None
        return self._judge.member(wanted) if is_member else self._judge.file(wanted)

    def _is_archive(self, wanted: Wanted) -> bool:
        return self._seen.lockfile.models[wanted.name].has_archive(wanted.artifact.path)

    def _judge_archives(self, model: Model) -> None:
        for archive in model.locked.archives if model.locked else ():
            stale = self._stale[model.name]
            if found := self._archives.plan(model, archive, stale, self._judged):
                self._unpackings.append(found)

    def _fetch_once(self, models: Iterable[Model]) -> None:
        """Plan the same bytes once: the others are links, where there is a store for that."""
        fetched = set[str]()
        for model in models:
            if not self._sharing.is_near(model.name):
                continue
            for artifact in model.artifacts:
                found = self._judged[model.name, artifact.path]
                if found.action != "fetch" or artifact.sha256 is None:
                    continue
                if artifact.sha256 in fetched:
                    self._judged[model.name, artifact.path] = msgspec.structs.replace(
                        found, action="link", outcome="linked", bytes_to_move=0, bytes_resumed=0
                    )
                fetched.add(artifact.sha256)

    def _planned(self, models: Sequence[Model], every: Sequence[Model]) -> Iterator[PlannedModel]:
        files: dict[str, list[PlannedFile]] = {model.name: [] for model in models}
        strangers: dict[str, list[Extraneous]] = {model.name: [] for model in models}
        for each in extra(models, every):
            strangers[each.model].append(Extraneous(path=each.path, size=each.size))
        for (name, _), found in self._judged.items():
            files[name].append(found)
        for model in models:
            state, why = self._state(model)
            yield PlannedModel(
                name=model.name,
                folder=model.declared.folder,
                state=state,
                why=why,
                files=tuple(sorted(files[model.name], key=lambda each: each.path)),
                extraneous=tuple(strangers[model.name]),
            )

    def _state(self, model: Model) -> tuple[ModelState, str]:
        if not model.declared.is_known:
            return "refused", f"this version has no source {model.declared.source!r}"
        if model.locked is None:
            return self._unknown()
        before = self._project.lockfile.models.get(model.name)
        is_current = before is not None and before.entry == model.declared.digest
        return ("locked" if is_current else "stale"), ""

    def _unknown(self) -> tuple[ModelState, str]:
        why = "not locked, and only its provider knows its files"
        settings = self._seen.settings
        if settings.is_offline:
            return "refused", f"{why}, which MODELMAKE_OFFLINE forbids to ask"
        if self._project.is_read_only:
            return "refused", f"{why}; {settings.who_forbids} forbids to write models.lock"
        return "unknown", why

    def _lock_state(self) -> LockState:
        if not self._project.lock_path.exists():
            return "missing"
        return "stale" if self._project.is_stale else "current"

    def _refusal(self, models: Iterable[Model]) -> str | None:
        """Return why a run would begin with nothing: its lock, or the disk."""
        try:
            if self._project.is_read_only and self._project.is_outline_stale:
                refuse_stale(self._project)
            self._claim_room(models)
        except ModelmakeError as error:
            return error.report()
        return None

    def _claim_room(self, models: Iterable[Model]) -> None:
        settings = self._seen.settings
        room = Room(is_watched=settings.is_preflight and not settings.is_offline)
        files = [(model.name, path) for model in models for path in self._stale[model.name]]
        room.plan(
            (partial_path(folder, artifact.path).path, artifact.size)
            for folder, artifact in self._needs.planned(files)
            if artifact.size is not None
        )

    def _rooms(self, models: Iterable[Model]) -> Rooms:
        rooms = Rooms(self._seen, self._sharing)
        for model in models:
            for each in (*model.locked.files, *model.locked.archives) if model.locked else ():
                if found := self._judged.get((model.name, each.path)):
                    rooms.add_file(model.name, each, found)
        for unpacking in self._unpackings:
            rooms.add_unpacking(unpacking)
        return rooms


def _is_wanted(model: Model, names: frozenset[str]) -> bool:
    return model.name in names if names else not model.declared.is_optional
