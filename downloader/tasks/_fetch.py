"""Turn the entries of the lock into the doit tasks of `fetch`, and do what they ask for.

    fetch                    group: every model that is not optional
    fetch:MODEL              group: one model
    fetch:MODEL/PATH         one file, with the file as its target

A file task runs if the target's state says that it is stale; that is asked once, while the tasks
are made, so a run with nothing to do costs doit nothing more. Groups take their files as setup
tasks, not as task_dep: doit then skips an up-to-date group whole, and a file that fails makes exit
status 1, where a failed task_dep would make 2 of it (UnmetDependency is an error).

Results go to standard output; progress, notices and errors to standard error.
"""

import atexit
import contextlib
import functools
import gc
import inspect
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import msgspec
from doit.action import BaseAction, PythonAction
from doit.cmd_base import DoitCmdBase as Command
from doit.exceptions import TaskFailed
from doit.task import DelayedLoader, Task

from downloader.artifact import (
    Artifact,
    Checkpoint,
    counted,
    size_text,
    task_file,
    task_name,
)
from downloader.errors import LockError, ModelmakeError
from downloader.progress import streams
from downloader.progress.events import shown_path
from downloader.progress.streams import say, tell
from downloader.project.project import Model, Project
from downloader.settings import unknown_variables, wants_json
from downloader.targets.plan import PRESENT, Decision, target_decisions, why_fresh
from downloader.targets.state import load_receipts
from downloader.tasks._commands import UNTOUCHED_STREAMS, session
from downloader.tasks._reporter import usage_errors
from downloader.tasks._runtime import Values, current, failing, is_worker
from downloader.tasks.plugins import HelpfulTask

if TYPE_CHECKING:
    from downloader.operations.clean import Cleaner
    from downloader.targets.engine import Outcome


def file_doc(artifact: Artifact) -> str:
    """Return what is known of one file."""
    pin = "not pinned yet"
    if artifact.sha256 or artifact.git_sha1:
        pin = f"sha256:{artifact.sha256}" if artifact.sha256 else f"git-sha1:{artifact.git_sha1}"
    return f"{size_text(artifact.size)}, {pin}{checkpoint_text(artifact.checkpoint)}"


WHY_UNKNOWN = "its files are not known yet; `doit lock` asks for them"


def checkpoint_text(found: Checkpoint | None) -> str:
    """Return which checkpoint an archive holds; nothing for any other file."""
    if found is None:
        return ""
    step = "final model" if found.step is None else f"step {found.step}"
    parts = [step, f"{found.request} asked for"]
    parts += [f"holds {found.came}"] * bool(found.came)
    parts += [f"made {found.created}"] * bool(found.created)
    return "".join(f", {part}" for part in parts)


def model_doc(model: Model, stale: Sequence[Decision]) -> str:
    """Return how many files a model has, their size, and what is to be done with them.

    Args:
        model: The model.
        stale: What is decided about those of its files that are not up to date.
    """
    optional = ", optional" * model.declared.is_optional
    if model.locked is None:
        return WHY_UNKNOWN + optional
    sizes = [artifact.size for artifact in model.artifacts]
    state = _state(stale, len(sizes))
    left_out = f"; {model.locked.left_out}" if model.locked.left_out else ""
    return f"{counted(len(sizes), 'file')}, {size_text(*sizes)}, {state}{optional}{left_out}"


def aligned(docs: Sequence[str]) -> list[str]:
    """Return what `model_doc` says of several models with number and size in columns."""
    rows = [doc.split(", ", 2) for doc in docs]
    widths = [max((len(row[n]) for row in rows if _is_row(row)), default=0) for n in (0, 1)]
    return [
        f"{row[0]:>{widths[0]}}, {row[1]:>{widths[1]}}, {row[2]}" if _is_row(row) else doc
        for row, doc in zip(rows, docs, strict=True)
    ]


def _is_row(row: Sequence[str]) -> bool:
    return len(row) == 3 and row[0][0].isdigit()  # noqa: PLR2004 - files, size, state


def _state(stale: Sequence[Decision], count: int) -> str:
    link = sum(each.action == "link" for each in stale)
    fetch = sum(each.needs_bytes for each in stale) - link
    counts = {"fetch": fetch, "link": link, "verify": len(stale) - fetch - link}
    parts = [f"{found:,} of {count:,} to {action}" for action, found in counts.items() if found]
    return ", ".join(parts) or "up to date"


