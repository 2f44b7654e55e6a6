"""A plan of the wanted models: everything is looked at, what needs it is hashed on all cores."""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from downloader.disk.hashing import cores
from downloader.errors import ModelmakeError
from downloader.leftovers import extra
from downloader.lock.lock_check import refuse_stale
from downloader.model import Model
from downloader.planning.archives import Archives, Judged, Unpacking
from downloader.planning.foreseen import foresee
from downloader.planning.judging import Judge, Wanted
from downloader.planning.plan import (
    Extraneous,
    LockState,
    ModelState,
    Plan,
    PlannedFile,
    PlannedModel,
)
from downloader.planning.rooms import Rooms
from downloader.project import Project
from downloader.syncing.needs import Needs
from downloader.syncing.sharing import Sharing
from downloader.transfer.locked_file import partial_path
from downloader.transfer.preflight import Room

Reading = Callable[[int, int], None]
"""Told how many files are going to be hashed, and how many bytes they have."""


def make(project: Project, names: Sequence[str], reading: Reading) -> Plan:
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
        self._sharing = Sharing(seen, threading.Event())
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
            for artifact, why in model.why_stale():
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
            return "refused", f"this version has no source {model.source_name!r}"
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
    return model.name in names if names else not model.declared.entry.optional
