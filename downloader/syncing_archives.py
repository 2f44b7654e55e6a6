"""Archives and what is unpacked from them, brought up to date.

an archive, its files not known yet     fetch, unpack aside, put all in place, note in the lock
a file of an archive, right already     nothing
a file of an archive, missing or wrong  take the archive from where it is kept, or fetch it;
                                        unpack it aside, once a run; put this file in place
"""

import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import msgspec

from downloader import receipts
from downloader.archive import what_came
from downloader.artifact import Artifact
from downloader.durable import make_folder, naming
from downloader.errors import BadArchive, LockError, ModelmakeError
from downloader.freshness import why_stale
from downloader.progress import Observer, counted
from downloader.project import Project
from downloader.syncing_files import FileSyncer, Outcome
from downloader.target import Target
from downloader.unpacking import Staged, Unpacker, Watching

Place = tuple[str, str]
"""A model's name and an archive's path."""

HOLDS = {"adapter": "an adapter", "model": "a whole model"}


class ArchiveSyncer:
    """Brings archives and their files up to date; safe to share between threads."""

    def __init__(self, project: Project, files: FileSyncer, stop: threading.Event) -> None:
        self._project, self._files, self._stop = project, files, stop
        self._unpacker = Unpacker(project, stop)
        self._staged: dict[Place, Staged] = {}
        self._had: dict[Place, Path] = {}
        self._failed: dict[Place, ModelmakeError] = {}
        self._finding = threading.Lock()
        self._locks: dict[Place, threading.RLock] = defaultdict(threading.RLock)

    def sync(self, name: str, archive: Artifact, observer: Observer) -> Outcome:
        """Bring an archive up to date, and unpack it where its files are not known yet.

        Raises:
            ModelmakeError: It could not be done.
        """
        with self._lock(name, archive.path):
            if self._project.lockfile.models[name].out_of(archive.path):
                return self._have(name, archive, observer)[0]
            if self._project.is_read_only:
                raise _not_unpacked(name, archive)
            outcome, file = self._have(name, archive, observer)
            with self._doubting(name, archive, file):
                staged = self._unpacker.stage(name, archive, file, observer)
            for member in staged.members:
                self._put(name, staged, member, archive)
            self._note(name, archive, staged)
            self._had[name, archive.path] = file
        note = f"{counted(len(staged.members), 'file')} unpacked, {_told(archive, staged.came)}"
        return replace(outcome, note=note)

    def sync_member(self, name: str, member: Artifact, observer: Observer) -> Outcome:
        """Bring one file of an archive up to date.

        Raises:
            ModelmakeError: It could not be done.
        """
        began = time.monotonic()
        target = Target(self._project.folder(name), member, "")
        is_there = target.present(self._files.known(self._project.folder(name)))
        if is_there:
            target.note(is_there)
        else:
            archive = self._project.artifact(name, str(member.archive))
            self.stage(name, archive, observer)
            self._put(name, self._staged[name, archive.path], member, archive)
        return Outcome(
            verb="verified" if is_there else "unpacked",
            size=member.size or 0,
            moved_bytes=0,
            seconds=time.monotonic() - began,
            is_first_use=False,
        )

    def stage(self, name: str, archive: Artifact, observer: Observer) -> Outcome:
        """Have an archive unpacked aside for `sync_member`, once a run.

        Raises:
            ModelmakeError: It could not be done; the same error each time.
        """
        place, began = (name, archive.path), time.monotonic()
        with self._lock(*place):
            if place in self._failed:
                raise self._failed[place]
            outcome = Outcome(
                verb="verified", size=0, moved_bytes=0, seconds=0.0, is_first_use=False
            )
            if place not in self._staged:
                try:
                    outcome, file = self._have(name, archive, observer)
                    self._staged[place] = self._unpacker.stage(name, archive, file, observer)
                    self._had[place] = file
                except ModelmakeError as error:
                    self._failed[place] = error
                    raise
        return replace(outcome, seconds=time.monotonic() - began)

    def planned(self, files: Iterable[tuple[str, str]]) -> Iterator[tuple[Path, Artifact]]:
        """Yield what has to be fetched for these targets, each with its model's workspace.

        An archive stands for its files; what is right already, or may be, is left out.
        """
        seen = set[Place]()
        for name, path in files:
            folder, artifact = self._project.folder(name), self._project.artifact(name, path)
            if not Target(folder, artifact, "").must_be_fetched:
                continue
            if artifact.archive is not None:
                artifact = self._project.artifact(name, artifact.archive)
            if (name, artifact.path) not in seen:
                seen.add((name, artifact.path))
                yield folder / receipts.PRIVATE_FOLDER, artifact

    def inspect(self, name: str, archive: Artifact, outcome: Outcome) -> Outcome:
        """Read from an archive that stays packed what came, and note it.

        Raises:
            BadArchive: It is none; it was set aside.
        """
        if archive.checkpoint is None or archive.checkpoint.came or self._project.is_read_only:
            return outcome
        file = self._project.folder(name) / archive.path
        with self._doubting(name, archive, file):
            came = what_came(file, Watching(None, self._stop))
        self._pin_came(name, archive, came)
        return replace(outcome, note=_told(archive, came))

    def close(self) -> None:
        """Remove what was unpacked and not put anywhere, and archives that are not to be kept.

        One whose files are not all in place stays for the next run.
        """
        self._unpacker.close()
        for (name, path), file in self._had.items():
            if not self._keeps(name) and self._is_unpacked(name, path):
                file.unlink(missing_ok=True)

    def _is_unpacked(self, name: str, path: str) -> bool:
        folder = self._project.folder(name)
        known = receipts.load(folder)
        members = self._project.lockfile.models[name].out_of(path)
        return not any(
            why_stale(each, folder / each.path, known.get(each.path)) for each in members
        )

    @contextmanager
    def _doubting(self, name: str, archive: Artifact, file: Path) -> Iterator[None]:
        """Set a bad archive aside that no lock vouches for, and drop the pin made of it just now.

        So the next run fetches again. One that was pinned before will not become another.
        """
        try:
            yield
        except BadArchive as error:
            if archive.is_pinned:
                raise
            aside = self._project.folder(name) / receipts.PRIVATE_FOLDER / "quarantine" / file.name
            make_folder(aside.parent)
            with naming(file, "set aside"):
                file.replace(aside)
            self._project.pin(name, archive)
            self._project.write_pins()
            raise BadArchive(str(error), hint=f"What came was set aside as {aside}.") from None

    def _have(self, name: str, archive: Artifact, observer: Observer) -> tuple[Outcome, Path]:
        """Bring the archive itself to where it is kept, or to a private place."""
        folder = self._project.folder(name)
        target = folder / archive.path
        if self._keeps(name) or target.is_file():
            return self._files.sync(name, archive, observer), target
        place = folder / receipts.PRIVATE_FOLDER / "archives" / archive.path
        outcome = self._files.sync(name, archive, observer, place)
        self._project.write_pins()  # no receipt vouches for it
        return outcome, place

    def _put(self, name: str, staged: Staged, member: Artifact, archive: Artifact) -> None:
        folder = self._project.folder(name)
        target = Target(folder, member, "")
        if target.present(self._files.known(folder)) is None:
            self._unpacker.put(name, staged, member, archive.into)
        target.note(str(member.sha256))

    def _note(self, name: str, archive: Artifact, staged: Staged) -> None:
        self._project.write_pins()
        now = self._project.artifact(name, archive.path)
        self._project.put_unpacked(name, _with_came(now, staged.came), staged.members)

    def _pin_came(self, name: str, archive: Artifact, came: str) -> None:
        now = self._project.artifact(name, archive.path)
        self._project.pin(name, _with_came(now, came))

    def _keeps(self, name: str) -> bool:
        return bool(getattr(self._project.named(name).entry, "keep_archive", True))

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


def _not_unpacked(name: str, archive: Artifact) -> LockError:
    return LockError(
        f"models.lock does not know the files in {name}/{archive.path}, "
        "and MODELMAKE_LOCKED forbids to note them now.",
        hint=f"Run `doit fetch:{name}` without MODELMAKE_LOCKED, and commit models.lock.",
    )