@failing
def fetch_file(name: str, path: str) -> Any:  # noqa: ANN401 - as `failing`
    """Bring one target up to date; what was done is for the reporter."""
    if why_not := _why_not():
        return why_not
    with current().observer(name, path) as observer:
        outcome = current().syncer.sync(name, path, observer)
    return _values(outcome, name, path)


@failing
def unpack_archive(name: str, path: str) -> Any:  # noqa: ANN401 - as `failing`
    """Have an archive unpacked aside, so that its files need not wait for it one by one."""
    if why_not := _why_not():
        return why_not
    with current().observer(name, path) as observer:
        outcome = current().syncer.stage(name, path, observer)
    return _values(outcome, name, path)


def _why_not() -> TaskFailed | None:
    """Return why no file of this run may start, None if all may.

    Raises:
        StoreError: The disk has no room for them; later callers get it without a report.
    """
    is_unlocked = is_worker() and current().project.is_outline_stale  # it failed in another one
    if current().has_lock_failed or is_unlocked:  # doit runs a task though its setup task failed
        return TaskFailed("models.lock is not up to date", report=False)
    if not current().has_room():
        return TaskFailed("the disk has no room for this run", report=False)
    return None


def _values(outcome: "Outcome", name: str, path: str) -> Values:
    """Return the fields of the reporter's `Done`; nothing if it was reported before in this run."""
    if outcome.is_repeat:
        return {}
    project = current().project
    folder = _shown_folder(project.folder(name))
    target = path if folder == os.curdir else f"{folder}/{path}"
    return msgspec.structs.asdict(
        outcome.done(name, path, target, project.artifact(name, path).sha256)
    )


@functools.cache
def _shown_folder(folder: Path) -> str:
    """Return `shown_path` of a model's folder, worked out once for all its files."""
    return shown_path(folder)


@failing
def refuse(name: str) -> None:
    """Say why nothing is known of a model's files."""
    if reason := current().not_locked.get(name):
        raise reason
    if is_worker() and current().project.model(name).must_ask:
        raise LockError(
            f"models.lock does not know the files of {name}.",
            hint=f"Run `doit lock {name}` to see why.",
        )


@failing
def fetch_asked(name: str, path: str) -> Any:  # noqa: ANN401 - as `failing`
    """Bring one target up to date, of a model whose provider was asked a moment ago."""
    if reason := current().not_locked.get(name):
        raise reason
    runtime = current()
    model = runtime.project.model(name)
    if path not in {each.path for each in model.artifacts}:
        raise LockError(
            f"models.lock knows no file {path} of {name}.",
            hint=f"`doit list --all` shows those it knows; `doit {task_name(name)}` gets them all.",
        )
    return fetch_file(name, path)


@failing
def lock_known_models() -> None:
    """Bring models.lock up to date before files are fetched, as far as that needs no provider."""
    from downloader.operations import lock as locking  # noqa: PLC0415 - imports requests

    try:
        lines = locking.lock_outlined(current().project, current().syncer.transport)
    except ModelmakeError:
        current().has_lock_failed = True
        raise
    _note(lines)


def lock_asked_model(name: str) -> None:
    """Ask a model's provider what it is; the model's own task reports a failure.

    doit counts a failed task_dep as an error of the build (status 2), and it is one of a model (1).
    """
    from downloader.operations import lock as locking  # noqa: PLC0415 - imports requests

    runtime = current()
    try:
        declared = runtime.project.named(name)
        with runtime.shown_run().asking(name) as asking:
            told = session(lambda text: asking.notice(text.removeprefix(f"{name}: ")))
            lines = locking.lock_asked(runtime.project, declared, told)
    except ModelmakeError as error:
        runtime.not_locked[name] = error
        if is_worker():  # the model's own task may run in another process
            tell(error.report())
        return
    _note(lines)


def _note(lines: Iterable[str]) -> None:
    """Tell what was locked on the way to files: that is progress, as nobody asked for a lock."""
    for line in lines:
        current().shown_run().notice(line)


