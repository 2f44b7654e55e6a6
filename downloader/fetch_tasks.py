"""The lock's entries -> the doit tasks of `fetch`.

    fetch                    group: every model that is not optional
    fetch:MODEL              group: one model
    fetch:MODEL/PATH         one file, with the file as its target

A file task runs when `freshness` says that its target is stale; that is asked once, while the
tasks are made, so a run with nothing to do costs doit nothing more. Groups take their files as
setup tasks, not as task_dep: doit then skips an up-to-date group whole, and a file that fails
makes exit status 1, where a failed task_dep would make 2 of it (UnmetDependency is an error).
"""

import functools
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from doit.cmd_base import DoitCmdBase as Command
from doit.task import DelayedLoader, Task

from downloader import actions, streams
from downloader.artifact import Artifact
from downloader.commands.command import UNTOUCHED_STREAMS
from downloader.freshness import Rule
from downloader.model import Model
from downloader.project import Project
from downloader.reporter import usage_errors
from downloader.runtime import current
from downloader.settings import wants_json
from downloader.task_docs import aligned, file_doc, model_doc, why_unknown
from downloader.task_kinds import FileTask, Group, OurTask, Stale

LOCK_TASK = "_lock"
ASK_TASK = "_ask"
UNPACK_TASK = "_unpack"

Targets = Sequence[tuple[Artifact, Rule | None]]
"""Artifacts, each with the rule that makes its target stale."""


def task_fetch() -> Iterator[Task]:
    """Make every task of `fetch`."""
    with usage_errors():
        _open_output()
        streams.guard(as_json=wants_json())
        current().stop_on_signals()
        project = current().project
        if is_started_from_a_bundle(project):
            return
        needs_lock = [LOCK_TASK] if project.is_outline_stale else []
        if needs_lock:
            yield _private_task(LOCK_TASK, actions.lock_outlined)
        groups: dict[str, Task] = {}
        default: list[Task] = []
        for model in project.models():
            tasks = _asking_tasks(model) if model.must_ask else _model_tasks(model, needs_lock)
            *parts, groups[model.name] = tasks
            yield from parts
            if not model.declared.entry.optional:
                default.append(groups[model.name])
        _align(groups.values())
        yield from groups.values()
        yield _default_task(default, needs_lock)


def is_started_from_a_bundle(project: Project) -> bool:
    """Whether there is no models.yaml yet, and `adopt` was asked for, which may bring one."""
    return "adopt" in sys.argv[1:] and not project.manifest_path.exists()


def _align(groups: Iterable[Task]) -> None:
    """Make `doit list` show the models in columns; doit takes the space off a doc it is given."""
    groups = list(groups)
    for group, doc in zip(groups, aligned([each.doc for each in groups]), strict=True):
        group.doc = doc


def _open_output() -> None:
    """Give doit's commands an output where standard output was closed before Python began.

    They took it before dodo.py was read, and write to it without a look.
    """
    if sys.stdout is None:

        def output(command: Command) -> TextIO | None:
            return vars(command)["outstream"] or sys.stdout

        def set_output(command: Command, stream: TextIO | None) -> None:
            vars(command)["outstream"] = stream

        Command.outstream = property(output, set_output)


def _asking_tasks(model: Model) -> Iterator[Task]:
    """Make the tasks of a model whose provider has to be asked first: they are made after that.

    They are a model's own, so that one that waits for its training holds up no other.
    """
    ask, group = f"{ASK_TASK}:{model.name}", f"fetch:{model.name}"
    yield _private_task(ask, actions.lock_asked, model.name)
    for word in sys.argv[1:]:  # doit would know no such task before the provider was asked
        if word.startswith(f"{group}/"):
            yield _asked_file_task(word, ask, model)
    yield OurTask(
        group,
        None,
        loader=DelayedLoader(
            functools.partial(_asked_tasks, model.name),
            executed=ask,
            target_regex=re.escape(f"{_shown(model.folder)}/"),
        ),
        uptodate=[Stale(why_unknown(model))],
        doc=model_doc(model, []),
        **UNTOUCHED_STREAMS,
    )


