"""Bring models up to date for `ensure` and `sync`: what doit's tasks do, without doit."""

import functools
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from itertools import chain
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeAlias, TypeVar

import msgspec

from downloader.artifact import Artifact, task_name
from downloader.errors import Interrupted, ModelmakeError, Offline
from downloader.operations._pool import FilePool
from downloader.progress.events import Observer, failed_of, shown_path
from downloader.progress.streams import tell
from downloader.progress.tracker import Run
from downloader.project.project import Model, Project
from downloader.settings import FILES_AT_ONCE, unknown_variables
from downloader.targets.engine import Engine, Outcome, missing_offline
from downloader.targets.plan import stale_targets

if TYPE_CHECKING:
    from downloader.progress.callbacks import Callback, CallbackDispatcher
    from downloader.progress.display import Display

    Follower: TypeAlias = CallbackDispatcher | Display

SIGNAL_SECONDS = 0.1
NOTES = 10

T = TypeVar("T")
Running: TypeAlias = dict[Future[Outcome], str]
"""Transfers in progress, with model and path."""


def sync_models(
    names: Sequence[str] | None, folder: Path | None, *, progress: "Callback | bool | None" = None
) -> dict[str, Path]:
    """See `downloader.sync`."""
    names = [names] if isinstance(names, str) else names  # not its letters
    _tell_unknown_variables()
    project = Project.of_environment(folder, above=True)
    with _Sync(project, progress=progress) as sync:
        sync.lock_outlined()
        models = _chosen(project, names)
        if failures := sync.failures(models):
            raise sync.offline(failures) or _first(failures)
    return {model.name: model.folder.absolute() for model in models}


def _first(failures: dict[str, Exception]) -> Exception:
    """Return the first failure, which knows the others and names them in its traceback."""
    first, *others = failures.values()
    if isinstance(first, ModelmakeError):
        first.failures = failures
    for name, error in list(failures.items())[1 : NOTES + 1]:
        first.add_note(f"{name}: {error}")
    if len(others) > NOTES:
        first.add_note(f"and {len(others) - NOTES} more: see `failures`")
    return first


@functools.cache
def _tell_unknown_variables() -> None:
    for line in unknown_variables():
        tell(line)


