"""What the tasks do when doit runs them: call the engine, say the result, turn errors to failures.

Results go to standard output; progress, notices and errors to standard error.
"""

import contextlib
import inspect
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from doit.exceptions import TaskFailed

from downloader import receipts
from downloader.commands.command import session
from downloader.disk.durable import naming
from downloader.disk.private_folder import private_folder
from downloader.errors import LockError, ModelmakeError
from downloader.failing import Values, failing
from downloader.fs.rooted_path import RootedPath
from downloader.runtime import current
from downloader.streams import say, tell

if TYPE_CHECKING:
    from downloader.syncing.syncing import Outcome


@failing
def fetch(name: str, path: str) -> Any:  # noqa: ANN401 - as `failing`
    """Bring one target up to date; what was done is for the reporter."""
    return _why_not() or _synced(name, path)


fetch.__signature__ = inspect.signature(fetch)  # type: ignore[attr-defined]  # doit asks for each file


@failing
def unpack(name: str, path: str) -> Any:  # noqa: ANN401 - as `failing`
    """Have an archive unpacked aside, so that its files need not wait for it one by one."""
    if why_not := _why_not():
        return why_not
    with current().observer(name, path) as observer:
        outcome = current().syncer.stage(name, path, observer)
    return _values(outcome, current().project.artifact(name, path).sha256)


def _synced(name: str, path: str) -> Values:
    with current().observer(name, path) as observer:
        outcome = current().syncer.sync(name, path, observer)
    return _values(outcome, current().project.artifact(name, path).sha256)


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


def _values(outcome: "Outcome", sha256: str | None) -> Values:
    if outcome.is_repeat:
        return {}
    return {
        "verb": outcome.verb,
        "bytes": outcome.size,
        "moved_bytes": outcome.moved_bytes,
        "seconds": outcome.seconds,
        "is_first_use": outcome.is_first_use,
        "note": outcome.note,
        "sha256": sha256,
    }


@failing
def refuse(name: str) -> None:
    """Say why nothing is known of a model's files."""
    if reason := current().not_locked.get(name):
        raise reason
    from downloader.sources.registry import source_for  # noqa: PLC0415 - on the way to an error

    source_for(current().project.named(name).entry)


@failing
def fetch_asked(name: str, path: str) -> Any:  # noqa: ANN401 - as `failing`
    """Bring one target up to date, of a model whose provider told a moment ago what it is."""
    if reason := current().not_locked.get(name):
        raise reason
    runtime = current()
    model = next(each for each in runtime.project.models() if each.name == name)
    if path not in {each.path for each in model.artifacts}:
        raise LockError(
            f"models.lock knows no file {path} of {name}.",
            hint=f"`doit list --all` shows those it knows; `doit fetch:{name}` fetches them all.",
        )
    return _why_not() or _synced(name, path)


@failing
def lock_outlined() -> None:
    """Bring models.lock up to date before files are fetched, as far as that needs no provider."""
    from downloader.lock import locking  # noqa: PLC0415 - imports requests

    try:
        lines = locking.lock_outlined(current().project, current().syncer.transport)
    except ModelmakeError:
        current().has_lock_failed = True
        raise
    _note(lines)


def lock_asked(name: str) -> None:
    """Ask a model's provider what it is; a failure is told by the model's own task.

    doit counts a failed task_dep as an error of the build (status 2), and it is one of a model (1).
    """
    from downloader.lock import locking  # noqa: PLC0415 - imports requests

    runtime = current()
    try:
        declared = runtime.project.named(name)
        with runtime.asking(name) as asking:
            told = session(lambda text: asking.notice(text.removeprefix(f"{name}: ")))
            lines = locking.lock_asked(runtime.project, declared, told)
    except ModelmakeError as error:
        runtime.not_locked[name] = error
        return
    _note(lines)


def _note(lines: Iterable[str]) -> None:
    """Tell what was locked on the way to files: that is progress, as nobody asked for a lock."""
    runtime = current()
    for line in lines:
        if runtime.showing:
            runtime.progress.notice(line)
        else:
            tell(line)


def clean(name: str, *, dryrun: bool) -> None:
    """Remove a model's targets, what is noted of them, and the folders that this leaves empty."""
    with _told():
        _clean(name, dryrun=dryrun)


def clean_file(name: str, path: str, *, dryrun: bool) -> None:
    """Remove one target, and the folders that this leaves empty."""
    with _told():
        project = current().project
        target = RootedPath(project.folder(name), path)
        _remove(name, target, dryrun=dryrun)
        if not dryrun:
            _remove_empty([target.parent.path], project.root)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Tell an error of ours and end with 1; doit itself would say that all went well."""
    try:
        yield
    except ModelmakeError as error:
        tell(error.report())
        raise SystemExit(1) from None


_told_of = set[RootedPath]()
"""Targets that were said to be removed: doit cleans a model, and each of its files as well."""


def _remove(name: str, target: RootedPath, *, dryrun: bool) -> None:
    with naming(target, "remove"):
        if target in _told_of or not _is_file(target):
            return
        _told_of.add(target)
        say(f"fetch:{name} - removing file '{target}'")
        if not dryrun:
            target.remove()


def _is_file(target: RootedPath) -> bool:
    """Whether a file stands there, or a symlink to one, which is removed in its place."""
    with contextlib.suppress(FileNotFoundError):
        mode = target.lstat().st_mode  # refuses to look where a symlink leads out of the folder
        return stat.S_ISREG(mode) or (stat.S_ISLNK(mode) and target.path.is_file())
    return False


def _clean(name: str, *, dryrun: bool) -> None:
    project = current().project
    models = project.models()
    model = next(each for each in models if each.name == name)
    paths = [artifact.path for artifact in model.artifacts]
    targets = [RootedPath(model.folder, path) for path in paths]
    for target in targets:
        _remove(name, target, dryrun=dryrun)
    if dryrun or not model.folder.is_dir():
        return
    receipts.forget(model.folder, paths)
    is_shared = sum(each.folder == model.folder for each in models) > 1
    # What another model keeps there may be gigabytes of a partial that has no receipt yet.
    if not is_shared and not receipts.load(model.folder):
        private_folder(model.folder).remove_tree()
    folders = {target.parent.path for target in targets}
    _remove_empty(folders | {model.folder}, project.root)


def _remove_empty(folders: Iterable[Path], root: Path) -> None:
    for folder in sorted(folders, key=lambda each: len(each.parts), reverse=True):
        for each in (folder, *folder.parents):
            with naming(each, "remove"):
                if each == root or not each.is_dir() or any(each.iterdir()):
                    break
                RootedPath.of(each).remove_folder()
