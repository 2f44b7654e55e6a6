"""Plan a run: the decision about each file, and the disk space that it needs.

Nothing is written and no request is made. Files of which one stat does not tell are hashed, on all
cores. An archive is fetched if a file of it is neither at its place nor in the store; then all of
it is unpacked, and what was there already is dropped again.

Space is counted per disk, every file whole: a partial becomes its target by a rename, and a hard
link takes no room. Archives and all that is unpacked from them lie there together until the run
ends. So the disk is asked for room before the first byte.

The fields of `Plan` are those of `doit plan --json`, in docs/plan.md; they stay. People read a
table if it fits, then what is not up to date, then the sums.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Literal

import msgspec

from downloader.artifact import Artifact, LeftOut, LockedModel, bytes_text, counted, size_text
from downloader.errors import ModelmakeError, Stop, shown
from downloader.fs.digests import cores
from downloader.fs.files import private_folder
from downloader.fs.locks import partial_path
from downloader.fs.space import DiskBudget, disk_of, free_bytes, held_bytes
from downloader.project import resolve
from downloader.project.lockfile import Lockfile
from downloader.project.project import Declaration, Model, Project, refuse_stale
from downloader.targets.plan import Decision, Planner, Target, target_decisions
from downloader.targets.shared import SharedStore
from downloader.targets.state import FileKey, extra

if TYPE_CHECKING:
    from pathlib import Path

Action = Literal["present", "adopt", "link", "fetch", "unpack", "missing", "refuse"]
"""Decision about a file: all of `targets.plan.Action` but `verify`, which is found out."""
LockState = Literal["current", "stale", "missing"]
ModelState = Literal["locked", "stale", "unknown", "refused"]

Said = Literal["fetched", "linked", "verified", "unpacked"]
VERSION = 1
SAID: dict[Action, Said] = {
    "adopt": "verified",
    "link": "linked",
    "fetch": "fetched",
    "unpack": "unpacked",
}
CANNOT: frozenset[Action] = frozenset({"missing", "refuse"})


class PlannedFile(msgspec.Struct, frozen=True, kw_only=True):
    """Plan for one file.

    Attributes:
        path: Below the model's folder.
        action: What would be done.
        outcome: What `doit` then says that it did; None if it says nothing.
        why: The rule that made it so; empty if it is present.
        size: In bytes; None if nobody knows it yet.
        bytes_to_move: How many are to be downloaded; None if the size is not known.
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
    """Plan for one model.

    Attributes:
        name: Its key in models.yaml.
        folder: Where its files go, from the folder of models.yaml.
        state: `locked`; `stale` if models.lock has to be brought up to date first, and the files
            are those that follow from the entry; `unknown` if only the provider knows them;
            `refused` if nothing can be done.
        why: What is unknown or refused, a sentence without its full stop; empty otherwise.
        files: Its files, including archives that something is done with.
        extraneous: What else lies there; it is left alone.
        left_out: What else its repository has and the entry does not want; None if nothing.
    """

    name: str
    folder: str
    state: ModelState
    why: str = ""
    files: tuple[PlannedFile, ...] = ()
    extraneous: tuple[Extraneous, ...] = ()
    left_out: LeftOut | None = None

    def count(self, action: Action) -> int:
        """Return for how many files that would be done."""
        return sum(each.action == action for each in self.files)

    @property
    def bytes_to_move(self) -> int:
        """Bytes to download, as far as sizes are known."""
        return sum(each.bytes_to_move or 0 for each in self.files)

    @property
    def unknown_sizes(self) -> int:
        """Number of files to download whose size is unknown."""
        return sum(each.bytes_to_move is None for each in self.files)


