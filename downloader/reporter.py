"""What doit says of a run: a line a file that was made, one line in sum, errors without traceback.

Lines about files and errors go to standard error, the sum to standard output. doit calls a
reporter from several threads, so each line is one write.
"""

import contextlib
import functools
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from typing import Any, TextIO

from doit.exceptions import BaseFail, TaskError, UnmetDependency
from doit.reporter import ExecutedOnlyReporter
from doit.task import Task

from downloader.errors import ModelmakeError
from downloader.progress import bytes_text
from downloader.runtime import current
from downloader.selection import files_of, is_ours
from downloader.streams import put, tell

HEARTBEAT_SECONDS = 30.0
USAGE_STATUS = 2
NO_TASK_STATUS = 3
VERBOSE = 2


class Reporter(ExecutedOnlyReporter):  # type: ignore[misc]
    """doit's reporter for executed tasks, with files told as files."""

    desc = "one line for each file that was made, and one in sum"

    def __init__(self, outstream: TextIO, options: dict[str, Any]) -> None:
        super().__init__(outstream, options)
        self._began = time.monotonic()
        self._made: list[dict[str, Any]] = []
        self._changed = set[str]()
        self._failed = self._not_begun = 0
        self._is_fetching = False

    def write(self, text: str) -> None:
        """Write to where doit's -o leads, standard output as a rule."""
        put(self.outstream, text)

    def initialize(self, tasks: dict[str, Task], selected_tasks: list[str]) -> None:
        """Called before the first task."""
        super().initialize(tasks, selected_tasks)
        if not selected_tasks:  # by a wildcard; doit itself refuses a name that is not there
            tell("No task matches; `doit list --all` shows them.")
            raise SystemExit(NO_TASK_STATUS)  # as for a name: a slip must not look like success
        current().selected = functools.partial(files_of, tasks, selected_tasks)
        self._is_fetching = any(name.partition(":")[0] == "fetch" for name in selected_tasks)

    def execute_task(self, task: Task) -> None:
        """Called when a task begins."""
        if not is_ours(task.name):
            super().execute_task(task)
        elif task.verbosity == VERBOSE and task.targets:  # as `doit -v 2` has it
            tell(f"{task.targets[0]}: {'; '.join(task.reasons) or 'asked for'}")

    def add_success(self, task: Task) -> None:
        """Called when a task is done."""
        if "verb" in task.values:
            self._made.append(task.values)
            self._changed.add(task.name.partition(":")[2].partition("/")[0])
            target = task.targets[0] if task.targets else task.name.partition(":")[2]
            tell(f"{_file_line(target, task.values)}")

    def add_failure(self, task: Task, fail: BaseFail) -> None:
        """Called when a task failed."""
        if not is_ours(task.name):
            super().add_failure(task, fail)
            return
        if not fail.report:
            self._not_begun += not task.name.startswith("_")  # its files tell it themselves
            return
        self._failed += 1
        tell(f"failed {task.name.removeprefix('_')}: {_failure_text(fail)}")

    def complete_run(self) -> None:
        """Called after the last task."""
        super().complete_run()
        if (self._is_fetching or self._made) and not current().is_interrupted:
            self.write(f"{self._sum()}\n")
            _tell_leftovers(self._changed)
        if not current().has_saved():
            raise SystemExit(1)  # what the tasks did is known only now, and doit would say 0

    def _sum(self) -> str:
        if not (self._made or self._failed or self._not_begun):
            return "Nothing to do."
        moved = sum(made["moved_bytes"] for made in self._made)
        verbs = Counter(made["verb"] for made in self._made)
        seconds = time.monotonic() - self._began
        parts = [
            f"{verbs['fetched']} fetched ({bytes_text(moved)})",
            *[f"{verbs['unpacked']} unpacked"] * bool(verbs["unpacked"]),
            f"{verbs['verified']} verified in place",
            f"{self._failed} failed",
        ]
        parts += [f"{self._not_begun} not begun"] * bool(self._not_begun)
        return f"{', '.join(parts)}, in {seconds:.1f} s."


def _tell_leftovers(names: set[str]) -> None:
    """Tell of files of older versions in the models that this run changed; they are kept."""
    from downloader.leftovers import outlived_line  # noqa: PLC0415 - a run with nothing to do has none

    every = current().project.models() if names else []
    changed = {model.folder: model for model in every if model.name in names}
    for model in changed.values():
        if line := outlived_line(model, every):
            tell(line)


def _file_line(target: str, made: dict[str, Any]) -> str:
    size, seconds = made["size"], made["seconds"]
    per_second = int(made["moved_bytes"] / max(seconds, 0.001))
    rate = f", {bytes_text(per_second)}/s" if per_second else ""
    first = ", SHA-256 pinned on first use" if made["is_first_use"] else ""
    note = f", {made['note']}" if made["note"] else ""
    return f"{made['verb']} {target} ({bytes_text(size)}{rate}{first}{note})"


def _failure_text(fail: BaseFail) -> str:
    if isinstance(fail, UnmetDependency):
        return f"{fail.message} failed before it"
    if isinstance(fail, TaskError) and not current().project.settings.is_debug:
        last = fail.traceback[-1].strip() if fail.traceback else fail.message
        return internal_error(last)
    return str(fail.get_msg()).rstrip()


def internal_error(what: str) -> str:
    """Return what is said of an error that nobody foresaw, in place of its traceback."""
    return f"an error in modelmake itself: {what}\n  Set MODELMAKE_DEBUG=1 to see where."


@contextlib.contextmanager
def usage_errors() -> Iterator[None]:
    """End with one message where models.yaml, models.lock or a variable cannot be used."""
    try:
        yield
    except ModelmakeError as error:
        tell(f"ERROR: {error.report()}")
        raise SystemExit(USAGE_STATUS) from None
    except Exception as error:
        if current().project.settings.is_debug:
            raise
        last = traceback.format_exception_only(error)[-1].strip()
        tell(f"ERROR: {internal_error(last)}")
        raise SystemExit(USAGE_STATUS) from None


class Heartbeat:
    """An observer that writes a line about a long transfer now and then, and about each retry."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._have = self._unpacked = 0
        self._total: int | None = None
        self._said = time.monotonic()

    def started(self, have_bytes: int, total_bytes: int | None) -> None:
        """See Observer."""
        self._have, self._total = have_bytes, total_bytes
        if have_bytes:
            self._say(f"goes on at {bytes_text(have_bytes)}")

    def moved(self, count_bytes: int) -> None:
        """See Observer."""
        self._have += count_bytes
        if time.monotonic() - self._said >= HEARTBEAT_SECONDS:
            of = f" of {bytes_text(self._total)}" if self._total else ""
            self._say(f"{bytes_text(self._have)}{of}")

    def unpacked(self, count_bytes: int) -> None:
        """See Observer."""
        self._unpacked += count_bytes
        if time.monotonic() - self._said >= HEARTBEAT_SECONDS:
            self._say(f"{bytes_text(self._unpacked)} unpacked")

    def waiting(self, reason: str, delay_seconds: float) -> None:
        """See Observer."""
        self._say(f"tries again in {delay_seconds:.1f} s: {reason}")

    def notice(self, text: str) -> None:
        """See Observer."""
        self._say(text)

    def _say(self, text: str) -> None:
        self._said = time.monotonic()
        tell(f"{self._name}: {text}")