@functools.cache
def cleaner() -> "Cleaner":
    """Return what cleans in this run, and says at its end what was done.

    doit calls each task's cleaning by itself, and has no hook after the last one.
    """
    from downloader.operations.clean import Cleaner  # noqa: PLC0415 - no other run has a use for it

    made = Cleaner(current().project, say, tell)

    def say_summary() -> None:
        if text := made.summary():
            say(text)

    atexit.register(say_summary)
    return made


def clean_model(name: str, *, dryrun: bool) -> None:
    """Remove a model's targets, what is noted of them, and the folders that this leaves empty."""
    with _exit_on_error():
        cleaner().clean_model(name, dryrun=dryrun)


def clean_file(name: str, path: str, *, dryrun: bool) -> None:
    """Remove one target, and the folders that this leaves empty."""
    with _exit_on_error():
        cleaner().clean_file(name, path, dryrun=dryrun)


@contextlib.contextmanager
def _exit_on_error() -> Iterator[None]:
    """Print one of our errors and exit with 1; doit itself would say that all went well."""
    try:
        yield
    except ModelmakeError as error:
        tell(error.report())
        raise SystemExit(1) from None


SHOWN_PARTS = 20


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
        return str(self._reason)


class OurTask(Task):  # type: ignore[misc]
    """A task that can say why it would run, or why not.

    Its name may hold `=`, as `epoch=9-step=499.ckpt` does. doit refuses that, because it takes a
    word with `=` on the command line for a variable.
    """

    def __init__(self, name: str, actions: Any, **keys: Any) -> None:  # noqa: ANN401 - doit's
        super().__init__(name.replace("=", "_"), actions, **keys)
        self.name = name

    @property
    def reasons(self) -> list[str]:
        """The rules that make it stale; none when it is up to date."""
        return [repr(rule) for rule, *_ in self.uptodate if isinstance(rule, Stale)]

    def explained(self, tasks: Mapping[str, Task]) -> Iterator[str]:  # noqa: ARG002 - others need it
        """Yield lines for `doit info`: the rules, or why nothing is to be done.

        Args:
            tasks: Every task, by name.
        """
        yield from self.reasons

    def clean(self, outstream: TextIO, dryrun: bool) -> None:  # noqa: FBT001 - doit's
        """Clean as doit does; at the end of the run is said what became of that."""
        cleaner()
        super().clean(outstream, dryrun)


_IS_UP_TO_DATE = (True, None, None)
"""As doit notes an `uptodate` that is true."""


class FileAction(PythonAction):  # type: ignore[misc]
    """Brings one file up to date.

    doit would look at the function's signature for each file, to see what else it wants to know.
    """

    def _prepare_kwargs(self) -> dict[str, object]:
        return {}


_COMMON: dict[str, Any] = OurTask("file", None, clean=True, **UNTOUCHED_STREAMS).__dict__
"""What doit makes of a file's task, but for what is the file's own."""
del _COMMON["doc"]


class FileTask(OurTask):
    """The task of one file: fetch:MODEL/PATH.

    doit makes and checks more than thirty attributes of a task, and looks at six of them in a run
    with nothing to do, which took a third longer for that. So the others are made when somebody
    asks for them.

    Args:
        group: The task of its model.
        artifact: The file.
        target: Where it goes, as doit shows it.
        why: Why it is stale; None if it is up to date.
        setup: Tasks that come before it; the list becomes its own.
    """

    def __init__(
        self, group: str, artifact: Artifact, target: str, why: str | None, setup: list[str]
    ) -> None:
        self.artifact = artifact
        self.name = f"{group}/{artifact.path}"
        self.subtask_of = group
        self.targets = [target]
        self.setup_tasks = setup
        self.uptodate: list[Any] = [_IS_UP_TO_DATE if why is None else (Stale(why), [], {})]
        self.task_dep: list[str] = []
        self.wild_dep: list[str] = []
        self.file_dep: set[str] = set()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever doit keeps there
        """Make an attribute as doit would have: its own one, as doit changes some."""
        try:
            value = _COMMON[name]
        except KeyError:
            raise AttributeError(f"A task has no attribute {name!r}.") from None
        if isinstance(value, (list, set, dict)):
            value = type(value)(value)
        return self.__dict__.setdefault(name, value)  # another thread may ask for it too

    def pickle_safe_dict(self) -> dict[str, Any]:
        """Return what doit hands to another process; it expects some attributes to be there."""
        for name in _COMMON:
            getattr(self, name)
        found: dict[str, Any] = super().pickle_safe_dict()
        return found

    @cached_property
    def doc(self) -> str:
        """What is known of the file; few commands want it."""
        return file_doc(self.artifact)

    @property
    def actions(self) -> list[BaseAction]:
        """What doit runs."""
        if self._action_instances is None:
            self._action_instances: list[BaseAction] | None = [
                FileAction(fetch_file, list(self.place), task=self)
            ]
        return self._action_instances

    @property
    def place(self) -> tuple[str, str]:
        """Model and path."""
        return task_file(self.name)

    def explained(self, tasks: Mapping[str, Task]) -> Iterator[str]:
        """See OurTask."""
        project, (model, path) = current().project, self.place
        if not self.reasons:
            yield why_fresh(load_receipts(project.folder(model))[path])
            return
        from downloader.operations import plan as planning  # noqa: PLC0415 - no run has a use for it

        yield from super().explained(tasks)
        yield f"to do      : {planning.outlook(project, model, path)}"

    def clean(self, outstream: TextIO, dryrun: bool) -> None:  # noqa: ARG002, FBT001 - doit's
        """Remove the file, unless cleaning its model did, or reported it, already."""
        clean_file(*self.place, dryrun=dryrun)