class Volume(msgspec.Struct, frozen=True, kw_only=True):
    """Space that is needed on a disk.

    Attributes:
        folder: A folder on it.
        peak_bytes: How many bytes more than now lie there at the most, while the run lasts.
        freed_bytes: How many of those, or of what is there now, are removed at its end.
        free_bytes: How many are free now; None if the disk does not tell.
        is_at_least: Whether sizes are unknown, so that it may be more.
    """

    folder: str
    peak_bytes: int
    freed_bytes: int
    free_bytes: int | None
    is_at_least: bool

    @property
    def fits(self) -> bool:
        """Whether there is room for it, as far as known."""
        return self.free_bytes is None or self.peak_bytes <= self.free_bytes


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Plan of a whole run.

    Attributes:
        lock: How models.lock stands.
        offline: Whether the network must not be used.
        refusal: Why `doit` would begin with nothing; None if it would begin.
        models: What would be done for each model.
        volumes: What each disk has to hold; none if nothing is written.
    """

    version: int = VERSION
    lock: LockState
    offline: bool
    refusal: str | None
    models: tuple[PlannedModel, ...]
    volumes: tuple[Volume, ...]

    @property
    def bytes_to_move(self) -> int:
        """Bytes to download, as far as known."""
        return sum(each.bytes_to_move for each in self.models)

    @property
    def bytes_resumed(self) -> int:
        """Bytes that partials already have."""
        return sum(file.bytes_resumed for each in self.models for file in each.files)

    @property
    def unknown_sizes(self) -> int:
        """Number of files to download whose size is unknown."""
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


def outlook(project: Project, name: str, path: str) -> str:
    """Return what a run would do with a file that is not up to date, which is not read for that.

    Args:
        project: Whose files.
        name: The model.
        path: The file's path below the model's folder.
    """
    seen = foresee(project)
    artifact = seen.artifact(name, path)
    planner = Planner(seen, SharedStore(seen, Stop()))
    found = planner.glance(name, artifact)
    if not found.needs_bytes:
        return "unpack" if found.is_present else f"verify ({size_text(artifact.size)})"
    planned = _file(artifact, Target(planner, name, artifact).decide(), "")
    if planned.action == "missing":
        return "nothing: it is not here, and MODELMAKE_OFFLINE is set"
    return f"{planned.action} ({', '.join(_details(planned))})"


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


def _locked(each: Declaration, before: LockedModel | None) -> LockedModel | None:
    if before is not None and each.is_current(before):
        return before
    if each.outlined is None:
        return None
    return resolve.lock_model(each.outlined, before, _unasked, upgrade=False)


def _unasked(artifacts: Sequence[Artifact]) -> Sequence[Artifact]:
    return artifacts


class _Disks:
    """Counts what the files of a plan take."""

    def __init__(self, project: Project, sharing: SharedStore) -> None:
        self._project, self._sharing = project, sharing
        self._folders: dict[int, Path] = {}
        self._peak: dict[int, int] = {}
        self._freed: dict[int, int] = {}
        self._unknown = set[int]()

    def add_file(self, name: str, artifact: Artifact, planned: PlannedFile) -> None:
        """Count a file that is fetched or linked, and its second copy if `link` wants one."""
        if planned.action == "fetch":
            workspace = private_folder(self._project.folder(name))
            held = held_bytes(partial_path(workspace, artifact.path).path)
            size = planned.size
            self._add(name, None if size is None else max(0, size - held))
        elif planned.action == "link" and self._sharing.copies(name):
            self._add(name, artifact.size)
        if planned.action in ("fetch", "unpack") and self._is_stored_twice(name, artifact):
            self._add(name, artifact.size)

    def add_unpacking(self, model: Model, archive: Artifact) -> None:
        """Count what comes out of an archive, and the archive if it is removed at the end."""
        assert model.locked
        sizes = [each.size for each in model.locked.out_of(archive.path)] or [None]
        if model.declared.entry.include or model.declared.entry.exclude:
            sizes.append(None)  # what is left out is unpacked too, and nobody noted its size
        for size in sizes:
            self._add(model.name, size)
        if not model.declared.keeps_archives:
            disk = self._disk(model.name)
            self._freed[disk] = self._freed.get(disk, 0) + (archive.size or 0)

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

    Nothing is written, and no request is made.

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
        self._sharing = SharedStore(seen, Stop())
        self._planner = Planner(seen, self._sharing)
        self._disks = _Disks(seen, self._sharing)
        self._planned: dict[FileKey, PlannedFile] = {}
        self._stale: dict[FileKey, Decision] = {}

    def plan(self, names: frozenset[str], reading: Reading) -> Plan:
        """Return the plan for some models, or for all that a plain `doit` syncs."""
        every = self._seen.models()
        wanted = [each for each in every if _is_wanted(each, names)]
        self._plan_files(wanted, reading)
        for model in wanted:
            for archive in model.locked.archives if model.locked else ():
                self._plan_archive(model, archive)
        self._fetch_once(wanted)
        for model in wanted:
            for each in (*model.locked.files, *model.locked.archives) if model.locked else ():
                if planned := self._planned.get((model.name, each.path)):
                    self._disks.add_file(model.name, each, planned)
        return Plan(
            lock=self._lock_state(),
            offline=self._seen.settings.is_offline,
            refusal=self._refusal(),
            models=tuple(self._models(wanted, every)),
            volumes=tuple(self._disks.volumes()),
        )

    def _plan_files(self, models: Iterable[Model], reading: Reading) -> None:
        """Plan everything but archives; hash in threads, because hashlib releases the GIL."""
        targets: list[Target] = []
        to_read: list[int] = []
        for model in models:
            for artifact, found in target_decisions(model):
                key = model.name, artifact.path
                if found.is_present:
                    self._planned[key] = _file(artifact, found, "")
                    continue
                self._stale[key] = found
                if model.locked and not model.locked.has_archive(artifact.path):
                    targets.append(target := Target(self._planner, model.name, artifact))
                    is_read = found.action == "verify" or self._sharing.must_read(
                        artifact, target.path
                    )
                    if is_read and artifact.is_pinned and artifact.size:
                        to_read.append(artifact.size)
        if to_read:
            reading(len(to_read), sum(to_read))
        if targets:
            with ThreadPoolExecutor(cores()) as pool:
                for target, found in zip(targets, pool.map(Target.decide, targets), strict=True):
                    artifact = target.artifact
                    self._planned[target.name, artifact.path] = _file(artifact, found, found.why)

    def _plan_archive(self, model: Model, archive: Artifact) -> None:
        """Plan an archive, whether it is a target or only needed for its files."""
        key, why = (model.name, archive.path), ""
        if found := self._stale.get(key):
            why = found.why
        members = model.locked.out_of(archive.path) if model.locked else ()
        to_unpack = [
            each for each in members if self._planned[model.name, each.path].action == "unpack"
        ]
        must_unpack = self._planner.must_unpack(model.name, archive)
        if not (must_unpack or to_unpack):
            if why:
                found = Target(self._planner, model.name, archive).decide()
                self._planned[key] = _file(archive, found, why)
            return
        found = self._planner.archive(model.name, archive).decide()
        if found.is_present and why:  # it has still to be unpacked
            found = msgspec.structs.replace(found, action="adopt")
        planned = _file(archive, found, why or "its files are missing")
        said = planned.outcome or ("verified" if found.is_present else None)
        is_told = must_unpack or bool(why)
        self._planned[key] = msgspec.structs.replace(planned, outcome=said if is_told else None)
        if planned.action not in CANNOT:
            self._disks.add_unpacking(model, archive)
            return
        for each in to_unpack:
            before = self._planned[model.name, each.path]
            self._planned[model.name, each.path] = msgspec.structs.replace(
                before,
                action=planned.action,
                outcome=None,
                why=f"{before.why}; it comes out of {archive.path}",
            )

    def _fetch_once(self, models: Iterable[Model]) -> None:
        """Plan the same bytes once: the others are links, if there is a store."""
        fetched = set[str]()
        for model in models:
            if not self._sharing.is_near(model.name):
                continue
            for artifact in model.artifacts:
                found = self._planned[model.name, artifact.path]
                if found.action != "fetch" or artifact.sha256 is None:
                    continue
                if artifact.sha256 in fetched:
                    self._planned[model.name, artifact.path] = msgspec.structs.replace(
                        found, action="link", outcome="linked", bytes_to_move=0, bytes_resumed=0
                    )
                fetched.add(artifact.sha256)

    def _models(self, models: Sequence[Model], every: Sequence[Model]) -> Iterator[PlannedModel]:
        files: dict[str, list[PlannedFile]] = {model.name: [] for model in models}
        strangers: dict[str, list[Extraneous]] = {model.name: [] for model in models}
        for each in extra(models, every):
            strangers[each.model].append(Extraneous(path=each.path, size=each.size))
        for (name, _), found in self._planned.items():
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
                left_out=model.locked.left_out if model.locked else None,
            )

    def _state(self, model: Model) -> tuple[ModelState, str]:
        if model.locked is None:
            return self._unknown()
        return ("locked" if self._project.is_current(model.declared) else "stale"), ""

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

    def _refusal(self) -> str | None:
        """Return why a run would begin with nothing: its lock, or the disk."""
        settings = self._seen.settings
        try:
            if self._project.is_read_only and self._project.is_outline_stale:
                refuse_stale(self._project)
            budget = DiskBudget(is_watched=settings.is_preflight and not settings.is_offline)
            budget.plan(
                (partial_path(folder, artifact.path).path, artifact.size)
                for folder, artifact in self._planner.downloads(self._stale, {})
                if artifact.size is not None
            )
        except ModelmakeError as error:
            return error.report()
        return None


def _file(artifact: Artifact, found: Decision, why: str) -> PlannedFile:
    """Return a decision in words."""
    action = found.action
    assert action != "verify", artifact
    is_fetched = action == "fetch"
    size = found.size if is_fetched else artifact.size
    if size is None and found.source:
        size = found.source.status.st_size
    to_move = max(0, size - found.have) if size is not None else None
    return PlannedFile(
        path=artifact.path,
        action=action,
        outcome=SAID.get(action),
        why=str(found.error or why),
        size=size,
        bytes_to_move=to_move if is_fetched else 0,
        bytes_resumed=found.have,
    )


def _is_wanted(model: Model, names: frozenset[str]) -> bool:
    return model.name in names if names else not model.declared.is_optional


MOST_LINES = 20
COLUMNS: tuple[Action, ...] = (
    "present",
    "adopt",
    "link",
    "fetch",
    "unpack",
    "missing",
    "refuse",
)
LOCK_NOTES = {
    "current": "",
    "stale": "models.lock is stale: `doit` brings it up to date first.",
    "missing": "There is no models.lock: `doit` writes it first.",
}


def plan_lines(plan: Plan, width: int) -> Iterator[str]:
    """Yield the lines of a plan.

    Args:
        plan: The plan.
        width: How many columns there are; if a table is wider, models are listed one by one.
    """
    if plan.refusal is None and (note := LOCK_NOTES[plan.lock]):
        yield note
    yield from _models(plan, width)
    yield from _files(plan, width)
    yield from _strangers(plan)
    yield from _sums(plan)


def _models(plan: Plan, width: int) -> Iterator[str]:
    known = [each for each in plan.models if each.files]
    table = list(_table(known))
    if max(map(len, table), default=0) <= width:
        yield from table
    else:
        for each in known:
            yield each.name
            yield from (f"  {part}" for part in _parts(each))
    for each in plan.models:
        if each.why:
            yield f"{each.name}: {each.why}."
        if each.left_out:
            yield f"{each.name}: {each.left_out} of its repository."


def _table(models: Sequence[PlannedModel]) -> Iterator[str]:
    """Yield the table's lines; columns in which nothing stands are left out."""
    if not models:
        return
    shown = [action for action in COLUMNS if any(each.count(action) for each in models)]
    rows = [["MODEL", *(action.upper() for action in shown), "TO MOVE"]]
    for each in models:
        counts = [str(each.count(action) or "") for action in shown]
        rows.append([each.name, *counts, _to_move(each)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        name, *cells = (
            cell.rjust(wide) if at else cell.ljust(wide)
            for at, (cell, wide) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join([name, *cells]).rstrip()


def _parts(model: PlannedModel) -> Iterator[str]:
    for action in COLUMNS:
        if count := model.count(action):
            yield f"{action} {count}"
    if text := _to_move(model):
        yield f"to move {text}"


def _to_move(model: PlannedModel) -> str:
    count = model.bytes_to_move
    if model.unknown_sizes:
        return f"{bytes_text(count)} + ?" if count else "?"
    return bytes_text(count) if count else ""


def _files(plan: Plan, width: int) -> Iterator[str]:
    found = plan.files(*(action for action in COLUMNS if action != "present"))
    for model, file in found[:MOST_LINES]:
        name, details = f"{file.action:<7} {model.name}/{file.path}", ", ".join(_details(file))
        if len(name) + len(details) + 3 <= width:
            yield f"{name} ({details})"
        else:
            yield name
            yield f"        {details}"
    yield from _more(len(found), "file")


def _details(file: PlannedFile) -> Iterator[str]:
    yield size_text(file.size)
    if file.bytes_resumed:
        yield f"{bytes_text(file.bytes_resumed)} of it here already"
    if file.why:
        yield file.why


def _strangers(plan: Plan) -> Iterator[str]:
    found = [(model, each) for model in plan.models for each in model.extraneous]
    if found:
        yield "Named by no model, and left alone:"
    for model, each in found[:MOST_LINES]:
        yield f"  {shown(model.folder)}/{each.path} ({bytes_text(each.size)})"
    yield from _more(len(found), "file")


def _more(count: int, noun: str) -> Iterator[str]:
    if count > MOST_LINES:
        yield f"  and {counted(count - MOST_LINES, noun)} more; --json has them all."


def _sums(plan: Plan) -> Iterator[str]:
    if plan.bytes_to_move or plan.is_at_least:
        more = f"{counted(plan.unknown_sizes, 'size')} unknown" * bool(plan.unknown_sizes)
        if plan.bytes_to_move:
            least = "At least " if plan.is_at_least else ""
            to_move = f"{least}{bytes_text(plan.bytes_to_move)} to move"
            yield f"{'; '.join(filter(None, (to_move, more)))}."
        elif more:
            yield f"How much to move is not known: {more}."
    elif _is_all_present(plan.models):
        yield "Nothing to do."
    for each in plan.volumes:
        yield from _volume(each)


def _is_all_present(models: Iterable[PlannedModel]) -> bool:
    return all(
        each.state == "locked" and each.count("present") == len(each.files) for each in models
    )


def _volume(volume: Volume) -> Iterator[str]:
    least = "at least " if volume.is_at_least else ""
    freed = f" ({bytes_text(volume.freed_bytes)} freed at the end)" if volume.freed_bytes else ""
    free = "unknown" if volume.free_bytes is None else bytes_text(volume.free_bytes)
    more = f"{least}{bytes_text(volume.peak_bytes)} more{freed}"
    yield f"Disk of {shown(volume.folder)}: {more}, {free} free."
