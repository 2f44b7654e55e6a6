"""The lock's entries -> doit tasks. `dodo.py` imports its names; nothing runs at import.

    fetch                    group: every model that is not optional
    fetch:MODEL              group: one model
    fetch:MODEL/PATH         one file, with the file as its target
    lock, verify

A file task runs when `freshness` says that its target is stale; that is asked once, while the
tasks are made, so a run with nothing to do costs doit nothing more. Groups take their files as
setup tasks, not as task_dep: doit then skips an up-to-date group whole, and a file that fails
makes exit status 1, where a failed task_dep would make 2 of it (UnmetDependency is an error).
"""

import contextlib
import inspect
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from doit.task import Task

from downloader import actions
from downloader.artifact import Artifact
from downloader.errors import ModelmakeError
from downloader.progress import bytes_text
from downloader.project import Model
from downloader.reporter import Reporter, internal_error
from downloader.runtime import current
from downloader.settings import FILES_AT_ONCE

__all__ = ["DOIT_CONFIG", "task_fetch", "task_lock", "task_verify"]

DOIT_CONFIG = {
    "backend": "modelmake",
    "continue": True,
    "default_tasks": ["fetch"],
    "num_process": FILES_AT_ONCE,
    "par_type": "thread",
    "reporter": Reporter,
}

USAGE_STATUS = 2
UNTOUCHED_STREAMS: dict[str, Any] = {"io": {"capture": False}, "verbosity": 0}
"""doit swaps sys.stdout around each captured action, without a lock between its threads."""


class Stale:
    """An `uptodate` that is false, and shows the rule that made it so in `doit info`."""

    __signature__ = inspect.Signature()
    """doit asks for it once a file, and working it out took a sixth of the time of small files."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def __call__(self) -> bool:
        """Return what doit asks: whether the target is up to date."""
        return False

    def __repr__(self) -> str:
        return self._reason


def task_fetch() -> Iterator[Task]:
    """Make every task of `fetch`."""
    with _usage_errors():
        current().stop_on_signals()
        project = current().project
        needs_lock = ["lock"] if project.is_stale else []
        default: list[Task] = []
        for model in project.models():
            files = list(_file_tasks(model, needs_lock))
            group = _model_task(model, files, needs_lock)
            yield from (*files, group)
            if not model.declared.entry.optional:
                default.append(group)
        yield _default_task(default, needs_lock)


def task_lock() -> dict[str, Any]:
    """Make the task that writes models.lock."""
    return {
        "actions": [actions.lock],
        "params": [
            _flag("check", "write nothing, and fail when models.lock is stale"),
            _flag("upgrade", "ask again for what was pinned on first use"),
        ],
        "doc": "bring models.lock up to date with models.yaml; moves no files",
        **UNTOUCHED_STREAMS,
    }


def task_verify() -> dict[str, Any]:
    """Make the task that reads every file again."""
    return {
        "actions": [actions.verify],
        "params": [_flag("repair", "fetch again what is bad")],
        "pos_arg": "names",
        "doc": "read every file again and compare it with models.lock; models may be named",
        **UNTOUCHED_STREAMS,
    }


def _flag(name: str, text: str) -> dict[str, Any]:
    return {"name": name, "long": name, "type": bool, "default": False, "help": text}


def _file_tasks(model: Model, needs_lock: list[str]) -> Iterator[Task]:
    group = f"fetch:{model.name}"
    folder = _shown(model.folder)
    for artifact, why in model.why_stale():
        yield Task(
            f"{group}/{artifact.path}",
            [(actions.fetch, [model.name, artifact.path])],
            targets=[f"{folder}/{artifact.path}"],
            uptodate=[True if why is None else Stale(why)],
            setup=needs_lock,
            clean=True,
            doc=_file_doc(artifact),
            subtask_of=group,
            **UNTOUCHED_STREAMS,
        )


def _model_task(model: Model, files: list[Task], needs_lock: list[str]) -> Task:
    stale = [task.name for task in files if task.uptodate[0][0] is not True]
    is_unknown = model.locked is None
    reasons = [_unknown(model)] * is_unknown
    reasons += [f"{len(stale)} of {len(files)} files are stale"] * bool(stale)
    return Task(
        f"fetch:{model.name}",
        [(actions.refuse, [model.name])] if is_unknown else None,
        setup=[*needs_lock, *(task.name for task in files)],
        uptodate=_uptodate(reasons),
        clean=[(actions.clean, [model.name])],
        doc=_model_doc(model, len(stale)),
        has_subtask=True,
        **UNTOUCHED_STREAMS,
    )


def _default_task(groups: list[Task], needs_lock: list[str]) -> Task:
    stale = [group.name for group in groups if group.uptodate[0][0] is not True]
    reasons = ["models.lock is stale"] * bool(needs_lock) + [f"{name} is stale" for name in stale]
    return Task(
        "fetch",
        None,
        setup=[*needs_lock, *(group.name for group in groups)],
        uptodate=_uptodate(reasons),
        clean=[(actions.clean, [group.name.partition(":")[2]]) for group in groups],
        doc="sync every model that is not optional",
        has_subtask=True,
        **UNTOUCHED_STREAMS,
    )


def _uptodate(reasons: list[str]) -> list[Any]:
    return [Stale(reason) for reason in reasons] or [True]


def _file_doc(artifact: Artifact) -> str:
    size = "size unknown" if artifact.size is None else bytes_text(artifact.size)
    return f"{size}, {f'sha256:{artifact.sha256}' if artifact.sha256 else 'not pinned yet'}"


def _model_doc(model: Model, stale: int) -> str:
    if model.locked is None:
        return _unknown(model)
    sizes = [artifact.size for artifact in model.artifacts]
    state = f"{stale} of {len(sizes)} to fetch" if stale else "up to date"
    optional = ", optional" if model.declared.entry.optional else ""
    files = f"{len(sizes)} file" + "s" * (len(sizes) > 1)
    return f"{files}, {_total(sizes)}, {state}{optional}"


def _total(sizes: list[int | None]) -> str:
    known = [size for size in sizes if size is not None]
    if not known:
        return "size unknown"
    return bytes_text(sum(known)) + "+" * (len(known) < len(sizes))


def _unknown(model: Model) -> str:
    return f"the source {model.source_name!r} is not there yet"


def _shown(path: Path) -> str:
    """Return the path as people type it: relative to the working directory, with slashes."""
    return Path(os.path.relpath(path)).as_posix()


@contextlib.contextmanager
def _usage_errors() -> Iterator[None]:
    """End with one message where models.yaml, models.lock or a variable cannot be used."""
    try:
        yield
    except ModelmakeError as error:
        sys.stderr.write(f"ERROR: {error.report()}\n")
        raise SystemExit(USAGE_STATUS) from None
    except Exception as error:
        if current().project.settings.is_debug:
            raise
        last = traceback.format_exception_only(error)[-1].strip()
        sys.stderr.write(f"ERROR: {internal_error(last)}\n")
        raise SystemExit(USAGE_STATUS) from None
