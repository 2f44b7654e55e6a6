"""Our doit plug-ins: its database, `doit info`, and the tasks of our commands.

The truth about our targets lies beside them (receipts), so nothing of our tasks is written into
doit's database: a hint that may be torn, old or gone. A project with no tasks of its own has no
database file. `doit forget` drops the receipts: the next run then hashes the targets, and moves
nothing if they are right.

`doit info` says which rule makes a file stale, or since when it is up to date, where doit's own
prints attributes of Python objects. `doit list` shows the models first, and `doit help` begins with
our commands. These three replace doit's own (entry point `doit.COMMAND`) wherever modelmake is
installed, so they do what doit's own do for tasks and projects that are not ours.

doit's own commands answer `--help`, and a wrong option is told in one line (`parse_execute`): also
before dodo.py is read, but only in a folder with models.

A command's task (`CommandTask`) takes its options also after the names of models, where other tasks
of doit take none: no model's name begins with a hyphen.
"""

import contextlib
import dbm
import getopt
import os
import re
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from traceback import walk_tb
from typing import Any

from doit.cmd_base import Command
from doit.cmd_help import Help as DoitHelp
from doit.cmd_info import Info as DoitInfo
from doit.cmd_list import List as DoitList
from doit.cmdparse import CmdOption, CmdParseError, TaskParse
from doit.dependency import DatabaseException, JsonDB
from doit.exceptions import InvalidDodoFile
from doit.task import Task

from downloader.artifact import task_file, task_name
from downloader.errors import ModelmakeError, StoreError
from downloader.fs.files import write_file
from downloader.fs.rooted_path import RootedPath, read_own
from downloader.progress import streams
from downloader.progress.streams import say, tell
from downloader.settings import wants_json
from downloader.targets.state import forget_receipts
from downloader.tasks._reporter import OURS, is_ours
from downloader.tasks._runtime import current

if wants_json():  # doit loads its databases, and so this, before it refuses an option of its own
    streams.guard(as_json=True)


class HelpfulTask(Task):  # type: ignore[misc]
    """A task of ours, which answers `--help` after its name."""

    def init_options(self, args: Sequence[str] | None = None) -> Any:  # noqa: ANN401 - doit's
        """Return the words that are not options of the task, or print its help and exit."""
        if args and {"-h", "--help"} & set(args):
            say(help_text(self))
            raise SystemExit(0)
        return super().init_options(args)


class CommandTask(HelpfulTask):
    """The task of a command of ours, with options before or after its names."""

    def init_options(self, args: Sequence[str] | None = None) -> Any:  # noqa: ANN401 - doit's
        """Return what is left of the words after the command's name, once its options are taken.

        Raises:
            CmdParseError: One of the options is none of this command.
        """
        if not args or {"-h", "--help"} & set(args):
            return super().init_options(args)
        parse = getopt.gnu_getopt if self.pos_arg else getopt.getopt
        try:
            found, rest = parse(args, "", TaskParse(map(CmdOption, self.params)).get_long())
        except getopt.GetoptError as error:
            known = ", ".join(f"--{option['long']}" for option in self.params)
            program = streams.program()
            hint = f"Its options: {known}; see `{program} help {self.name}`."
            raise CmdParseError(f"{program} {self.name}: {error}. {hint}") from None
        flags = {f"--{option['long']}" for option in self.params if option["type"] is bool}
        words = [name if name in flags else f"{name}={value}" for name, value in found]
        names = super().init_options([*words, *rest])
        if self.pos_arg and current().project.manifest_path.exists():  # a bundle may bring one
            from downloader.tasks._words import check_names  # noqa: PLC0415 - it imports this module

            check_names(names)
        return names

    def execute(self, stream: Any) -> Any:  # noqa: ANN401 - doit's
        """Run it; for all models if nobody typed it, but a task depends on it."""
        if self.pos_arg and self.pos_arg_val is None:
            self.pos_arg_val: list[str] | None = []
        return super().execute(stream)


_parse_execute = Command.parse_execute


def parse_execute(command: Command, words: list[str]) -> Any:  # noqa: ANN401 - doit's
    """Run a command of doit; where there are models, answer `--help` and slips in plain words."""
    asked = {"-h", "--help"} & set(words[:1] if command.execute_tasks else words)
    if asked and _is_ours_here():
        say(command.help())
        return 0
    try:
        return _parse_execute(command, words)
    except BrokenPipeError as error:  # as of `doit help | head -1`
        if not _is_ours_here() or not _is_of(error, "doit", "downloader"):
            raise
        streams.guard()  # for the flush at the end
        return 0
    except (CmdParseError, InvalidDodoFile, ModuleNotFoundError, *UNUSABLE) as error:
        if not _is_ours_here() or not (text := _reworded(command, error)):
            raise
        raise CmdParseError(text) from None


UNUSABLE = dbm.error
"""What doit lets through of a file that an option names; OSError is one of them."""

Command.parse_execute = parse_execute  # for commands that doit does not let us replace


def _is_ours_here() -> bool:
    from downloader.tasks.program import is_ours_here  # noqa: PLC0415 - it imports all tasks

    return is_ours_here()


