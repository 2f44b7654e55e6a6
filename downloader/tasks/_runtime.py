"""One run of the program: its project, its engine, how it stops, how its errors reach doit.

The engine is imported when the first file has to move, so that a run with nothing to do, and
`doit list`, load no network code.

Our errors become doit's failures: what, why and what to do next, no traceback, and the exit status.
A worker process (`doit -n 4 -P process`) has a runtime of its own, and nothing that one learns is
known to the others but by models.lock: so each reads that again once it was replaced.

doit ends with 1 after a TaskFailed and with 2 after a TaskError; a variable that cannot be used,
or a models.yaml that is not there, is a mistake in the usage (2), also if that shows only while a
task runs.
"""

import atexit
import contextlib
import functools
import os
import signal
import threading
from collections.abc import Callable
from multiprocessing import parent_process
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, ParamSpec

import doit
from doit.exceptions import TaskError, TaskFailed

from downloader.errors import (
    LockError,
    ManifestError,
    ModelmakeError,
    SettingError,
    Stop,
    TooManyOpen,
)
from downloader.fs.files import private_folder, write_waiting
from downloader.progress import streams
from downloader.progress.display import Display, show
from downloader.progress.events import failed_of
from downloader.progress.streams import tell
from downloader.progress.tracker import Run
from downloader.project.project import Project
from downloader.settings import user_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from downloader.artifact import Artifact
    from downloader.progress.tracker import FileProgress
    from downloader.targets.engine import Engine
    from downloader.targets.plan import Decision
    from downloader.urls import Location


INTERRUPTED_STATUS = 128  # plus the signal's number, as shells report it


