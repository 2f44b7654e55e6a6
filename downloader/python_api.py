"""What `ensure` and `sync` do: the same as doit's tasks, without doit."""

from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path

from downloader import locking
from downloader.errors import ModelmakeError
from downloader.model import Model
from downloader.project import Project
from downloader.settings import FILES_AT_ONCE
from downloader.sources.registry import source_for
from downloader.syncing import Outcome, Syncer

SIGNAL_SECONDS = 0.5


def sync_models(names: Sequence[str] | None, folder: Path | None) -> dict[str, Path]:
    """See `downloader.sync`."""
    project = Project.of_environment(folder)
    if project.is_outline_stale:
        locking.lock_outlined(project)
    failures = [error for model in _chosen(project, names) if (error := _asked(project, model))]
    models = _chosen(project, names)
    stale = [
        (model.name, artifact.path)
        for model in models
        for artifact, why in model.why_stale()
        if why
    ]
    syncer = Syncer(project)
    try:
        running = _run(syncer, stale)
    finally:
        syncer.close()
    for each in running:
        each.result()
    if failures:
        raise failures[0]
    for model in models:
        source_for(model.declared.entry)  # says why nothing is known of a model's files
    return {model.name: model.folder for model in models}


def _asked(project: Project, model: Model) -> ModelmakeError | None:
    """Lock a model whose provider has to be asked; return why that failed, for the end."""
    if not (model.is_stale and model.declared.is_known):
        return None
    try:
        locking.lock_asked(project, model.declared)
    except ModelmakeError as error:
        return error
    return None


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