class Group(HelpfulTask, OurTask):
    """A group of ours: cleaning it says what is removed, and not which function does that."""

    def explained(self, tasks: Mapping[str, Task]) -> Iterator[str]:
        """See OurTask; with the rules of its parts."""
        yield from super().explained(tasks)
        parts = [each for name in self.setup_tasks if (each := tasks.get(name))]
        stale = [each for each in parts if isinstance(each, OurTask) and each.reasons]
        for each in stale[:SHOWN_PARTS]:
            yield f"  {each.name}: {'; '.join(each.reasons)}"
        if len(stale) > SHOWN_PARTS:
            yield f"  and {len(stale) - SHOWN_PARTS:,} more"
        if parts and not stale:
            yield "all its files are up to date"

    def clean(self, outstream: TextIO, dryrun: bool) -> None:  # noqa: FBT001 - doit's
        """Run the clean actions as doit does, without its line about each of them."""
        self.init_options()
        for action in self.clean_actions:
            action.kwargs["dryrun"] = dryrun
            if failure := action.execute(out=outstream):
                tell(str(failure))


LOCK_TASK = "_lock"
ASK_TASK = "_ask"
UNPACK_TASK = "_unpack"

Targets = Sequence[tuple[Artifact, Decision]]
"""Artifacts, each with what one stat decides about it."""


def task_fetch() -> Iterator[Task]:
    """Make every task of `fetch`."""
    with _without_collector(), usage_errors():
        _open_output()
        streams.guard(as_json=wants_json())
        for line in unknown_variables():
            tell(line)
        current().stop_on_signals()
        project = current().project
        if is_started_from_a_bundle(project):
            return
        needs_lock = [LOCK_TASK] if project.is_outline_stale else []
        if needs_lock:
            yield _private_task(LOCK_TASK, lock_known_models)
        groups: dict[str, Task] = {}
        default: list[Task] = []
        for model in project.models():
            tasks = _asking_tasks(model) if model.must_ask else _model_tasks(model, needs_lock)
            *parts, groups[model.name] = tasks
            yield from parts
            if not model.declared.is_optional:
                default.append(groups[model.name])
        _align(groups.values())
        yield from groups.values()
        yield _default_task(default, needs_lock)


@contextlib.contextmanager
def _without_collector() -> Iterator[None]:
    """Keep the cyclic collector from looking at what was imported and is made: all of it stays."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()


def is_started_from_a_bundle(project: Project) -> bool:
    """Whether there is no models.yaml yet, and `adopt` was asked for, which may bring one."""
    return "adopt" in sys.argv[1:] and not project.manifest_path.exists()


def _align(groups: Iterable[Task]) -> None:
    """Make `doit list` show the models in columns; doit takes the space off a doc it is given."""
    groups = list(groups)
    for group, doc in zip(groups, aligned([each.doc for each in groups]), strict=True):
        group.doc = doc


def _open_output() -> None:
    """Give doit's commands an output if standard output was closed before Python began.

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
    ask, group = f"{ASK_TASK}:{model.name}", task_name(model.name)
    yield _private_task(ask, lock_asked_model, model.name)
    yield OurTask(
        group,
        None,
        loader=DelayedLoader(
            functools.partial(_asked_tasks, model.name),
            executed=ask,
            target_regex=re.escape(f"{shown_path(model.folder)}/"),
        ),
        uptodate=[Stale(WHY_UNKNOWN)],
        doc=model_doc(model, []),
        **UNTOUCHED_STREAMS,
    )