PARSING = r"Error parsing (?P<of>Command|Task): (?P<what>.*?) \(parsing options: "
VALUE = r"(?s)Error parsing parameter '(?P<name>\w+)' <class 'int'>.*: (?P<value>.*)"
NO_DODO = r"Could not find dodo file '(.*/)?dodo\.py'"
OTHER_OPTIONS = {"-j": "-n", "--jobs": "-n"}
"""Options of make, and the option of doit that does the same."""
NEAR = 0.75


def _reworded(command: Command, error: Exception) -> str:
    """Return what doit says of a slip in plain words; empty if it is another error."""
    program, text = streams.program(), str(error)
    if re.match(NO_DODO, text):
        return f"There is no dodo.py in {Path.cwd()}. `modelmake` works in any folder of a project."
    typed = program if command.name == "run" else f"{program} {command.name}"
    see = f"See `{program} help {command.name}`."
    if isinstance(error, (ModuleNotFoundError, *UNUSABLE)):
        if isinstance(error, OSError) and error.filename is not None:
            text = f"{error.filename}: {error.strerror}"
        return f"{typed}: {text}. {see}" if _is_of(error, "doit") else ""
    found = re.match(VALUE, text)
    options = [each for each in command.cmdparser.options if found and each.name == found["name"]]
    if found and options:  # else it is of a task of the user
        value, option = found["value"].strip(), options[0]
        return f"{typed}: option -{option.short} is {value}; it must be a whole number. {see}"
    found = re.match(PARSING, text)
    if found is None:
        return ""
    if found["of"] == "Task":
        return f"{program}: {found['what']}. See `{program} help`."
    word = found["what"].split()[1]
    return " ".join(filter(None, (f"{typed}: {found['what']}.", _meant(command, word), see)))


def _is_of(error: Exception, *packages: str) -> bool:
    """Whether only these packages were running: no other code, as of the user."""
    modules = [frame.f_globals["__name__"] for frame, _ in walk_tb(error.__traceback__)]
    known = {*packages, *sys.stdlib_module_names}
    return all(name.partition(".")[0] in known for name in modules[1:])  # the first one is our hook


def _meant(command: Command, word: str) -> str:
    """Return the question after the option or command that a wrong option may mean."""
    from difflib import get_close_matches  # noqa: PLC0415 - on the way to an error

    from downloader.tasks._words import did_you_mean  # noqa: PLC0415 - it imports this module

    options = [name for each in command.cmdparser.options for name in (each.long, each.inverse)]
    near = get_close_matches(word, [f"--{name}" for name in options if name], 1, NEAR)
    if found := OTHER_OPTIONS.get(word) or "".join(near):
        return f"Did you mean {found}?"
    if command.name != "run":
        return ""
    return did_you_mean(word.lstrip("-"), [*command.loader.cmd_names, *OURS])


class Info(DoitInfo):  # type: ignore[misc]
    """doit's info, with words of ours for tasks of ours."""

    doc_purpose = "show why a task would run, or why not"

    def _execute(self, pos_args: list[str], hide_status: bool = False) -> Any:  # noqa: ANN401, FBT001, FBT002 - doit's
        tasks = {each.name: each for each in self.task_list}
        if not pos_args or not all(each in tasks for each in pos_args):
            return super()._execute(pos_args, hide_status)
        return max(self._of(tasks[each], tasks, hide_status=hide_status) for each in pos_args)

    def _of(self, task: Any, tasks: dict[str, Task], *, hide_status: bool) -> int:  # noqa: ANN401 - doit has no types
        if isinstance(task, CommandTask):
            return self._tell(task.name, task.doc, *_command_lines(task))
        if not hasattr(task, "explained"):
            return super()._execute([task.name], hide_status) or 0
        return self._explain(task, tasks)

    def _explain(self, task: Any, tasks: dict[str, Task]) -> int:  # noqa: ANN401 - doit has no types
        is_ignored = self.dep_manager.status_is_ignore(task)
        status = "ignored" if is_ignored else "run" if task.reasons else "up to date"
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


class List(DoitList):  # type: ignore[misc]
    """doit's list, with models first and commands in one line."""

    doc_purpose = "list models and tasks"

    def _execute(  # noqa: PLR0913, PLR0917 - doit's
        self,
        subtasks: bool = False,  # noqa: FBT001, FBT002 - doit's
        quiet: bool = True,  # noqa: FBT001, FBT002
        status: bool = False,  # noqa: FBT001, FBT002
        private: bool = False,  # noqa: FBT001, FBT002
        list_deps: bool = False,  # noqa: FBT001, FBT002
        template: str | None = None,
        sort: str = "name",
        pos_args: list[str] | None = None,
    ) -> Any:  # noqa: ANN401
        is_plain = not (quiet or status or private or list_deps or template or pos_args)
        if not is_plain or not any(isinstance(each, HelpfulTask) for each in self.task_list):
            try:
                return super()._execute(
                    subtasks, quiet, status, private, list_deps, template, sort, pos_args
                )
            except (AttributeError, LookupError, ValueError) as error:
                if template is None:
                    raise
                what = f"{streams.program()} list: the template cannot be filled: {error}."
                raise CmdParseError(f"{what} It has {{name}}, {{doc}} and {{status}}.") from None
        shown = [
            each
            for each in self.task_list
            if not each.name.startswith("_") and (subtasks or not each.subtask_of)
        ]
        models = [each for each in shown if task_file(each.name)[0]]
        own = [each for each in shown if not is_ours(each.name)]
        commands = sorted(each.name for each in shown if isinstance(each, CommandTask))
        rows = [*sorted(models), *sorted(own)]
        width = max((len(each.name) for each in rows), default=0)
        lines = [f"{each.name:<{width}}   {each.doc}".rstrip() for each in rows]
        if commands:
            told = f"commands: {' '.join(commands)}; `{streams.program()} help`"
            lines += textwrap.wrap(told, 80, subsequent_indent="  ", break_on_hyphens=False)
        self.outstream.write("\n".join(lines) + "\n")
        return 0