def _asked_file_task(name: str, ask: str, model: Model) -> Task:
    """Make the task of one file that the user named, of a model whose files nobody knows yet."""
    return OurTask(
        name,
        [(actions.fetch_asked, [model.name, name.partition("/")[2]])],
        setup=[ask],
        uptodate=[Stale(why_unknown(model))],
        doc=why_unknown(model),
        **UNTOUCHED_STREAMS,
    )


def _asked_tasks(name: str) -> Iterator[Task]:
    """Make the tasks of a model that was locked a moment ago, or says why it was not."""
    project = current().project
    model = next(each for each in project.models() if each.name == name)
    return _model_tasks(model, [])


def _private_task(
    name: str, action: Callable[..., object], *arguments: str, setup: Sequence[str] = ()
) -> Task:
    return Task(name, [(action, list(arguments))], setup=list(setup), **UNTOUCHED_STREAMS)


def _model_tasks(model: Model, needs_lock: list[str]) -> Iterator[Task]:
    """Make a task for each target of the model, and their group as the last one."""
    targets = list(model.why_stale())
    files = list(_file_tasks(model, targets, needs_lock))
    yield from _unpack_tasks(model, targets, needs_lock)
    yield from files
    yield _model_task(model, targets, files, needs_lock)


def _file_tasks(model: Model, targets: Targets, needs_lock: list[str]) -> Iterator[Task]:
    group = f"fetch:{model.name}"
    folder = _shown(model.folder)
    for artifact, why in targets:
        unpack = _unpack_task_of(model, artifact) if why else []
        yield FileTask(
            f"{group}/{artifact.path}",
            [(actions.fetch, [model.name, artifact.path])],
            targets=[f"{folder}/{artifact.path}"],
            uptodate=[True if why is None else Stale(why)],
            setup=[*needs_lock, *unpack],
            clean=True,
            doc=file_doc(artifact),
            subtask_of=group,
            **UNTOUCHED_STREAMS,
        )


def _unpack_tasks(model: Model, targets: Targets, needs_lock: list[str]) -> Iterator[Task]:
    """Make a task for each archive that files are missing of; they take it for their setup.

    So they do not wait for it in doit's threads, where another model's files could be fetched.
    """
    names = {name for each, why in targets if why for name in _unpack_task_of(model, each)}
    for name in sorted(names):
        path = name.partition("/")[2]
        yield _private_task(name, actions.unpack, model.name, path, setup=needs_lock)


def _unpack_task_of(model: Model, artifact: Artifact) -> list[str]:
    return [f"{UNPACK_TASK}:{model.name}/{artifact.archive}"] * bool(artifact.archive)


def _model_task(model: Model, targets: Targets, files: list[Task], needs_lock: list[str]) -> Task:
    rules = [why for _, why in targets if why is not None]
    is_unknown = model.locked is None
    reasons = [why_unknown(model)] * is_unknown
    reasons += [f"{len(rules)} of {len(files)} files are stale"] * bool(rules)
    return Group(
        f"fetch:{model.name}",
        [(actions.refuse, [model.name])] if is_unknown else None,
        setup=[*needs_lock, *(task.name for task in files)],
        uptodate=_uptodate(reasons),
        clean=[(actions.clean, [model.name])],
        doc=model_doc(model, rules),
        has_subtask=True,
        **UNTOUCHED_STREAMS,
    )


def _default_task(groups: list[Task], needs_lock: list[str]) -> Task:
    stale = [group.name for group in groups if group.uptodate[0][0] is not True]
    reasons = ["models.lock is stale"] * bool(needs_lock) + [f"{name} is stale" for name in stale]
    return Group(
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


def _shown(path: Path) -> str:
    """Return the path as people type it: relative to the working directory, with slashes."""
    return Path(os.path.relpath(path)).as_posix()
