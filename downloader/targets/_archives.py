"""Bring archives, and the files that are unpacked from them, up to date.

an archive, its files not known yet     fetch, unpack aside, put all in place, note in the lock
a file of an archive, right already     nothing
a file of an archive, missing or wrong  take the archive from where it is kept, or fetch it;
                                        unpack it aside, once a run; put this file in place

Nothing is visible under a final name before the whole archive was read and checked. The files go
in one by one, since the model's folder may hold others (docs/decisions/0015). An archive that is
not to be kept waits in the model's private folder until its files are in place.
"""

import contextlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import msgspec
from msgspec.structs import replace

from downloader.archive.compression import USUAL, UnsafeArchive
from downloader.archive.unpack import Member, unpack, what_came
from downloader.artifact import Artifact, check_paths, counted
from downloader.errors import (
    BadArchive,
    DigestMismatch,
    ManifestError,
    ModelmakeError,
    Stop,
    StoreError,
)
from downloader.fs import scratch
from downloader.fs.commit import Commit, set_aside
from downloader.fs.files import Private, private_folder
from downloader.fs.rooted_path import READ, RootedPath
from downloader.progress.events import Observer
from downloader.project.project import Project
from downloader.targets._files import FileSyncer, Means, Outcome
from downloader.targets.plan import PRESENT, Planner, Target, decisions
from downloader.targets.state import FileKey, archive_place, private_archives

_CHOOSE = "Leave that file out of its archive with `exclude`."


@dataclass(frozen=True, slots=True, kw_only=True)
class Staged:
    """An archive that was unpacked aside.

    Attributes:
        folder: Where its files are for now.
        members: The ones that the entry wants, as they stand in models.lock.
        came: What the archive holds.
    """

    folder: RootedPath
    members: tuple[Artifact, ...]
    came: Literal["adapter", "model"]


class Unpacker:
    """Unpacks the archives of one project's models."""

    def __init__(self, project: Project, stop: Stop) -> None:
        self._project, self._stop = project, stop
        self._folders: list[RootedPath] = []

    def stage(self, name: str, archive: Artifact, file: RootedPath, observer: Observer) -> Staged:
        """Unpack an archive aside.

        Args:
            name: The model.
            archive: The archive, as in models.lock.
            file: Where it is, its bytes verified.
            observer: Told how it goes.

        Raises:
            BadArchive: It is damaged, or holds what is not taken.
            DigestMismatch: Other files came out than models.lock says.
            ManifestError: The patterns leave no file, or one that cannot be a target.
            StoreError: The disk refused.
        """
        workspace = private_folder(self._project.folder(name)) / Private.UNPACKING
        scratch.sweep(workspace)
        folder = workspace / scratch.own_name()
        self._folders.append(folder)
        limits = USUAL.times(self._project.named(name).entry.limit_factor)
        found = unpack(file, folder, Watching(observer, self._stop), limits=limits)
        members = tuple(
            Artifact(
                path=f"{archive.into}/{each.path}" if archive.into else each.path,
                size=each.size,
                sha256=each.sha256,
                first_use=True,
                archive=archive.path,
            )
            for each in found
        )
        return Staged(
            folder=folder,
            members=self._checked(name, archive, members),
            came=_came(found),
        )

    def put(self, name: str, staged: Staged, member: Artifact, into: str | None) -> None:
        """Move one unpacked file to its target.

        Raises:
            StoreError: The disk refused, or there is something else than a file.
        """
        target = RootedPath(self._project.folder(name), member.path)
        source = staged.folder / member.path.removeprefix(f"{into}/" if into else "")
        with Commit(target) as place, source.open(READ) as file:
            place.take(file, str(member.sha256), self._stop.check)

    def close(self) -> None:
        """Remove what was unpacked and not wanted."""
        for folder in self._folders:
            folder.remove_tree()

    def _checked(
        self, name: str, archive: Artifact, members: tuple[Artifact, ...]
    ) -> tuple[Artifact, ...]:
        """Return the members that are wanted, which must be those that models.lock knows."""
        entry = self._project.named(name).entry
        chosen = tuple(each for each in members if entry.wants(each.path))
        if not chosen:
            raise ManifestError(
                f"models.{name}: include and exclude leave none of the archive's files.",
                hint="The files are: " + ", ".join(each.path for each in members[:10]),
            )
        model = self._project.lockfile.models[name]
        if any(each.path == archive.path for each in chosen):
            raise ManifestError(
                f"models.{name}: the archive {archive.path} holds a file of its own name.",
                hint=f"{_CHOOSE} Or give the archive another name with `archive`.",
            )
        others = (*model.not_from(archive.path), *model.archives)
        if problem := check_paths([each.path for each in (*chosen, *others)]):
            raise ManifestError(f"models.{name}: {problem}.", hint=_CHOOSE)
        locked = model.out_of(archive.path)
        if locked and {_bytes_of(each) for each in locked} != {_bytes_of(each) for each in chosen}:
            raise DigestMismatch(
                f"{archive.path} unpacks to other files than models.lock says.",
                hint="Restore models.lock from version control.",
            )
        return locked or chosen