class Help(DoitHelp):  # type: ignore[misc]
    """doit's help, which knows our commands."""

    doc_purpose = "show help, first for fetch, lock, plan, verify, …"

    def print_usage(self, cmds: dict[str, Any]) -> None:
        """Print what there is, our commands first; without them if there are no models."""
        from downloader.tasks.program import overview  # noqa: PLC0415 - it imports all tasks

        if _is_ours_here():
            self.outstream.write(f"{overview()}\n\n")
        if streams.program() == "doit":
            super().print_usage(cmds)

    def _execute(self, pos_args: list[str]) -> bool:
        tasks = {each.name: each for each in self.task_list}
        if not all(isinstance(tasks.get(name), HelpfulTask) for name in pos_args):
            known = [super(Help, self)._execute([name]) for name in pos_args]
            return all(known)
        for name in pos_args:
            self.outstream.write(f"{help_text(tasks[name])}\n")
        return True


NAMES = """\
NAME is a model (gpt2-124M), a file of it (gpt2-124M/vocab.bpe), a path below
models/, or a wildcard ('gpt2-*')."""


def help_text(task: Task) -> str:
    """Return what there is to know of a task of ours: how it is called, and its options."""
    options = " [OPTION...]" * bool(task.params)
    names = " [NAME...]" * bool(task.pos_arg)
    lines = [f"{streams.program()} {task.name}{options}{names}", "", f"  {task.doc}"]
    rows = [(_option_text(each), each["help"]) for each in task.params]
    if rows:
        width = max(len(words) for words, _ in rows)
        lines += ["", *(f"  {words:<{width}}  {text}" for words, text in rows)]
    return "\n".join([*lines, "", NAMES] if names else lines)


def _option_text(option: dict[str, Any]) -> str:
    return f"--{option['long']}{'' if option['type'] is bool else '=VALUE'}"


def _command_lines(task: Task) -> Iterator[str]:
    """Yield what is to be known of a command of ours, which is not a file and never up to date."""
    yield from ("", "why        : a command: it runs whenever it is named")
    for each in task.params:
        yield f"option     : {_option_text(each)}: {each['help']}"


class ProjectDatabase(JsonDB):  # type: ignore[misc]
    """doit's JSON database, made whole after a tear, written in one step."""

    def __init__(self, name: str, codec: Any, *, module_name: str | None = None) -> None:  # noqa: ANN401
        self._forgotten: set[str] = set()
        self._db: dict[str, Any] = {}
        self._is_damaged = False
        super().__init__(name, codec, module_name=module_name)
        self._is_on_disk = bool(self._db) or self._is_damaged

    def _load(self) -> dict[str, Any]:
        """Return what the file holds, nothing when it is damaged or another backend's."""
        found = None
        with contextlib.suppress(StoreError, DatabaseException, OSError):
            if os.path.exists(self.name):  # noqa: PTH110 - a name of doit
                read_own(
                    Path(self.name)
                )  # doit would wait for a FIFO, and read a device to its end
            found = super()._load()
        if not isinstance(found, dict):
            self._is_damaged = True
            tell(f"{self.name} is damaged or of another kind: it is begun anew.")
            return {}
        return found

    def set(self, task_id: str, dependency: str, value: object) -> None:
        """Store a value; ours only if the user said `doit ignore`."""
        if not is_ours(task_id) or dependency == "ignore:":
            super().set(task_id, dependency, value)

    def remove(self, task_id: str) -> None:
        """Forget a task; one that failed in this run is only no success, and keeps its receipt."""
        super().remove(task_id)
        if task_id.partition(":")[0] == "fetch" and current().display is None:
            self._forgotten.add(task_id)  # others have no receipts, maybe no models.yaml

    def remove_all(self) -> None:
        """Forget every task."""
        super().remove_all()
        self._forgotten.update(task_name(each.name) for each in current().project.declared)

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
            is_default = not model.declared.is_optional and "fetch" in self._forgotten
            paths = [
                artifact.path
                for artifact in model.artifacts
                if is_default
                or {task_name(model.name), task_name(model.name, artifact.path)} & self._forgotten
            ]
            if paths:
                forget_receipts(model.folder, paths)
