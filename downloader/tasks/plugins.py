"""What doit loads from us: its database, `doit info`, and clear errors for mistyped options.

The truth about our targets lies beside them (receipts), so nothing of our tasks is written into
doit's database: a hint that may be torn, old or gone. A project with no tasks of its own has no
database file. `doit forget` drops the receipts: the next run then hashes the targets, and moves
nothing if they are right.

`doit info` says in words which rule makes a file stale, or since when it is up to date. doit's own
prints attributes of Python objects, and a traceback if it knows no task of the name. Ours stands in
its place (entry point `doit.COMMAND`) wherever modelmake is installed, so for other tasks it is
doit's own, but for that traceback.

doit's message for a mistyped option shows its parser's objects. It has no hook for that, so its two
places where options are read are wrapped (`install_option_errors`), for its commands and for every
task. The exit status stays doit's: 3. Our commands also take options after names, where doit's
tasks take none: no model's name begins with a hyphen, so that is no guess.
"""

import contextlib
import getopt
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from doit.cmd_base import Command
from doit.cmd_info import Info as DoitInfo
from doit.cmdparse import CmdOption, CmdParseError, TaskParse
from doit.dependency import DatabaseException, JsonDB
from doit.exceptions import InvalidCommand
from doit.task import Task

from downloader.errors import ModelmakeError
from downloader.fs.files import write_file
from downloader.fs.rooted_path import RootedPath
from downloader.progress import streams
from downloader.progress.streams import tell
from downloader.settings import wants_json
from downloader.targets.state import forget_receipts
from downloader.tasks._reporter import is_ours
from downloader.tasks._runtime import current

COMMAND = "modelmake command"
"""In the `meta` of our commands' tasks."""


class Info(DoitInfo):  # type: ignore[misc]
    """doit's info, with words of ours for tasks of ours."""

    doc_purpose = "show why a task would run, or why not"

    def _execute(self, pos_args: list[str], hide_status: bool = False) -> Any:  # noqa: ANN401, FBT001, FBT002 - doit's
        if len(pos_args) != 1:
            return super()._execute(pos_args, hide_status)
        tasks = {each.name: each for each in self.task_list}
        task = tasks.get(pos_args[0]) or self._made_by(pos_args[0])
        if (task.meta or {}).get(COMMAND):
            return self._tell(task.name, task.doc, *_command_lines(task))
        if not hasattr(task, "explained"):
            return super()._execute([task.name], hide_status)
        return self._explain(task, tasks)

    def _made_by(self, target: str) -> Task:
        """Return the task of a target, by its path.

        Raises:
            InvalidCommand: There is none.
        """
        for task in self.task_list:
            if target in task.targets:
                return task
        raise InvalidCommand(not_found=target)

    def _explain(self, task: Any, tasks: dict[str, Task]) -> int:  # noqa: ANN401 - doit has no types
        is_ignored = self.dep_manager.status_is_ignore(task)
        status = "ignored" if is_ignored else "run" if task.reasons else "up-to-date"
        lines = ["", f"status     : {status}"]
        if is_ignored:
            lines.append(f"`doit forget {task.name}` takes it up again.")
        why: list[str] = list(task.explained(tasks))
        lines += [f"why        : {each}" for each in why[:1]] + why[1:]
        lines += [f"target     : {target}" for target in task.targets]
        self._tell(task.name, " ".join(task.doc.split()), *lines)
        return int(status == "run")

    def _tell(self, *lines: str) -> int:
        self.outstream.write("\n".join(lines) + "\n")
        return 0


def _command_lines(task: Task) -> Iterator[str]:
    """Yield what is to be known of a command of ours, which is no file and never up to date."""
    yield from ("", "why        : a command: it runs whenever it is named")
    for each in task.params:
        value = "" if each["type"] is bool else "=VALUE"
        yield f"option     : --{each['long']}{value}: {each['help']}"


NEAR = 0.65
"""How much of a word has to be right for a guess what was meant (difflib)."""
LISTED = 5
"""So many options are named; of more, it is said where they are."""
KINDS = {int: "a number", bool: "yes or no"}


class _ToldError(CmdParseError):  # type: ignore[misc]
    """It is in words already: a task's options are read while doit's command runs."""


def install_option_errors() -> None:
    """Wrap the two places, once in a process."""
    if Command.parse_execute.__module__ != __name__:
        Command.parse_execute = _of_command(Command.parse_execute)
        Task.init_options = _of_task(Task.init_options)


def _of_command(parse: Callable[..., Any]) -> Callable[..., Any]:
    def parse_execute(self: Command, in_args: list[str]) -> Any:  # noqa: ANN401 - doit's
        name = "doit" if self.name == "run" else f"doit {self.name}"
        with _in_words(name, self.name, lambda: self.cmdparser.options):
            return parse(self, in_args)

    parse_execute.__module__ = __name__
    return parse_execute