class Runtime:
    """State that the tasks of one doit process share.

    Attributes:
        project: As models.yaml and models.lock say.
        has_lock_failed: Whether models.lock could not be brought up to date.
        not_locked: Models whose provider could not tell what they are, each with the reason.
        is_interrupted: Whether a signal ended the run.
        is_acting: Whether this is a worker process, and has a task.
        stop: Set when everything is to end.
        looked: What one stat decided about the stale files, by model and path, when the tasks were
            made. It is for the preflight, which comes right after.
        stale: Gives model and path of each file that the run is about and that is not up to date,
            if the reporter is ours.
        run: How far the run is; `shown_run` for what people are to see at once.
        display: How that is shown; None until the reporter, if it is ours, or the first file.
    """

    def __init__(self, project: Project) -> None:
        self.project = project
        self.has_lock_failed = self.is_interrupted = self.is_acting = False
        self.not_locked: dict[str, ModelmakeError] = {}
        self.stop = Stop()
        self._making, self._planning = threading.Lock(), threading.Lock()
        self._syncer: Engine | None = None
        self.looked: dict[tuple[str, str], Decision] = {}
        self.stale: Callable[[], Iterable[tuple[str, str]]] = tuple
        self._has_room = True
        self._planned: dict[str, str] | None = None
        self.run = Run()
        self.display: Display | None = None
        self._expected = set[str]()

    @property
    def syncer(self) -> "Engine":
        """The engine, made when it is first needed."""
        from downloader.targets.engine import Engine  # noqa: PLC0415 - imports requests

        with self._making:
            if self._syncer is None:
                self._syncer = Engine(self.project, self.stop)
                # doit has no hook that runs once after all threads of a run (users of other
                # reporters too), so the last pins are written when the process ends.
                atexit.register(self.close)
                if is_worker():  # such a process ends without atexit
                    from multiprocessing.util import Finalize  # noqa: PLC0415 - only there

                    Finalize(None, self.close, exitpriority=0)
            return self._syncer

    def has_room(self) -> bool:
        """Whether the disk has room for what the run is about; checked again as models are locked.

        Models are locked while others' files move already: what is not known yet is left out.

        Raises:
            StoreError: It has not; later callers get False.
        """
        syncer = self.syncer
        with self._planning:
            locked = {name: each.entry for name, each in self.project.lockfile.models.items()}
            if self._has_room and locked != self._planned:
                self._planned, self._has_room = locked, False
                known = ((name, artifact.path) for name, artifact in self._known(self.stale()))
                syncer.plan(known, self.looked)
                self.looked = {}
                self._has_room = True
            return self._has_room

    def shown_run(self) -> Run:
        """Return the run, shown by our reporter, or in lines beside another one."""
        with self._planning:
            self.display = self.display or show(self.run, "waits")
        return self.run

    def observer(self, name: str, path: str) -> "FileProgress":
        """Begin a file, after `has_room`, and return what its transfer tells."""
        run = self.shown_run()
        with self._planning:
            if name not in self._expected:  # a provider may have been asked about it just now
                stale = list(self.stale())
                sized = list(self._sized(stale))
                run.expect(sized, self._partial_bytes(sized))
                self._expected |= {model for model, _ in stale} | {name}
        artifact = self.project.artifact(name, path)
        return run.file(name, path, 0 if artifact.archive else artifact.size)

    def _known(self, files: "Iterable[tuple[str, str]]") -> "Iterator[tuple[str, Artifact]]":
        """Yield model and artifact of the files that models.lock has, at this moment of the run."""
        for name, path in files:
            try:
                artifact = self.project.artifact(name, path)
            except LockError:
                continue
            yield name, artifact

    def _sized(self, files: "Iterable[tuple[str, str]]") -> "Iterator[tuple[str, str, int | None]]":
        """Yield the files with their sizes; an archive stands for the bytes of its files."""
        for name, artifact in self._known(files):
            yield name, artifact.path, 0 if artifact.archive else artifact.size
            if artifact.archive:
                archive = self.project.artifact(name, artifact.archive)
                yield name, archive.path, archive.size

    def _partial_bytes(
        self, files: "Sequence[tuple[str, str, int | None]]"
    ) -> dict[tuple[str, str], int]:
        """Return how many bytes earlier runs left of the files, as far as is known."""
        from downloader.transfer.partial import has_partials, resumable  # noqa: PLC0415 - only if bytes move

        found: dict[tuple[str, str], int] = {}
        names = {name for name, _, _ in files}
        folders = {name: private_folder(self.project.folder(name)) for name in names}
        begun_models = {name for name, folder in folders.items() if has_partials(folder)}
        for name, path, size in files:
            if name not in begun_models or not size:
                continue
            with contextlib.suppress(ModelmakeError):  # the fetch itself tells it
                artifact = self.project.artifact(name, path)
                is_mirrored = artifact.is_pinned and self.project.copies(name)
                locate = None if is_mirrored else functools.partial(self._locate, name, artifact)
                _, have = resumable(folders[name], artifact, locate)
                found[name, path] = min(size, have)
        return found

    def _locate(self, name: str, artifact: "Artifact") -> "tuple[Location, ...]":
        source = self.project.named(name).entry.source()
        return source.locate(artifact, self.project.lockfile.models[name].revision)

    def _kept_bytes(self) -> int:
        """Return how many bytes there are of files that did not arrive whole, for the next run."""
        kept, unfinished = 0, self.run.unfinished()
        if not unfinished:
            return kept
        from downloader.transfer.partial import is_kept  # noqa: PLC0415 - imported by the first file

        for name, path, have in unfinished:
            with contextlib.suppress(ModelmakeError):
                artifact = self.project.artifact(name, path)
                kept += have * is_kept(private_folder(self.project.folder(name)), artifact)
        return kept

    def why_none(self) -> str:
        """Return why a run that names no model has none, and what to do; empty if it has some."""
        declared = self.project.declared
        if not declared:
            return f"{self.project.manifest_path.name} declares no models."
        if all(each.is_optional for each in declared):
            such = f"`doit {declared[0].name}`"
            return f"Every model is optional. Name one to download it, such as {such}."
        return ""

    def has_saved(self, first_uses: "Iterable[tuple[str, str]]" = ()) -> bool:
        """Write the last pins, and return whether that went well; an error is reported.

        Args:
            first_uses: Model and path of the files that were pinned in this run.
        """
        self._tell_missing()
        try:
            self.project.write_pins()
            write_waiting()
        except ModelmakeError as error:
            if not self._is_told(error):
                tell(error.report())
            atexit.unregister(self.close)  # it would fail, and tell, once more
            return False
        unsaved = [file for file in first_uses if not self._is_pinned(*file)]
        if unsaved:  # by this process: its workers did, or reported why not
            self.project.reread_lock()
        return all(self._is_pinned(*file) for file in unsaved)

    def _is_told(self, error: ModelmakeError) -> bool:
        """Whether a file failed because the disk is full, which the end of the run tells once."""
        is_full = failed_of(error).is_full_disk
        return is_full and any(each.is_full_disk for each in self.run.failures)

    def _is_pinned(self, name: str, path: str) -> bool:
        try:
            return self.project.is_read_only or self.project.artifact(name, path).is_pinned
        except ModelmakeError:
            return False

    def close(self) -> None:
        """Write the last pins; an error here is reported and does not hide the run's own."""
        if self._syncer is None:
            return
        self._tell_missing()
        try:
            self._syncer.close()
        except ModelmakeError as error:
            tell(error.report())

    def _tell_missing(self) -> None:
        """Tell once of all that could not be had without network."""
        if self._syncer is None or not self._syncer.missing:
            return
        from downloader.targets.engine import missing_offline  # noqa: PLC0415 - only without network

        missing, self._syncer.missing = self._syncer.missing, []
        tell(missing_offline(missing).report())

    def stop_on_signals(self) -> None:
        """Make SIGINT, SIGTERM and SIGHUP end the run in one line, with what arrived kept."""
        numbers = [signal.SIGINT, signal.SIGTERM]
        hangup = getattr(signal, "SIGHUP", None)  # not on Windows
        if hangup and signal.getsignal(hangup) is not signal.SIG_IGN:  # as under nohup
            numbers.append(hangup)
        with contextlib.suppress(ValueError):  # only the main thread may
            for number in numbers:
                signal.signal(number, self._interrupt)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        signal.signal(number, signal.SIG_DFL)  # the second one ends at once
        if is_worker():  # this is the handler of the process that it was forked from, which reports
            current()._end_worker(number)  # noqa: SLF001 - of the same class
            return
        self.is_interrupted = True
        self.run.silence_others()
        self.stop.set()
        if self.display:
            self.display.end()
        if self._syncer is not None:
            self._syncer.interrupt()
        tell(self.run.interruption(self._kept_bytes()), "interrupted")
        raise SystemExit(INTERRUPTED_STATUS + number)

    def _end_worker(self, number: int) -> None:
        """End what this worker process does; what it notes meanwhile is not to be cut off."""
        if number == signal.SIGINT:  # its parent got that too, and terminates its workers at once
            signal.signal(signal.SIGTERM, lambda *_: None)
        self.stop.set()
        if not self.is_acting:
            raise SystemExit(INTERRUPTED_STATUS + number)
        if self._syncer is not None:
            self._syncer.interrupt()

    @contextlib.contextmanager
    def acting(self) -> "Iterator[None]":
        """Do one task; a worker process that was told to end does so after it."""
        if not is_worker():
            yield
            return
        self.project.reread_lock()
        self.is_acting = True
        try:
            yield
        finally:
            self.is_acting = False
            if self.stop.is_set():
                raise SystemExit(INTERRUPTED_STATUS + signal.SIGINT)