class _Sync:
    """Brings models up to date; asks providers while files are on their way.

    So a provider that waits for a training holds up no other model, and neither does one that
    fails. Nothing is asked in the main thread, so that Ctrl-C finds it awake and stops everything.
    """

    def __init__(self, project: Project, *, progress: "Callback | bool | None") -> None:
        self._project = project
        self._run = Run()
        self._follower: Follower | None = None
        self._display: Display | None = None
        if progress is True:
            from downloader.progress.display import show  # noqa: PLC0415 - a first file should not wait

            wish = project.settings.progress
            self._follower = self._display = show(self._run, wish, is_library=True)
        elif progress:
            from downloader.progress.callbacks import CallbackDispatcher  # noqa: PLC0415 - as above

            self._follower = CallbackDispatcher(self._run, progress)
        self._engine = Engine(project)
        self._files = FilePool(FILES_AT_ONCE)
        self._asking = ThreadPoolExecutor(max(1, len(project.declared)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End everything: at once after an error."""
        if error:
            self._engine.interrupt()
        try:
            for waits in (False, True):
                for pool in (self._asking, self._files):
                    pool.shutdown(wait=waits, cancel_futures=True)
        finally:
            self._engine.close()
            if self._display:
                self._conclude(self._display, error)

    def lock_outlined(self) -> None:
        """Lock what needs no provider, if that is stale.

        Raises:
            ModelmakeError: As `lock_outlined` of operations/lock.py.
        """
        if self._project.is_outline_stale:
            from downloader.operations.lock import lock_outlined  # noqa: PLC0415 - as above

            locked = self._asking.submit(lock_outlined, self._project, self._engine.transport)
            self._wait([locked])
            self._note(locked.result())

    def failures(self, models: Sequence[Model]) -> dict[str, Exception]:
        """Bring the models up to date, and return what went wrong, by model and path."""
        known = [(model, stale_targets(model)) for model in models if not model.must_ask]
        known = [(model, stale) for model, stale in known if stale]
        self._engine.plan((model.name, file.path) for model, stale in known for file in stale)
        for model, stale in known:
            self._expect(model, stale)
        submit = self._asking.submit
        started = {submit(self._begin, model.name, stale): model.name for model, stale in known}
        started |= {submit(self._ask, model): model.name for model in models if model.must_ask}
        self._wait(started)
        running = [future.result() for future in started if not future.exception()]
        files = {future: name for model in running for future, name in model.items()}
        self._wait(files)
        errors = {name: future.exception() for future, name in files.items()}
        errors |= {name: future.exception() for future, name in started.items()}
        return {name: error for name, error in errors.items() if isinstance(error, Exception)}

    def _wait(self, running: Iterable[Future[T]]) -> None:
        """Wait for all of them; meanwhile call the callback, or draw in the notebook.

        Windows, and a signal that another thread took, end no wait without a limit.
        """
        for future in running:
            while wait([future], SIGNAL_SECONDS).not_done:
                self._hand_on()
            self._hand_on()
        self._hand_on(is_last=True)

    def _hand_on(self, *, is_last: bool = False) -> None:
        if self._follower:
            self._follower.hand_on(is_last=is_last)

    def _note(self, lines: Iterable[str]) -> None:
        """Show what was locked on the way to files; a callback is for files only."""
        if self._display:
            for line in lines:
                self._run.notice(line)

    def _conclude(self, display: "Display", error: BaseException | None) -> None:
        """Take the display away, and leave the sum; failures are reported by the exception."""
        display.end()
        is_interrupted = error is not None and not isinstance(error, ModelmakeError)
        if self._run.has_started or self._run.failures:
            is_json = self._project.settings.progress == "json"  # its summary is an event
            display.conclude(
                self._run.summary(is_interrupted=is_interrupted),
                (lambda _: None) if is_json else tell,
                has_failures=False,
            )

    def offline(self, failures: dict[str, Exception]) -> Offline | None:
        """Return one error for all files that need the network, if it may not be used."""
        if not self._engine.missing:
            return None
        error = missing_offline(self._engine.missing)
        error.failures = failures
        return error

    def _ask(self, model: Model) -> Running:
        """Lock a model whose provider must be asked, and begin to fetch what is stale."""
        from downloader.network.api import Session  # noqa: PLC0415 - as above
        from downloader.operations.lock import lock_asked  # noqa: PLC0415 - as above

        with self._run.asking(model.name) as asking:
            session = Session(self._engine.transport, asking.notice if self._follower else tell)
            lines = lock_asked(self._project, model.declared, session)
        self._note(lines)
        model = self._project.model(model.name)
        stale = stale_targets(model)
        self._expect(model, stale)
        return self._begin(model.name, stale)

    def _expect(self, model: Model, stale: Sequence[Artifact]) -> None:
        """Report what is going to be fetched; an archive's files come with it."""
        archives = {file.archive for file in stale if file.archive}
        files = [file for file in _archives(model) if file.path in archives]
        files += [file for file in stale if not file.archive]
        self._run.expect((model.name, file.path, file.size) for file in files)

    def _begin(self, name: str, stale: Sequence[Artifact]) -> Running:
        """Begin to fetch files; those of an archive once it is unpacked.

        So they do not wait for it in threads where another model's files could be fetched.
        """
        archives = {file.archive for file in stale if file.archive}
        stage, sync = self._engine.stage, self._engine.sync
        staged = {self._files.submit(self._do, stage, name, path): path for path in archives}
        ended = SimpleQueue[Future[Outcome]]()
        for future in staged:
            future.add_done_callback(ended.put)  # as_completed does not see what shutdown cancels
        begun: Running = {}
        for archive in chain([None], (staged[ended.get()] for _ in staged)):
            now = (file for file in stale if file.archive == archive and file.content is None)
            for path in (file.path for file in now):
                begun[self._files.submit(self._do, sync, name, path)] = f"{name}/{path}"
        last = [file.path for file in stale if file.content is not None]
        if last and not any(future.exception() for future in begun):
            for path in last:
                begun[self._files.submit(self._do, sync, name, path)] = f"{name}/{path}"
        return begun

    def _do(self, act: Callable[[str, str, Observer], Outcome], name: str, path: str) -> Outcome:
        """Bring one file up to date, or unpack one archive, and report how it ended."""
        artifact = self._project.artifact(name, path)
        target = shown_path(self._project.folder(name) / path)
        with self._run.file(name, path, 0 if artifact.archive else artifact.size) as file:
            try:
                outcome = act(name, path, file)
            except Interrupted:  # its caller stopped the run
                raise
            except Exception as error:
                task = task_name(name, path)
                failed = failed_of(error, is_debug=self._project.settings.is_debug)
                self._run.failed(
                    msgspec.structs.replace(failed, task=task, model=name, path=path, target=target)
                )
                raise
        if not outcome.is_repeat:
            sha256 = self._project.artifact(name, path).sha256
            self._run.done(outcome.done(name, path, target, sha256))
        return outcome


def _chosen(project: Project, names: Sequence[str] | None) -> list[Model]:
    """Return the models of these names, or all that are not optional.

    Raises:
        ModelmakeError: There is no such model, or nothing is known of its files.
    """
    for name in names or ():
        project.named(name)
    models = project.models()
    if names is None:
        return [model for model in models if not model.declared.is_optional]
    return [model for model in models if model.name in names]


def _archives(model: Model) -> tuple[Artifact, ...]:
    return model.locked.archives if model.locked else ()
