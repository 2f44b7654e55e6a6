"""What `ensure` and `sync` do: the same as doit's tasks, without doit."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import TypeVar

from downloader import locking
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
    if project.is_outline_stale:
        locking.lock_outlined(project)
    models = _chosen(project, names)
    run = _Run(project, models)
    if failures := run.failures():
        raise failures[0]
    for model in models:
        source_for(model.declared.entry)  # says why nothing is known of a model's files
    return {model.name: model.folder for model in models}


class _Run:
    """Models brought up to date: providers are asked beside the transfers.

    So one that waits for its training holds up no other, and neither does one that fails.
    """

    def __init__(self, project: Project, models: Sequence[Model]) -> None:
        self._project, self._models = project, models
        self._syncer = Syncer(project)
        self._files = ThreadPoolExecutor(FILES_AT_ONCE)
        self._asking = ThreadPoolExecutor(max(1, len(models)))

    def failures(self) -> list[BaseException]:
        """Do all of it, and return what went wrong; Ctrl-C stops everything."""
        try:
            with self._files, self._asking:
                known = [each for each in self._models if not each.must_ask]
                self._syncer.plan((each.name, path) for each in known for path in _stale(each))
                return self._failures()
        finally:
            self._syncer.close()

    def _failures(self) -> list[BaseException]:
        try:
            asked = [self._asking.submit(self._ask, each) for each in self._models]
            _wait(asked)
            begun = [future for each in asked if not each.exception() for future in each.result()]
            _wait(begun)
        except BaseException:
            self._syncer.interrupt()
            for pool in (self._asking, self._files):
                pool.shutdown(wait=False, cancel_futures=True)
            raise
        ended = [*(each.exception() for each in begun), *(each.exception() for each in asked)]
        return [error for error in ended if error]

    def _ask(self, model: Model) -> list[Future[Outcome]]:
        """Lock the model where its provider must be asked, and begin to fetch what is stale."""
        if model.must_ask:
            session = Session(self._syncer.transport, self._syncer.stop, tell)
            locking.lock_asked(self._project, model.declared, session)
            model = next(each for each in self._project.models() if each.name == model.name)
        return [self._files.submit(self._syncer.sync, model.name, path) for path in _stale(model)]


def _stale(model: Model) -> list[str]:
    return [artifact.path for artifact, why in model.why_stale() if why]


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