def current() -> Runtime:
    """Return this process's runtime, for the project of the working directory.

    Raises:
        SettingError: An environment variable has an unusable value.
    """
    return _of_process(os.getpid())


def is_worker() -> bool:
    """Whether this is one of several processes that doit runs tasks in."""
    return parent_process() is not None


@functools.cache
def _of_process(_id: int) -> Runtime:
    """Make the runtime: a forked worker (`doit -P process`) must see what was locked since."""
    return Runtime(Project.of_environment())


P = ParamSpec("P")
Values = dict[str, object]


def failing(act: Callable[P, Values | None]) -> Callable[P, Any]:
    """Return the act with our errors as doit's failures: exit status 1, and no traceback."""

    @functools.wraps(act)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> Any:  # noqa: ANN401 - doit's TaskFailed has no types
        try:
            with current().acting(), _no_thread_left():
                return act(*args, **kwargs)
        except ModelmakeError as error:
            is_news, error.is_reported = not error.is_reported, True
            kind = TaskError if _is_usage(error) else TaskFailed
            failure = kind(error.report(), report=is_news)
            failure.failed = failed_of(error, is_debug=current().project.settings.is_debug)
            return failure

    return wrapped


@contextlib.contextmanager
def _no_thread_left() -> "Iterator[None]":
    """Tell what Python says when the system starts no thread.

    A download does with the threads that there are; other commands begin with several.
    """
    try:
        yield
    except RuntimeError as error:
        if str(error) != "can't start new thread":
            raise
        raise TooManyOpen(
            "The system starts no further thread.",
            hint="End other programs, or raise the limit: `ulimit -u`, or that of the container.",
        ) from error


def _is_usage(error: ModelmakeError) -> bool:
    is_missing = isinstance(error, ManifestError) and not current().project.manifest_path.exists()
    return is_missing or isinstance(error, SettingError)


def typed_path(text: str) -> Path:
    """Return a path that an option names: relative to the folder of dodo.py, as all of doit's.

    `modelmake` runs in any folder of the project, so there it is relative to that one.
    """
    start = doit.get_initial_workdir() if streams.program() != "doit" else None
    return Path(start or "", user_path(text))
