"""Archives and what is unpacked from them, brought up to date.

an archive, its files not known yet     fetch, unpack aside, put all in place, note in the lock
a file of an archive, right already     nothing
a file of an archive, missing or wrong  take the archive from where it is kept, or fetch it;
                                        unpack it aside, once a run; put this file in place
"""

import threading
import time
from collections import defaultdict
from dataclasses import replace

import msgspec

from downloader.archive import UnsafeArchive, what_came
from downloader.artifact import Artifact
from downloader.errors import LockError, ModelmakeError, StoreError
from downloader.fs.rooted_path import RootedPath
from downloader.progress import Observer, counted
from downloader.project import Project
from downloader.settings import Settings
from downloader.syncing.files import FileSyncer, Outcome
from downloader.syncing.kept_archives import KeptArchives
from downloader.syncing.needs import FileKey, Needs
from downloader.syncing.sharing import Sharing
from downloader.syncing.target import Target
from downloader.syncing.unpacking import Staged, Unpacker, Watching

NOTHING = Outcome(
    verb="verified", size=0, moved_bytes=0, seconds=0.0, is_first_use=False, is_repeat=True
)
"""What is said where nothing had to be done."""

HOLDS = {"adapter": "an adapter", "model": "a whole model"}


class ArchiveSyncer:
    """Brings archives and their files up to date; safe to share between threads."""

    def __init__(
        self, project: Project, files: FileSyncer, sharing: Sharing, stop: threading.Event
    ) -> None:
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
