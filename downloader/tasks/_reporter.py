"""Report what doit does to `progress.display`, which shows it.

Lines about files and errors go to standard error, the summary to standard output. All failures are
listed at the end, where nothing scrolls them out of sight. A run of doit is about the files of the
selected tasks, and of the tasks that these need.
"""

import contextlib
import functools
import multiprocessing
import re
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NoReturn, Protocol, TextIO

from doit.exceptions import BaseFail, TaskError, UnmetDependency
from doit.reporter import ExecutedOnlyReporter
from doit.task import Task
from msgspec.structs import replace

from downloader.artifact import task_file
from downloader.errors import LockError, ModelmakeError, shown
from downloader.progress.display import report_error, show
from downloader.progress.events import Done, Failed, Summary, failed_of, shown_path
from downloader.progress.streams import put, tell
from downloader.settings import wants_json
from downloader.tasks._runtime import current

OURS = (
    "adopt",
    "bundle",
    "ci-key",
    "fetch",
    "lock",
    "outdated",
    "plan",
    "prune",
    "publish",
    "serve",
    "verify",
    "_lock",
    "_ask",
    "_unpack",
)

_OURS = frozenset(OURS)


class SelectedTask(Protocol):
    """The fields of a doit task that we use."""

    name: str
    task_dep: Iterable[str]
    setup_tasks: Iterable[str]
    uptodate: Sequence[Any]


def is_ours(name: str) -> bool:
    """Whether the task of this name is one of this package, not of the user's own dodo.py."""
    return name.partition(":")[0] in _OURS


def stale_files(
    tasks: Mapping[str, SelectedTask], selected: Iterable[str]
) -> Iterator[tuple[str, str]]:
    """Yield model and path of each file that the run is about and that is not up to date.

    Setup tasks of the user's own tasks are left out: they run only if the task itself has to.

    Args:
        tasks: Every task, by name.
        selected: The names that the run begins with.
    """
    seen, waiting = set[str](), list(selected)
    while waiting:
        name = waiting.pop()
        if name in seen or name not in tasks:
            continue
        seen.add(name)
        task = tasks[name]
        waiting += task.task_dep
        if is_ours(name):
            waiting += task.setup_tasks
            model, path = task_file(name)
            if path and task.uptodate[0][0] is not True:
                yield model, path


FAILED_STATUS = 1
USAGE_STATUS = 2
NO_TASK_STATUS = 3
VERBOSE = 2
INTERNAL = "internal-error"
PROCESSES = r"(?:^| )(?:-P ?|--parallel-type[ =])process\b"
"""Options that ask doit for processes."""
FRAMES = ("Traceback (", "  File ")


class Reporter(ExecutedOnlyReporter):  # type: ignore[misc]
    """doit's reporter for executed tasks, which reports files as files."""

    desc = "a live display, lines or JSON for each file, and one line in sum"

    def __init__(self, outstream: TextIO, options: dict[str, Any]) -> None:
        super().__init__(outstream, options)
        self._changed = set[str]()
        self._first_uses: list[tuple[str, str]] = []
        self._run = current().run
        self._is_fetching = self._is_default = False

    def write(self, text: str) -> None:
        """Write to where doit's -o leads, standard output as a rule."""
        put(self.outstream, text)

    def initialize(self, tasks: dict[str, Task], selected_tasks: list[str]) -> None:
        """Called before the first task."""
        super().initialize(tasks, selected_tasks)
        _check_semaphores()
        runtime = current()
        runtime.stale = functools.partial(stale_files, tasks, selected_tasks)
        runtime.display = show(self._run, runtime.project.settings.progress)
        self._is_fetching = any(name.partition(":")[0] == "fetch" for name in selected_tasks)
        self._is_default = "fetch" in selected_tasks

    def execute_task(self, task: Task) -> None:
        """Called when a task begins."""
        if not is_ours(task.name):
            super().execute_task(task)
        elif task.verbosity == VERBOSE and task.targets:  # as `doit -v 2` has it
            tell(f"{task.targets[0]}: {'; '.join(task.reasons) or 'asked for'}")

    def add_success(self, task: Task) -> None:
        """Called when a task is done."""
        if "verb" in task.values:
            self._is_fetching = True
            done = Done(**task.values)
            self._changed.add(done.model)
            self._first_uses += [(done.model, done.path)] * done.is_first_use
            self._run.done(done)

    def add_failure(self, task: Task, fail: BaseFail) -> None:
        """Called when a task failed."""
        if not is_ours(task.name):
            super().add_failure(task, fail)
            return
        if not fail.report:
            self._run.not_begun += task.name.partition(":")[0] == "fetch"
            return
        model, path = _file_of(task.name)
        name = task.name.removeprefix("_")
        target = shown_path(current().project.folder(model) / path) if path else ""
        failed = replace(_failed(fail), task=name, model=model, path=path, target=target)
        self._run.failed(failed)

    def complete_run(self) -> None:
        """Called after the last task."""
        runtime = current()
        if runtime.display:
            runtime.display.end()
        super().complete_run()
        has_saved = runtime.has_saved(self._first_uses)
        if runtime.display:
            if self._is_default and (why := runtime.why_none()):
                self._run.notice(why)
            self._tell_leftovers()
            runtime.display.conclude(
                self._summary(has_saved=has_saved), lambda line: self.write(f"{line}\n")
            )
        if not (has_saved or runtime.is_interrupted):  # that has a status of its own
            raise SystemExit(1)  # what the tasks did is known only now, and doit would say 0

    def _summary(self, *, has_saved: bool) -> Summary | None:
        if not self._is_fetching:
            return None
        summary = self._run.summary(is_interrupted=current().is_interrupted)
        is_worse = not has_saved and summary.state == "ok"
        return replace(summary, state="failed") if is_worse else summary

    def _tell_leftovers(self) -> None:
        """Tell of files of older versions in the models that this run changed; they are kept."""
        if not self._changed or current().is_interrupted:
            return
        from downloader.targets.state import outlived_line  # noqa: PLC0415 - a run with nothing to do has none

        every = current().project.models()
        changed = {model.folder: model for model in every if model.name in self._changed}
        for model in changed.values():
            if line := outlived_line(model, every):
                self._run.notice(line)