def _came(found: tuple[Member, ...]) -> Literal["adapter", "model"]:
    """Tell an adapter from a whole model, as `what_came` does."""
    tops = {each.path.rpartition("/")[2] for each in found if each.path.count("/") <= 1}
    return "adapter" if "adapter_config.json" in tops else "model"


class Watching:
    """Tells an observer of the unpacking, and ends it when the run is stopped."""

    def __init__(self, observer: Observer | None, stop: Stop) -> None:
        self._observer, self._stop = observer, stop

    def moved(self, count_bytes: int) -> None:
        """So many more bytes came out of the archive."""
        if self._observer:
            self._observer.unpacked(count_bytes)

    def check_stop(self) -> None:
        """Raise Interrupted when the run was stopped."""
        self._stop.check()


def _bytes_of(member: Artifact) -> tuple[str, int | None, str | None]:
    return member.path, member.size, member.sha256


NOTHING = Outcome(
    verb="verified", size=0, moved_bytes=0, seconds=0.0, is_first_use=False, is_repeat=True
)
"""Message if there was nothing to do."""

HOLDS = {"adapter": "an adapter", "model": "a whole model"}


@dataclass(slots=True)
class _Archive:
    """State of one archive in this run; all its tasks share it, and the lock.

    Attributes:
        outcome: How it came to be where it is kept; None as long as it was not needed.
        file: Where that is.
        staged: What was unpacked from it.
        error: Why it could not be had, or unpacked: the same for each of its files.
        is_told: Whether a task of its own reported the outcome.
        is_counted: Whether the bytes that it moved were reported.
    """

    lock: threading.RLock = field(default_factory=threading.RLock)
    outcome: Outcome | None = None
    file: RootedPath | None = None
    staged: Staged | None = None
    error: ModelmakeError | None = None
    is_told: bool = False
    is_counted: bool = False

    def tell(self) -> Outcome:
        """Return what was done for the archive itself; a repeat if that was reported before."""
        assert self.outcome
        moved_bytes = 0 if self.is_counted else self.outcome.moved_bytes
        told = replace(self.outcome, moved_bytes=moved_bytes, is_repeat=self.is_told)
        self.is_told = self.is_counted = True
        return told

    def count(self) -> int:
        """Return how many bytes were moved for it, and not reported yet."""
        assert self.outcome
        moved_bytes = 0 if self.is_counted else self.outcome.moved_bytes
        self.is_counted = True
        return moved_bytes