def asked_file_task(name: str, path: str) -> Task:
    """Make the task of one file that the user named, of a model whose files nobody knows yet."""
    return OurTask(
        task_name(name, path),
        [(fetch_asked, [name, path])],
        setup=[f"{ASK_TASK}:{name}"],
        uptodate=[Stale(WHY_UNKNOWN)],
        doc=WHY_UNKNOWN,
        **UNTOUCHED_STREAMS,
    )


def _asked_tasks(name: str) -> Iterator[Task]:
    """Make the tasks of a model that was locked a moment ago, or says why it was not."""
    project = current().project
    if project.model(name).must_ask and name not in current().not_locked:
        project.reread_lock()  # a worker process asked
    yield from _model_tasks(project.model(name), [])


def _private_task(
    name: str, action: Callable[..., object], *arguments: str, setup: Sequence[str] = ()
) -> Task:
    return OurTask(name, [(action, list(arguments))], setup=list(setup), **UNTOUCHED_STREAMS)


def _model_tasks(model: Model, needs_lock: list[str]) -> list[Task]:
    """Make a task for each target of the model, and their group as the last one."""
    targets = target_decisions(model, current().project.settings.store)
    stale = [(artifact, found) for artifact, found in targets if found is not PRESENT]
    files = _file_tasks(model, targets, stale, needs_lock)
    group = _model_task(model, stale, files, needs_lock)
    return [*_unpack_tasks(model, stale, needs_lock), *files, group]


def _file_tasks(
    model: Model, targets: Targets, stale: Targets, needs_lock: list[str]
) -> list[Task]:
    group = task_name(model.name)
    folder = shown_path(model.folder)
    others = [f"{group}/{each.path}" for each, _ in stale if each.content is None]
    looked, tasks = current().looked, []
    for artifact, found in targets:
        why, setup = None, needs_lock.copy()
        if found is not PRESENT:
            why = found.why
            looked[model.name, artifact.path] = found
            setup += _unpack_task_of(model, artifact)
        if artifact.content is not None:
            setup = needs_lock + others
        tasks.append(FileTask(group, artifact, f"{folder}/{artifact.path}", why, setup))
    return tasks


def _unpack_tasks(model: Model, stale: Targets, needs_lock: list[str]) -> Iterator[Task]:
    """Make a task for each archive that files are missing of; they take it for their setup.

    So they do not wait for it in doit's threads, where another model's files could be fetched.
    """
    names = {name for each, _ in stale for name in _unpack_task_of(model, each)}
    for name in sorted(names):
        path = name.partition("/")[2]
        yield _private_task(name, unpack_archive, model.name, path, setup=needs_lock)


def _unpack_task_of(model: Model, artifact: Artifact) -> list[str]:
    return [f"{UNPACK_TASK}:{model.name}/{artifact.archive}"] * bool(artifact.archive)


def _model_task(model: Model, stale: Targets, files: list[Task], needs_lock: list[str]) -> Task:
    is_unknown = model.locked is None
    reasons = [WHY_UNKNOWN] * is_unknown
    reasons += [f"{len(stale):,} of {len(files):,} files are stale"] * bool(stale)
    return Group(
        task_name(model.name),
        [(refuse, [model.name])] if is_unknown else None,
        setup=[*needs_lock, *[task.name for task in files]],
        uptodate=_uptodate(reasons),
        clean=[(clean_model, [model.name])],
        doc=model_doc(model, [found for _, found in stale]),
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
        clean=[(clean_model, [task_file(group.name)[0]]) for group in groups],
        doc="download every model that is not optional",
        has_subtask=True,
        **UNTOUCHED_STREAMS,
    )


def _uptodate(reasons: list[str]) -> list[Any]:
    return [Stale(reason) for reason in reasons] or [True]
