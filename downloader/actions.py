"""What the tasks do when doit runs them: call the engine, say the result, turn errors to failures.

Results go to standard output; progress, notices and errors to standard error.
"""

import functools
import inspect
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec

from doit.exceptions import TaskFailed

from downloader import receipts
from downloader.durable import naming
from downloader.errors import LockError, ModelmakeError
from downloader.model import Model
from downloader.progress import counted
from downloader.reporter import Heartbeat
from downloader.runtime import current
from downloader.streams import say, tell

if TYPE_CHECKING:
    from downloader.syncing import Outcome
    from downloader.transfer.asking import Session
    from downloader.verify import Verdict

P = ParamSpec("P")
Values = dict[str, object]


def _failing(act: Callable[P, Values | None]) -> Callable[P, Any]:
    """Return the act with our errors as doit's failures: exit status 1, and no traceback."""

    @functools.wraps(act)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> Any:  # noqa: ANN401 - doit's TaskFailed has no types
        try:
            return act(*args, **kwargs)
        except ModelmakeError as error:
            is_news, error.is_reported = not error.is_reported, True
            return TaskFailed(error.report(), report=is_news)

    return wrapped


@_failing
def fetch(name: str, path: str) -> Any:  # noqa: ANN401 - as `_failing`
    """Bring one target up to date; what was done is for the reporter."""
    return _why_not() or _values(current().syncer.sync(name, path, Heartbeat(f"{name}/{path}")))


fetch.__signature__ = inspect.signature(fetch)  # type: ignore[attr-defined]  # doit asks for each file


@_failing
def unpack(name: str, path: str) -> Any:  # noqa: ANN401 - as `_failing`
    """Have an archive unpacked aside, so that its files need not wait for it one by one."""
    return _why_not() or _values(current().syncer.stage(name, path, Heartbeat(f"{name}/{path}")))


def _why_not() -> TaskFailed | None:
    """Return why no file of this run may be begun, None where all may.

    Raises:
        StoreError: The disk has no room for them; who asks later is told without a report.
    """
    if current().has_lock_failed:  # doit runs a task even when its setup task failed
        return TaskFailed("models.lock is not up to date", report=False)
    if not current().has_room():
        return TaskFailed("the disk has no room for this run", report=False)
    return None


def _values(outcome: "Outcome") -> Values:
    if outcome.is_repeat:
        return {}
    return {
        "verb": outcome.verb,
        "size": outcome.size,
        "moved_bytes": outcome.moved_bytes,
        "seconds": outcome.seconds,
        "is_first_use": outcome.is_first_use,
        "note": outcome.note,
    }


@_failing
def refuse(name: str) -> None:
    """Say why nothing is known of a model's files."""
    if reason := current().not_locked.get(name):
        raise reason
    from downloader.sources.registry import source_for  # noqa: PLC0415 - on the way to an error

    source_for(current().project.named(name).entry)


@_failing
def lock(*, check: bool = False, upgrade: bool = False) -> None:
    """Bring models.lock up to date, or only look whether it is."""
    try:
        is_told = _lock(check=check, upgrade=upgrade)
    except ModelmakeError:
        current().has_lock_failed = True
        raise
    if not is_told:
        say("models.lock is up to date.")


@_failing
def lock_outlined() -> None:
    """Bring models.lock up to date before files are fetched, as far as that needs no provider."""
    from downloader import locking  # noqa: PLC0415 - imports requests

    try:
        lines = locking.lock_outlined(current().project, current().syncer.transport)
    except ModelmakeError:
        current().has_lock_failed = True
        raise
    for line in lines:
        say(line)


def lock_asked(name: str) -> None:
    """Ask a model's provider what it is; a failure is told by the model's own task.

    doit counts a failed task_dep as an error of the build (status 2), and it is one of a model (1).
    """
    from downloader import locking  # noqa: PLC0415 - imports requests

    runtime = current()
    try:
        declared = runtime.project.named(name)
        lines = locking.lock_asked(runtime.project, declared, _session())
    except ModelmakeError as error:
        runtime.not_locked[name] = error
        return
    for line in lines:
        say(line)


def _lock(*, check: bool, upgrade: bool) -> bool:
    from downloader import locking  # noqa: PLC0415 - imports requests

    project = current().project
    if check:
        locking.check(project)
        return False
    return locking.lock(project, _session(), say, upgrade=upgrade)


def _session() -> "Session":
    from downloader.transfer.asking import Session  # noqa: PLC0415 - imports requests

    return Session(current().syncer.transport, current().stop, tell)


@_failing
def verify(names: list[str], *, repair: bool = False) -> None:
    """Hash every file of the named models, or of all that are here, and tell what is bad."""
    from downloader.verify import verify as judged  # noqa: PLC0415 - the no-op run has no use

    good, bad = 0, []
    for verdict in judged(_to_verify(names)):
        good += not verdict.is_bad
        if verdict.is_bad:
            bad.append(verdict)
            say(f"{verdict.state}: {verdict.model}/{verdict.path}")
    repaired = sum(map(_is_repaired, bad)) if repair else 0
    say(_verified(good, len(bad), repaired))
    if len(bad) > repaired:
        raise LockError(
            f"What models.lock says is not here: {len(bad) - repaired} of {good + len(bad)}.",
            hint="" if repair else "Run `doit verify --repair`, or `doit`, to fetch them again.",
        )


def _verified(good: int, bad: int, repaired: int) -> str:
    return f"verified {counted(good + bad, 'file')}: {good} right, {bad} not, {repaired} repaired"


def _is_repaired(bad: "Verdict") -> bool:
    """Fetch what is bad, and return whether that went well; one failure stops no other."""
    try:
        current().syncer.repair(bad.model, bad.path)
    except ModelmakeError as error:
        tell(f"not repaired: {bad.model}/{bad.path}: {error.report()}")
        return False
    return True


def _to_verify(names: Iterable[str]) -> list[Model]:
    """Return the named models, or those that are not optional or have a file here."""
    project = current().project
    wanted = [project.named(name).name for name in names]
    return [
        model
        for model in project.models()
        if (model.name in wanted if wanted else _is_expected(model))
    ]


def _is_expected(model: Model) -> bool:
    return not model.declared.entry.optional or bool(receipts.load(model.folder))


def clean(name: str, *, dryrun: bool) -> None:
    """Remove a model's targets, what is noted of them, and the folders that this leaves empty."""
    try:
        _clean(name, dryrun=dryrun)
    except ModelmakeError as error:
        tell(error.report())
        raise SystemExit(1) from None  # doit itself would say that all went well


def _clean(name: str, *, dryrun: bool) -> None:
    project = current().project
    model = next(each for each in project.models() if each.name == name)
    paths = [artifact.path for artifact in model.artifacts]
    targets = [model.folder / path for path in paths]
    for target in targets:
        with naming(target, "remove"):
            if target.is_file():
                say(f"fetch:{name} - removing file '{target}'")
                if not dryrun:
                    target.unlink()
    if not dryrun and model.folder.is_dir():
        receipts.forget(model.folder, paths)
        if not receipts.load(model.folder):
            shutil.rmtree(model.folder / receipts.PRIVATE_FOLDER, ignore_errors=True)
        _remove_empty({target.parent for target in targets} | {model.folder}, project.root)


def _remove_empty(folders: Iterable[Path], root: Path) -> None:
    for folder in sorted(folders, key=lambda each: len(each.parts), reverse=True):
        for each in (folder, *folder.parents):
            with naming(each, "remove"):
                if each == root or not each.is_dir() or any(each.iterdir()):
                    break
                each.rmdir()
