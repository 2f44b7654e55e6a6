"""One file of the lock brought up to date: looked at, hashed or fetched, noted, pinned."""

import contextlib
import functools
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from downloader.artifact import Artifact
from downloader.errors import Interrupted, LockError, Offline, SettingError, TransferError
from downloader.fs.files import private_folder
from downloader.fs.locks import partial_path, remove_unless_held
from downloader.fs.rooted_path import RootedPath
from downloader.progress.events import Observer
from downloader.progress.streams import tell
from downloader.project.project import Project
from downloader.project.resolve import pinned
from downloader.sources.interface import Source
from downloader.sources.registry import source_for
from downloader.targets.shared import Found, KnownLayers, Sharing
from downloader.targets.state import Receipt, Target, forget_receipts, load_receipts
from downloader.transfer.fetch import Fetched, Fetcher, Job
from downloader.urls import Location

PIN_EVERY_SECONDS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What was done for one target.

    Attributes:
        verb: "fetched", "unpacked", "linked" when the bytes came from the store, "adopted" when
            they were found elsewhere, or "verified" when they were there already.
        size: The target's length in bytes.
        moved_bytes: How many of them came over the wire now.
        seconds: How long it took.
        is_first_use: Whether the SHA-256 was pinned by this.
        note: What else is to be said of it, a few words.
        is_repeat: Whether all of that was said before in this run.
    """

    verb: str
    size: int
    moved_bytes: int
    seconds: float
    is_first_use: bool
    note: str = ""
    is_repeat: bool = False


class FileSyncer:
    """Brings single files of one project up to date; safe to share between threads."""

    def __init__(self, project: Project, fetcher: Fetcher, sharing: Sharing) -> None:
        self._project, self._fetcher, self._sharing = project, fetcher, sharing
        self._layers = KnownLayers(project)
        self._finding = threading.Lock()
        self._pins_written = time.monotonic()
        self._receipts: dict[Path, dict[str, Receipt]] = {}
        self._sources: dict[str, Source] = {}

    def sync(
        self, name: str, artifact: Artifact, observer: Observer, place: RootedPath | None = None
    ) -> Outcome:
        """Bring one file up to date that is fetched as it is.

        Args:
            name: The model.
            artifact: The file.
            observer: Told about the transfer.
            place: Where it is to be when it is no target; no receipt is written for it.

        Raises:
            ModelmakeError: It could not be done; the target is as it was.
        """
        try:
            return self._sync(name, artifact, observer, place)
        finally:
            workspace = private_folder(self._project.folder(name))
            self._fetcher.release(workspace, artifact)

    def adopt(
        self, name: str, artifact: Artifact, found: Found | None, place: RootedPath | None = None
    ) -> Outcome | None:
        """Bring one file up to date without any network.

        Args:
            name: The model.
            artifact: The file.
            found: A file with its bytes.
            place: As in `sync`.

        Returns:
            What was done; None where its bytes are not here.

        Raises:
            ModelmakeError: It could not be done; the target is as it was.
        """
        began = time.monotonic()
        folder = self._project.folder(name)
        self._check_pinned(artifact, name)
        target = Target(folder, artifact, self._project.named(name).digest, place)
        done, verb, note = None, "verified", ""
        if sha256 := target.present(self.known(folder)):
            done = self._there(name, artifact, target, sha256)
        else:
            job = self._job(name, artifact, target, ())
            with self._sharing.claimed(name, artifact, job.partial, tell):
                if place is None and self._sharing.take(name, artifact, target.path, tell):
                    done, verb = self._there(name, artifact, target, str(artifact.sha256)), "linked"
                elif found:
                    verb, note = (
                        "adopted",
                        self._sharing.adopt(name, found, target.path, is_kept=place is None),
                    )
                    done = self._there(name, artifact, target, found.sha256)
        if done is None:
            return None
        self._pin(name, artifact, done.size, done.sha256)
        return _outcome(verb, artifact, done, began, note)

    def _sync(
        self, name: str, artifact: Artifact, observer: Observer, place: RootedPath | None
    ) -> Outcome:
        began = time.monotonic()
        folder = self._project.folder(name)
        self._check_pinned(artifact, name)
        target = Target(folder, artifact, self._project.named(name).digest, place)
        if sha256 := target.present(self.known(folder)):
            done, verb = self._there(name, artifact, target, sha256), "verified"
        elif place is not None:
            done, verb = self._fetch(name, artifact, target, observer)
        else:
            done, verb = self._bring(name, artifact, target, observer)
        self._pin(name, artifact, done.size, done.sha256)
        return _outcome(verb, artifact, done, began)

    def _bring(
        self, name: str, artifact: Artifact, target: Target, observer: Observer
    ) -> tuple[Fetched, str]:
        """Link the target from the store, or fetch it and put it there."""
        workspace = private_folder(self._project.folder(name))
        partial = partial_path(workspace, artifact.path)
        with self._sharing.claimed(name, artifact, partial, observer.notice):
            if self._sharing.take(name, artifact, target.path, observer.notice):
                return self._there(name, artifact, target, str(artifact.sha256)), "linked"
            return self._fetch(name, artifact, target, observer)

    def _fetch(
        self, name: str, artifact: Artifact, target: Target, observer: Observer
    ) -> tuple[Fetched, str]:
        try:
            job = self._job(name, artifact, target, self._locations(name, artifact))
            done = self._fetcher.fetch(job, observer)
        except Interrupted:
            raise
        except (SettingError, TransferError):
            if not self._project.settings.is_offline:
                raise
            raise Offline(
                f"{name}/{artifact.path} is neither here nor in the store, "
                "and MODELMAKE_OFFLINE is set."
            ) from None
        return done, "fetched" if done.is_new else "verified"

    def _there(self, name: str, artifact: Artifact, target: Target, sha256: str) -> Fetched:
        """Note a target that is right, and return it as one that was not fetched.

        What an earlier run left of it on the way, or beside it when it was killed, goes.
        """
        size = target.note(sha256)
        workspace = private_folder(self._project.folder(name))
        with contextlib.suppress(OSError):  # `doit prune` finds it too
            remove_unless_held(partial_path(workspace, artifact.path))
        return Fetched(size=size, sha256=sha256, moved_bytes=0, is_new=False)

    def forget(self, name: str, path: str) -> None:
        """Drop a target's receipt, so that its bytes are read again."""
        folder = self._project.folder(name)
        forget_receipts(folder, [path])
        self.known(folder).pop(path, None)

    def known(self, folder: Path) -> dict[str, Receipt]:
        """Return the receipts of a model's folder, as they were when they were first asked for."""
        with self._finding:
            if folder not in self._receipts:
                self._receipts[folder] = load_receipts(folder)
            return self._receipts[folder]

    def _job(
        self, name: str, artifact: Artifact, target: Target, locations: tuple[Location, ...]
    ) -> Job:
        return Job(
            artifact=artifact,
            locations=locations,
            target=target.path,
            workspace=private_folder(self._project.folder(name)),
            found=target.present_now,
            placed=functools.partial(self._placed, name, artifact, target),
            layer=functools.partial(self._layers.find, artifact),
        )

    def _locations(self, name: str, artifact: Artifact) -> tuple[Location, ...]:
        return self._source(name).locate(artifact)

    def _placed(self, name: str, artifact: Artifact, target: Target, sha256: str) -> None:
        """Note a file that was put in place just now, and give it to the store; others wait."""
        target.note(sha256)
        if target.has_receipt:
            is_hashed = not artifact.is_proven_by_root  # others have not our models.lock
            self._sharing.keep(name, target.path, sha256, is_hashed=is_hashed)

    def _source(self, name: str) -> Source:
        with self._finding:
            if name not in self._sources:
                self._sources[name] = source_for(self._project.named(name).entry)
            return self._sources[name]

    def _check_pinned(self, artifact: Artifact, name: str) -> None:
        if self._project.is_read_only and not artifact.is_pinned:
            settings = self._project.settings
            raise LockError(
                f"models.lock pins no SHA-256 for {name}/{artifact.path}, "
                f"and {settings.who_forbids} forbids to pin one now.",
                hint=f"Run `doit fetch:{name}` {settings.way_to_write}, and commit models.lock.",
            )

    def _pin(self, name: str, artifact: Artifact, size: int, sha256: str) -> None:
        is_known = artifact.is_pinned and artifact.size is not None
        if is_known or self._project.is_read_only:
            return
        self._project.pin(name, pinned(artifact, size, sha256))
        if time.monotonic() - self._pins_written > PIN_EVERY_SECONDS:
            self._pins_written = time.monotonic()
            self._project.write_pins()


def _outcome(verb: str, artifact: Artifact, done: Fetched, began: float, note: str = "") -> Outcome:
    return Outcome(
        verb=verb,
        size=done.size,
        moved_bytes=done.moved_bytes,
        seconds=time.monotonic() - began,
        is_first_use=not artifact.is_pinned,
        note=note,
    )
