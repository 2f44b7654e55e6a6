"""One file of the lock brought up to date: looked at, hashed or fetched, noted, pinned."""

import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from downloader import locking, receipts
from downloader.artifact import Artifact
from downloader.errors import LockError
from downloader.progress import Observer
from downloader.project import Model, Project
from downloader.resolve import pinned
from downloader.settings import FILES_AT_ONCE
from downloader.sources.interface import Source
from downloader.sources.registry import source_for
from downloader.target import Target
from downloader.transfer.fetch import Fetched, Fetcher, Job
from downloader.transfer.transport import Transport

PIN_EVERY_SECONDS = 2.0
STOP_SECONDS = 1.5
SIGNAL_SECONDS = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What was done for one target.

    Attributes:
        verb: "fetched", or "verified" when the right bytes were there already.
        size: The target's length in bytes.
        moved_bytes: How many of them came over the wire now.
        seconds: How long it took.
        is_first_use: Whether the SHA-256 was pinned by this.
    """

    verb: str
    size: int
    moved_bytes: int
    seconds: float
    is_first_use: bool


class Syncer:
    """Brings targets of one project up to date; safe to share between threads."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self.stop = threading.Event()
        self._idle = threading.Condition()
        self._active = 0
        self._pins_written = time.monotonic()
        self._receipts: dict[Path, dict[str, receipts.Receipt]] = {}
        self._sources: dict[str, Source] = {}
        self.transport = Transport(project.settings)
        self._fetcher = Fetcher(self.transport, project.settings, self.stop)

    def plan(self, files: Iterable[tuple[str, str]]) -> None:
        """Claim room on the disk for what is going to be fetched, as far as sizes are known.

        Args:
            files: Model and path of each; what is right already, or may be, is left out.

        Raises:
            StoreError: It does not all fit.
        """
        wanted = []
        for name, path in files:
            folder, artifact = self._project.folder(name), self._project.artifact(name, path)
            if Target(folder, artifact, "").must_be_fetched:
                wanted.append((folder / receipts.PRIVATE_FOLDER, artifact))
        self._fetcher.plan(wanted)

    def sync(self, name: str, path: str, observer: Observer | None = None) -> Outcome:
        """Bring one target up to date: hash it when it is there, fetch it when it is not right.

        Args:
            name: The model.
            path: The artifact's path.
            observer: Told about the transfer.

        Raises:
            ModelmakeError: It could not be done; the target is as it was.
        """
        with self._idle:
            self._active += 1
        try:
            return self._sync(name, path, observer)
        finally:
            with self._idle:
                self._active -= 1
                self._idle.notify_all()

    def repair(self, name: str, path: str) -> Outcome:
        """Bring a target up to date without believing its receipt.

        Raises:
            ModelmakeError: As `sync`.
        """
        folder = self._project.folder(name)
        receipts.forget(folder, [path])
        self._known(folder).pop(path, None)
        return self.sync(name, path)

    def interrupt(self) -> None:
        """Stop every transfer at once; what arrived is kept."""
        self._fetcher.interrupt()

    def close(self) -> None:
        """Write the last pins and hang up; interrupted transfers may first note where they are."""
        if self.stop.is_set():
            with self._idle:
                self._idle.wait_for(lambda: not self._active, STOP_SECONDS)
        try:
            self._project.write_pins()
        finally:
            self.transport.close()

    def _sync(self, name: str, path: str, observer: Observer | None) -> Outcome:
        began = time.monotonic()
        folder = self._project.folder(name)
        artifact = self._project.artifact(name, path)
        self._check_pinned(artifact, name)
        target = Target(folder, artifact, self._project.named(name).digest)
        if sha256 := target.present(self._known(folder)):
            done = Fetched(
                size=target.note(sha256).size, sha256=sha256, moved_bytes=0, is_new=False
            )
        else:
            done = self._fetcher.fetch(self._job(name, artifact, target), observer)
        self._pin(name, artifact, done.size, done.sha256)
        return Outcome(
            verb="fetched" if done.is_new else "verified",
            size=done.size,
            moved_bytes=done.moved_bytes,
            seconds=time.monotonic() - began,
            is_first_use=not artifact.is_pinned,
        )

    def _job(self, name: str, artifact: Artifact, target: Target) -> Job:
        return Job(
            artifact=artifact,
            locations=self._source(name).locate(artifact),
            target=target.path,
            workspace=self._project.folder(name) / receipts.PRIVATE_FOLDER,
            found=target.present_now,
            placed=target.note,
        )

    def _source(self, name: str) -> Source:
        with self._idle:
            if name not in self._sources:
                self._sources[name] = source_for(self._project.named(name).entry)
            return self._sources[name]

    def _known(self, folder: Path) -> dict[str, receipts.Receipt]:
        with self._idle:
            if folder not in self._receipts:
                self._receipts[folder] = receipts.load(folder)
            return self._receipts[folder]

    def _check_pinned(self, artifact: Artifact, name: str) -> None:
        if self._project.is_read_only and not artifact.is_pinned:
            raise LockError(
                f"models.lock pins no SHA-256 for {name}/{artifact.path}, "
                "and MODELMAKE_LOCKED forbids to pin one now.",
                hint=f"Run `doit fetch:{name}` without MODELMAKE_LOCKED, and commit models.lock.",
            )

    def _pin(self, name: str, artifact: Artifact, size: int, sha256: str) -> None:
        is_known = artifact.is_pinned and artifact.size is not None
        if is_known or self._project.is_read_only:
            return
        self._project.pin(name, pinned(artifact, size, sha256))
        if time.monotonic() - self._pins_written > PIN_EVERY_SECONDS:
            self._pins_written = time.monotonic()
            self._project.write_pins()


def sync_models(names: Sequence[str] | None, folder: Path | None) -> dict[str, Path]:
    """See `downloader.sync`."""
    project = Project.of_environment(folder)
    if project.is_stale:
        locking.lock(project)
    models = _chosen(project, names)
    stale = [
        (model.name, artifact.path)
        for model in models
        for artifact, why in model.why_stale()
        if why
    ]
    syncer = Syncer(project)
    try:
        syncer.plan(stale)
        running = _run(syncer, stale)
    finally:
        syncer.close()
    for each in running:
        each.result()
    for model in models:
        source_for(model.declared.entry)  # says why nothing is known of a model's files
    return {model.name: model.folder for model in models}


def _run(syncer: Syncer, files: Iterable[tuple[str, str]]) -> list[Future[Outcome]]:
    """Bring the files up to date, and return how each went; Ctrl-C stops them all."""
    with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
        try:
            running = [pool.submit(syncer.sync, *each) for each in files]
            while wait(running, SIGNAL_SECONDS).not_done:
                pass  # Windows, and a signal that another thread took, end no wait without a limit
        except BaseException:
            syncer.interrupt()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return running


def _chosen(project: Project, names: Sequence[str] | None) -> list[Model]:
    """Return the models of these names, or all that are not optional.

    Raises:
        ModelmakeError: There is no such model, or nothing is known of its files.
    """
    for name in names or ():
        source_for(project.named(name).entry)
    models = project.models()
    if names is None:
        return [model for model in models if not model.declared.entry.optional]
    return [model for model in models if model.name in names]