def _check_semaphores() -> None:
    """End with one message if doit would show a traceback: its processes need semaphores."""
    typed = " ".join(sys.argv[1:])
    if not (typed and re.search(PROCESSES, typed)):
        return
    try:
        multiprocessing.Lock()
    except (OSError, ImportError) as error:
        what = f"`-P process` needs semaphores, and there are none here: {error}"
        hint = "Leave `-P process` out, so that doit uses threads; or mount /dev/shm."
        end_with(Failed(task="", error=what, hint=hint, code="setting-error"), USAGE_STATUS)


def _file_of(task: str) -> tuple[str, str]:
    """Return model and path that a task's name says, empty if it is not about one."""
    model, _, path = task.partition(":")[2].partition("/")
    return model, path


def _failed(fail: BaseFail) -> Failed:
    if isinstance(known := getattr(fail, "failed", None), Failed):  # see `failing`
        return known
    if isinstance(fail, UnmetDependency):
        return Failed(task="", error=f"{fail.message} failed before it", code="unmet-dependency")
    if isinstance(fail, TaskError):
        return _internal(fail.traceback or [fail.message])
    return Failed(task="", error=str(fail.get_msg()).rstrip(), code="task-failed")


def _internal(trace: Sequence[str]) -> Failed:
    """Return the event for an error that nobody foresaw, its traceback only when debugging.

    Args:
        trace: As of `traceback.format_exception`; the last text is the error's own.
    """
    is_debug = current().project.settings.is_debug
    # Line ends are Python's own in a frame, and may be anybody's in the text of an error.
    lines = [each.rstrip() if each.startswith(FRAMES) else shown(each.strip()) for each in trace]
    return Failed(
        task="",
        error=f"an error in modelmake itself: {shown(trace[-1].strip())}",
        hint="" if is_debug else "Set MODELMAKE_DEBUG=1 to see where.",
        code=INTERNAL,
        trace="\n".join(lines) if is_debug else "",
    )


@contextlib.contextmanager
def usage_errors() -> Iterator[None]:
    """End with one message if models.yaml, models.lock or a variable cannot be used."""
    try:
        yield
    except ModelmakeError as error:
        is_usage = not isinstance(error, LockError)  # a lock that cannot be obeyed is a failure
        end_with(failed_of(error), USAGE_STATUS if is_usage else FAILED_STATUS)
    except Exception as error:  # noqa: BLE001 - nobody foresaw it, and it is reported as such
        end_with(_internal(traceback.format_exception(error)), USAGE_STATUS)


def end_with(failed: Failed, status: int) -> NoReturn:
    """Report an error that ends the run before its tasks, and exit."""
    report_error(failed, as_json=wants_json())
    raise SystemExit(status) from None
