"""What `ensure` and `sync` do: the same as doit's tasks, without doit."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed, wait
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from downloader import locking
from downloader.artifact import Artifact
from downloader.model import Model
from downloader.project import Project
from downloader.settings import FILES_AT_ONCE
from downloader.sources.registry import source_for
from downloader.streams import tell
from downloader.syncing import Outcome, Syncer
from downloader.transfer.asking import Session

SIGNAL_SECONDS = 0.5

T = TypeVar("T")


def sync_models(names: Sequence[str] | None, folder: Path | None) -> dict[str, Path]:
    """See `downloader.sync`."""
    project = Project.of_environment(folder)
    with _Run(project) as run:
        run.lock_outlined()
        models = _chosen(project, names)
        if failures := run.failures(models):
            raise failures[0]
    for model in models:
        source_for(model.declared.entry)  # says why nothing is known of a model's files
    return {model.name: model.folder for model in models}


class _Run:
    """Models brought up to date: providers are asked beside the transfers.

    So one that waits for its training holds up no other, and neither does one that fails. Nothing
    is asked in the main thread, so that Ctrl-C finds it awake and stops everything.
    """

    def __init__(self, project: Project) -> None:
        self._project = project
        self._syncer = Syncer(project)
        self._files = ThreadPoolExecutor(FILES_AT_ONCE)
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
            self._syncer.interrupt()
        try:
            for waits in (False, True):
                for pool in (self._asking, self._files):
                    pool.shutdown(wait=waits, cancel_futures=True)
        finally:
            self._syncer.close()

    def lock_outlined(self) -> None:
        """Lock what needs no provider, where that is stale.

        Raises:
            ModelmakeError: As `locking.lock_outlined`.
        """
        if self._project.is_outline_stale:
            lock, transport = locking.lock_outlined, self._syncer.transport
            locked = self._asking.submit(lock, self._project, transport)
            _wait([locked])
            locked.result()

    def failures(self, models: Sequence[Model]) -> list[BaseException]:
        """Bring the models up to date, and return what went wrong."""
        known = [each for each in models if not each.must_ask]
        self._syncer.plan((each.name, file.path) for each in known for file in _stale(each))
        asked = [self._asking.submit(self._ask, each) for each in models]
        _wait(asked)
        begun = [future for each in asked if not each.exception() for future in each.result()]
        _wait(begun)
        ended = [*(each.exception() for each in begun), *(each.exception() for each in asked)]
        return [error for error in ended if error]

    def _ask(self, model: Model) -> list[Future[Outcome]]:
        """Lock the model where its provider must be asked, and begin to fetch what is stale."""
        if model.must_ask:
            session = Session(self._syncer.transport, self._syncer.stop, tell)
            locking.lock_asked(self._project, model.declared, session)
            model = next(each for each in self._project.models() if each.name == model.name)
        return self._begin(model.name, _stale(model))

    def _begin(self, name: str, stale: Sequence[Artifact]) -> list[Future[Outcome]]:
        """Begin to fetch files; those of an archive once it is unpacked.

        So they do not wait for it in threads where another model's files could be fetched.
        """
        archives = {each.archive for each in stale if each.archive}
        staged = {self._files.submit(self._syncer.stage, name, path): path for path in archives}
        begun = self._submit(name, stale, None)
        for each in as_completed(staged):
            begun += self._submit(name, stale, staged[each])
        return begun

    def _submit(
        self, name: str, stale: Sequence[Artifact], archive: str | None
    ) -> list[Future[Outcome]]:
        return [
            self._files.submit(self._syncer.sync, name, each.path)
            for each in stale
            if each.archive == archive
        ]


def _stale(model: Model) -> list[Artifact]:
    return [artifact for artifact, why in model.why_stale() if why]


def _wait(running: Sequence[Future[T]]) -> None:
    while wait(running, SIGNAL_SECONDS).not_done:
        pass  # Windows, and a signal that another thread took, end no wait without a limit


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