class ArchiveSyncer:
    """Brings archives and their files up to date; safe to share between threads."""

    def __init__(self, planner: Planner, files: FileSyncer, stop: Stop) -> None:
        self._project, self._planner, self._files, self._stop = (
            planner.project,
            planner,
            files,
            stop,
        )
        self._unpacker = Unpacker(planner.project, stop)
        self._finding = threading.Lock()
        self._archives: dict[FileKey, _Archive] = {}

    def sync(self, name: str, archive: Artifact, observer: Observer) -> Outcome:
        """Bring an archive up to date, and extract it if its files are not known yet.

        Raises:
            ModelmakeError: It could not be done.
        """
        with self._alone(name, archive.path) as this:
            self._have(this, name, archive, observer)
            if self._project.lockfile.models[name].out_of(archive.path):
                return this.tell()
            staged = self._unpack(this, name, archive, observer)
            for member in staged.members:
                put = partial(self._put, name, archive, member, staged)
                self._files.sync(name, member, observer, means=Means(unpack=put))
            self._project.write_pins()
            now = self._project.artifact(name, archive.path)
            self._project.put_unpacked(name, _with_came(now, staged.came), staged.members)
            files = counted(len(staged.members), "file")
            note = f"{files} unpacked, {_type_note(archive, staged.came)}"
            return replace(this.tell(), note=note)

    def sync_member(self, name: str, member: Artifact, observer: Observer) -> Outcome:
        """Bring one file of an archive up to date.

        Raises:
            ModelmakeError: It could not be done.
        """
        archive = self._project.artifact(name, str(member.archive))
        self._of(name, archive.path)

        def unpack(target: Target) -> int:
            with self._alone(name, archive.path) as this:
                staged = self._unpack(this, name, archive, observer)
                # One that is kept is a target: it tells its bytes itself.
                keeps = self._project.named(name).keeps_archives
                moved_bytes = 0 if keeps else this.count()
            self._put(name, archive, member, staged, target)
            return moved_bytes

        means = Means(unpack=unpack, asks_mirrors=True)
        return self._files.sync(name, member, observer, means=means)

    def stage(self, name: str, archive: Artifact, observer: Observer) -> Outcome:
        """Have an archive unpacked aside for `sync_member`, once a run, if a file is missing.

        Raises:
            ModelmakeError: It could not be done; the same error each time.
        """
        if not self._planner.must_unpack(name, archive):
            return NOTHING  # a file that is wrong in spite of its size asks for itself
        if self._project.copies(name) and self._project.lockfile.models[name].out_of(archive.path):
            return NOTHING  # a mirror may have the files themselves, and each of them asks
        with self._alone(name, archive.path) as this:
            began = time.monotonic()
            self._unpack(this, name, archive, observer)
            return replace(this.tell(), seconds=time.monotonic() - began)

    def inspect(self, name: str, archive: Artifact, outcome: Outcome) -> Outcome:
        """Read from an archive that stays packed what came, and note it.

        Raises:
            BadArchive: It is damaged or none; it was set aside.
        """
        if archive.checkpoint is None or archive.checkpoint.came or self._project.is_read_only:
            return outcome
        file = RootedPath(self._project.folder(name), archive.path)
        with self._doubting(name, archive, file):
            try:
                came = what_came(file, Watching(None, self._stop))
            except UnsafeArchive:  # nobody unpacks it here
                return replace(outcome, note="what it holds is not known")
        now = self._project.artifact(name, archive.path)
        self._project.pin(name, _with_came(now, came))
        return replace(outcome, note=_type_note(archive, came))

    def forget(self, name: str, path: str) -> None:
        """Check an archive again when it is asked for next."""
        this = self._archives.get((name, path))
        if this is not None:
            with this.lock:
                this.outcome = this.file = this.error = None

    def close(self) -> None:
        """Remove what was unpacked and not put anywhere, and archives that are not to be kept.

        An archive whose files are not all in place stays for the next run.
        """
        self._unpacker.close()
        for (name, path), this in self._archives.items():
            is_done = this.file and not this.error and not self._project.named(name).keeps_archives
            if this.file and is_done and self._is_unpacked(name, path):
                with contextlib.suppress(StoreError):
                    this.file.remove()
        for name in {name for name, _ in self._archives}:
            self._sweep(name)

    def _sweep(self, name: str) -> None:
        """Remove what killed processes left of a model, and no run needs."""
        folder = self._project.folder(name)
        scratch.sweep(private_folder(folder) / Private.UNPACKING)
        for archive in self._project.lockfile.models[name].archives:
            left = private_archives(folder) / archive.path
            keeps = self._project.named(name).keeps_archives
            if left.is_file() and (keeps or self._is_unpacked(name, archive.path)):
                with contextlib.suppress(StoreError):
                    left.remove()

    def _is_unpacked(self, name: str, path: str) -> bool:
        """Whether the archive's files are known, and all in place."""
        members = self._project.lockfile.models[name].out_of(path)
        folder, entry = self._project.folder(name), self._project.named(name).digest
        found = decisions(folder, members, entry)
        return bool(members) and all(each is PRESENT for _, each in found)

    def _of(self, name: str, path: str) -> _Archive:
        with self._finding:
            return self._archives.setdefault((name, path), _Archive())

    @contextmanager
    def _alone(self, name: str, path: str) -> Iterator[_Archive]:
        """Keep an archive's other tasks waiting; what fails here fails for all of them."""
        this = self._of(name, path)
        with this.lock:
            if this.error:
                raise this.error
            try:
                yield this
            except ModelmakeError as error:
                this.error = error
                raise

    def _have(self, this: _Archive, name: str, archive: Artifact, observer: Observer) -> RootedPath:
        """Bring the archive itself to where it is kept, once a run, and return where that is."""
        if this.file is None:
            place = archive_place(self._project, name, archive)
            this.outcome = self._files.sync(name, archive, observer, place)
            this.file = place or RootedPath(self._project.folder(name), archive.path)
            if place:
                self._project.write_pins()  # no receipt confirms it
        return this.file

    def _unpack(self, this: _Archive, name: str, archive: Artifact, observer: Observer) -> Staged:
        """Have the archive unpacked aside, once a run."""
        if this.staged:
            return this.staged
        file = self._have(this, name, archive, observer)
        with self._doubting(name, archive, file):
            try:
                this.staged = self._unpacker.stage(name, archive, file, observer)
            except StoreError:
                if file.is_file():
                    raise
                # Another process had all its files in place, and removed what is not to be kept.
                this.file = None
                file = self._have(this, name, archive, observer)
                this.staged = self._unpacker.stage(name, archive, file, observer)
        return this.staged

    def _put(
        self, name: str, archive: Artifact, member: Artifact, staged: Staged, target: Target
    ) -> int:
        """Put an unpacked file in place, unless another process did; no byte comes for that."""
        if target.again() is None:
            self._unpacker.put(name, staged, member, archive.into)
        return 0

    @contextmanager
    def _doubting(self, name: str, archive: Artifact, file: RootedPath) -> Iterator[None]:
        """Set a damaged archive aside that no lock pins, and drop the pin made just now.

        So the next run fetches again. One that was pinned before will not become another, and one
        that is whole stays, since what came again would be refused again.
        """
        try:
            yield
        except UnsafeArchive:
            self._project.write_pins()
            raise
        except BadArchive as error:
            if archive.is_pinned:
                raise
            came = self._project.artifact(name, archive.path)
            workspace = private_folder(self._project.folder(name))
            hint = set_aside(file, workspace, came.size or 0, str(came.sha256))
            self._project.pin(name, archive)
            self._project.write_pins()
            raise BadArchive(str(error), hint=hint) from None


def _with_came(archive: Artifact, came: str) -> Artifact:
    if archive.checkpoint is None:
        return archive
    checkpoint = msgspec.structs.replace(archive.checkpoint, came=came)
    return msgspec.structs.replace(archive, checkpoint=checkpoint)


def _type_note(archive: Artifact, came: str) -> str:
    """Return what came, and a word if it is not what was asked for."""
    wanted = archive.checkpoint.request if archive.checkpoint else came
    is_other = (wanted == "adapter") != (came == "adapter")
    asked = f", although {wanted} was asked for" if is_other else ""
    return f"holds {HOLDS[came]}{asked}"