def _of_task(init: Callable[..., Any]) -> Callable[..., Any]:
    def init_options(self: Task, args: Sequence[str] | None = None) -> Any:  # noqa: ANN401 - doit's
        def options() -> list[CmdOption]:
            return [CmdOption(each) for each in (*self.params, *self.creator_params)]

        with _in_words(f"doit {self.name}", self.name, options):
            is_ours = bool(args) and self.pos_arg and (self.meta or {}).get(COMMAND)
            return init(self, _options_first(args or (), options()) if is_ours else args)

    return init_options


def _options_first(args: Sequence[str], options: Sequence[CmdOption]) -> list[str]:
    """Return the words with the options before the names."""
    parser = TaskParse(options)
    found, names = getopt.gnu_getopt(args, parser.get_short(), parser.get_long())
    takes_none = {f"--{each.long}" for each in options if each.type is bool}
    words = [name if name in takes_none else f"{name}={value}" for name, value in found]
    return [*words, *names]


@contextlib.contextmanager
def _in_words(name: str, topic: str, options: Callable[[], Sequence[CmdOption]]) -> Iterator[None]:
    """Say in words what doit's parser could not read.

    Args:
        name: What was typed, without the option.
        topic: What `doit help` knows it by.
        options: Gives those that there are.

    Raises:
        CmdParseError: With the words.
    """
    try:
        yield
    except _ToldError:
        raise
    except (CmdParseError, getopt.GetoptError) as error:
        cause = error if isinstance(error, getopt.GetoptError) else error.__context__
        if isinstance(cause, getopt.GetoptError):
            text = _misspelt(name, cause, options())
        elif isinstance(cause, ValueError):
            text = _unreadable(name, str(error), options())
        else:
            raise
        streams.guard(as_json=wants_json())  # doit writes it, maybe before dodo.py was read
        raise _ToldError(f"{text}\n  {_more(topic, options())}") from None


def _more(topic: str, options: Sequence[CmdOption]) -> str:
    if not options:
        return "It takes none."
    more, names = f"`doit help {topic}`", ", ".join(f"--{each.long}" for each in options)
    few = len(options) <= LISTED
    return f"It takes {names}; {more} says more." if few else f"{more} shows what it takes."


def _misspelt(name: str, error: getopt.GetoptError, options: Sequence[CmdOption]) -> str:
    word = error.msg.split()[1]
    if "not recognized" not in error.msg:
        return f"`{name}`: {error.msg}."
    from difflib import get_close_matches  # noqa: PLC0415 - on the way to an error

    known = [f"--{each}" for option in options for each in (option.long, option.inverse) if each]
    near = get_close_matches(word, known, 1, NEAR)
    return f"`{name}` has no option {word}." + "".join(f" Did you mean {each}?" for each in near)


def _unreadable(name: str, told: str, options: Sequence[CmdOption]) -> str:
    option = next(each for each in options if f"'{each.name}'" in told)
    return f"`{name}`: {option.help_param()} takes {KINDS.get(option.type, 'something else')}."


install_option_errors()  # doit loads its databases before it reads the command line


class ProjectDatabase(JsonDB):  # type: ignore[misc]
    """doit's JSON database, made whole after a tear, written in one step."""

    desc = "JSON, without records of modelmake's own tasks"

    def __init__(self, name: str, codec: Any, *, module_name: str | None = None) -> None:  # noqa: ANN401
        self._forgotten: set[str] = set()
        self._db: dict[str, Any] = {}
        self._is_damaged = False
        super().__init__(name, codec, module_name=module_name)
        self._is_on_disk = bool(self._db) or self._is_damaged

    def _load(self) -> dict[str, Any]:
        """Return what the file holds, nothing when it is damaged or another backend's."""
        try:
            found = super()._load()
        except (DatabaseException, OSError):
            found = None
        if not isinstance(found, dict):
            self._is_damaged = True
            tell(f"{self.name} is damaged or of another kind: it is begun anew.")
            return {}
        return found

    def set(self, task_id: str, dependency: str, value: object) -> None:
        """Store a value; ours only where the user said `doit ignore`."""
        if not is_ours(task_id) or dependency == "ignore:":
            super().set(task_id, dependency, value)

    def remove(self, task_id: str) -> None:
        """Forget a task."""
        super().remove(task_id)
        if task_id.partition(":")[0] == "fetch":  # others have no receipts, maybe no models.yaml
            self._forgotten.add(task_id)

    def remove_all(self) -> None:
        """Forget every task."""
        super().remove_all()
        self._forgotten.update(f"fetch:{each.name}" for each in current().project.declared)

    def dump(self) -> None:
        """Write what is to be kept, and drop the receipts of what was forgotten."""
        try:
            self._drop_receipts()
            if self._db or self._is_on_disk:
                write_file(RootedPath.of(Path(self.name)), self.codec.encode(self._db).encode())
        except ModelmakeError as error:
            tell(error.report())

    def _drop_receipts(self) -> None:
        for model in current().project.models() if self._forgotten else ():
            group = f"fetch:{model.name}"
            is_default = not model.declared.entry.optional and "fetch" in self._forgotten
            paths = [
                artifact.path
                for artifact in model.artifacts
                if is_default or {group, f"{group}/{artifact.path}"} & self._forgotten
            ]
            if paths:
                forget_receipts(model.folder, paths)
