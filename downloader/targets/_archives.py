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
import os
import secrets
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

import msgspec

from downloader.archive.compression import UnsafeArchive
from downloader.archive.unpack import Member, unpack, what_came
from downloader.artifact import Artifact, check_path, counted, find_collision
from downloader.errors import (
    BadArchive,
    DigestMismatch,
    LockError,
    ManifestError,
    ModelmakeError,
    Stop,
    StoreError,
)
from downloader.fs.commit import Place, set_aside
from downloader.fs.files import naming, private_folder
from downloader.fs.locks import is_alive, machine
from downloader.fs.rooted_path import BINARY, RootedPath
from downloader.progress.events import Observer
from downloader.project.project import Project
from downloader.settings import Settings
from downloader.targets._files import FileSyncer, Outcome
from downloader.targets.plan import Needs
from downloader.targets.shared import Sharing
from downloader.targets.state import (
    FileKey,
    Target,
    archive_place,
    load_receipts,
    private_archives,
    why_stale,
)

_MADE: set[str] = set()
"""The names of folders that this process unpacked into."""

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
        workspace = private_folder(self._project.folder(name)) / "unpacking"
        remove_abandoned(workspace)
        folder = workspace / f"{machine()}-{os.getpid()}-{secrets.token_hex(4)}"
        _MADE.add(folder.name)
        self._folders.append(folder)
        found = unpack(file, folder, Watching(observer, self._stop))
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
            StoreError: The disk refused, or something that is no file stands there.
        """
        target = RootedPath(self._project.folder(name), member.path)
        source = staged.folder / member.path.removeprefix(f"{into}/" if into else "")
        place = Place(target)
        with naming(source, "open"):
            descriptor = source.open(os.O_RDWR | BINARY)
        try:
            place.take(descriptor, source, str(member.sha256))
        finally:
            os.close(descriptor)

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
        others = (*model.not_from(archive.path), *model.archives)
        _check_paths(name, chosen, {each.path for each in others})
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


def _check_paths(name: str, members: tuple[Artifact, ...], others: set[str]) -> None:
    """Refuse files that cannot be targets of this model beside its other ones.

    Raises:
        ManifestError: Names the path; the archive itself is good.
    """
    paths = [each.path for each in members]
    for path in paths:
        try:
            check_path(path)
        except ValueError as error:
            raise ManifestError(f"models.{name}: {error}.", hint=_CHOOSE) from None
    if found := find_collision([*paths, *others]):
        raise ManifestError(
            f"models.{name}: {found[0]} and {found[1]} would be one place on some disks.",
            hint=_CHOOSE,
        )


def remove_abandoned(workspace: RootedPath) -> None:
    """Remove what killed processes of this machine left half unpacked."""
    with contextlib.suppress(OSError):
        for name in workspace.names():
            if not name.startswith(f"{machine()}-"):
                continue
            process = name.split("-")[1]
            is_ours = process == str(os.getpid())  # or of an earlier one that had our number
            is_dead = process.isdecimal() and not is_alive(int(process))
            if is_dead or (is_ours and name not in _MADE):
                (workspace / name).remove_tree()


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
        known = load_receipts(folder)
        members = self._project.lockfile.models[name].out_of(path)
        return bool(members) and not any(
            why_stale(each, folder / each.path, known.get(each.path)) for each in members
        )


NOTHING = Outcome(
    verb="verified", size=0, moved_bytes=0, seconds=0.0, is_first_use=False, is_repeat=True
)
"""What is said where nothing had to be done."""

HOLDS = {"adapter": "an adapter", "model": "a whole model"}


class ArchiveSyncer:
    """Brings archives and their files up to date; safe to share between threads."""

    def __init__(self, project: Project, files: FileSyncer, sharing: Sharing, stop: Stop) -> None:
        self._project, self._files, self._sharing, self._stop = project, files, sharing, stop
        self._unpacker = Unpacker(project, stop)
        self._kept = KeptArchives(project, files)
        self._needs = Needs(project, sharing)
        self._staged: dict[FileKey, Staged] = {}
        self._synced = set[str]()
        self._failed: dict[FileKey, ModelmakeError] = {}
        self._finding = threading.Lock()
        self._locks: dict[FileKey, threading.RLock] = defaultdict(threading.RLock)

    def sync(self, name: str, archive: Artifact, observer: Observer) -> Outcome:
        """Bring an archive up to date, and unpack it where its files are not known yet.

        Raises:
            ModelmakeError: It could not be done.
        """
        self._synced.add(name)
        with self._lock(name, archive.path):
            if self._members(name, archive):
                return self._kept.have(name, archive, observer)[0]
            if self._project.is_read_only:
                raise _not_unpacked(name, archive, self._project.settings)
            outcome, staged = self._unpacked(name, archive, observer)
            for member in staged.members:
                self._put(name, staged, member, archive)
            self._note(name, archive, staged)
        note = f"{counted(len(staged.members), 'file')} unpacked, {_told(archive, staged.came)}"
        return replace(outcome, note=note)

    def sync_member(self, name: str, member: Artifact, observer: Observer) -> Outcome:
        """Bring one file of an archive up to date.

        Raises:
            ModelmakeError: It could not be done.
        """
        began, moved_bytes, verb = time.monotonic(), 0, "verified"
        self._synced.add(name)
        target = Target(self._project.folder(name), member, "")
        if is_there := target.present(self._files.known(self._project.folder(name))):
            target.note(is_there)
        elif self._sharing.take(name, member, target.path, observer.notice):
            target.note(str(member.sha256))
            verb = "linked"
        else:
            verb = "unpacked"
            archive = self._project.artifact(name, str(member.archive))
            moved_bytes = self._stage(name, archive, observer).moved_bytes
            self._put(name, self._staged[name, archive.path], member, archive)
        return Outcome(
            verb=verb,
            size=member.size or 0,
            moved_bytes=moved_bytes,
            seconds=time.monotonic() - began,
            is_first_use=False,
        )

    def stage(self, name: str, archive: Artifact, observer: Observer) -> Outcome:
        """Have an archive unpacked aside for `sync_member`, once a run, where a file is missing.

        Raises:
            ModelmakeError: It could not be done; the same error each time.
        """
        members = self._members(name, archive)
        if not any(self._needs.is_missing(name, each) for each in members):
            return NOTHING  # a file that is wrong in spite of its size asks for itself
        return self._stage(name, archive, observer)

    def forget(self, name: str, path: str) -> None:
        """Look at an archive anew when it is asked for next."""
        self._kept.forget(name, path)

    def _stage(self, name: str, archive: Artifact, observer: Observer) -> Outcome:
        place, began = (name, archive.path), time.monotonic()
        with self._lock(*place):
            if place in self._failed:
                raise self._failed[place]
            if place in self._staged:
                return NOTHING
            try:
                outcome, self._staged[place] = self._unpacked(name, archive, observer)
            except ModelmakeError as error:
                self._failed[place] = error
                raise
        return replace(outcome, seconds=time.monotonic() - began)

    def _unpacked(self, name: str, archive: Artifact, observer: Observer) -> tuple[Outcome, Staged]:
        outcome, file = self._kept.have(name, archive, observer)
        with self._kept.doubting(name, archive, file):
            try:
                return outcome, self._unpacker.stage(name, archive, file, observer)
            except StoreError:
                if file.is_file():
                    raise
        # Another process had all its files in place, and removed what is not to be kept.
        outcome, file = self._kept.have(name, archive, observer, again=True)
        with self._kept.doubting(name, archive, file):
            return outcome, self._unpacker.stage(name, archive, file, observer)

    def inspect(self, name: str, archive: Artifact, outcome: Outcome) -> Outcome:
        """Read from an archive that stays packed what came, and note it.

        Raises:
            BadArchive: It is damaged or none; it was set aside.
        """
        if archive.checkpoint is None or archive.checkpoint.came or self._project.is_read_only:
            return outcome
        file = RootedPath(self._project.folder(name), archive.path)
        with self._kept.doubting(name, archive, file):
            try:
                came = what_came(file, Watching(None, self._stop))
            except UnsafeArchive:  # nobody unpacks it here
                return replace(outcome, note="what it holds is not known")
        self._pin_came(name, archive, came)
        return replace(outcome, note=_told(archive, came))

    def close(self) -> None:
        """Remove what was unpacked and not put anywhere, and archives that are not to be kept."""
        self._unpacker.close()
        self._kept.close()
        for name in self._synced:
            self._kept.sweep(name)

    def _put(self, name: str, staged: Staged, member: Artifact, archive: Artifact) -> None:
        folder = self._project.folder(name)
        target = Target(folder, member, "")
        if target.present(self._files.known(folder)) is None:
            self._unpacker.put(name, staged, member, archive.into)
            self._sharing.keep(name, target.path, str(member.sha256))
        target.note(str(member.sha256))

    def _note(self, name: str, archive: Artifact, staged: Staged) -> None:
        self._project.write_pins()
        now = self._project.artifact(name, archive.path)
        self._project.put_unpacked(name, _with_came(now, staged.came), staged.members)

    def _pin_came(self, name: str, archive: Artifact, came: str) -> None:
        now = self._project.artifact(name, archive.path)
        self._project.pin(name, _with_came(now, came))

    def _members(self, name: str, archive: Artifact) -> tuple[Artifact, ...]:
        return self._project.lockfile.models[name].out_of(archive.path)

    def _lock(self, name: str, path: str) -> threading.RLock:
        with self._finding:
            return self._locks[name, path]


def _with_came(archive: Artifact, came: str) -> Artifact:
    if archive.checkpoint is None:
        return archive
    checkpoint = msgspec.structs.replace(archive.checkpoint, came=came)
    return msgspec.structs.replace(archive, checkpoint=checkpoint)


def _told(archive: Artifact, came: str) -> str:
    """Return what came, and a word where it is not what was asked for."""
    wanted = archive.checkpoint.request if archive.checkpoint else came
    is_other = (wanted == "adapter") != (came == "adapter")
    asked = f", although {wanted} was asked for" if is_other else ""
    return f"holds {HOLDS[came]}{asked}"


def _not_unpacked(name: str, archive: Artifact, settings: Settings) -> LockError:
    return LockError(
        f"models.lock does not know the files in {name}/{archive.path}, "
        f"and {settings.who_forbids} forbids to note them now.",
        hint=f"Run `doit fetch:{name}` {settings.way_to_write}, and commit models.lock.",
    )
