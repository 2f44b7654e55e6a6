"""What doit gets from us: its database, `doit info`, and the tasks of our commands.

The truth about our targets lies beside them (receipts), so nothing of our tasks is written into
doit's database: a hint that may be torn, old or gone. A project with no tasks of its own has no
database file. `doit forget` drops the receipts: the next run then hashes the targets, and moves
nothing if they are right.

`doit info` says in words which rule makes a file stale, or since when it is up to date. doit's own
prints attributes of Python objects, and a traceback if it knows no task of the name. Ours stands in
its place (entry point `doit.COMMAND`) wherever modelmake is installed, so for other tasks it is
doit's own, but for that traceback.

A command's task (`CommandTask`) takes its options also after the names of models, where other tasks
of doit take none: no model's name begins with a hyphen, so that is no guess.
"""

import getopt
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

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

if wants_json():  # doit loads its databases, and so this, before it refuses an option of its own
    streams.guard(as_json=True)


class CommandTask(Task):  # type: ignore[misc]
    """The task of a command of ours, with options before or after its names."""

    def init_options(self, args: Sequence[str] | None = None) -> Any:  # noqa: ANN401 - doit's
        """Return what is left of the words after the command's name, once its options are taken.

        Raises:
            CmdParseError: One of the options is none of this command.
        """
        if not args:
            return super().init_options(args)
        parse = getopt.gnu_getopt if self.pos_arg else getopt.getopt
        try:
            found, rest = parse(args, "", TaskParse(map(CmdOption, self.params)).get_long())
        except getopt.GetoptError as error:
            known = ", ".join(f"--{option['long']}" for option in self.params)
            hint = f"Its options: {known}; see `doit help {self.name}`."
            raise CmdParseError(f"doit {self.name}: {error}. {hint}") from None
        flags = {f"--{option['long']}" for option in self.params if option["type"] is bool}
        words = [name if name in flags else f"{name}={value}" for name, value in found]
        return super().init_options([*words, *rest])


class Info(DoitInfo):  # type: ignore[misc]
    """doit's info, with words of ours for tasks of ours."""

    doc_purpose = "show why a task would run, or why not"

    def _execute(self, pos_args: list[str], hide_status: bool = False) -> Any:  # noqa: ANN401, FBT001, FBT002 - doit's
        if len(pos_args) != 1:
            return super()._execute(pos_args, hide_status)
        tasks = {each.name: each for each in self.task_list}
        task = tasks.get(pos_args[0]) or self._made_by(pos_args[0])
        if isinstance(task, CommandTask):
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
            is_default = not model.declared.is_optional and "fetch" in self._forgotten
            paths = [
                artifact.path
                for artifact in model.artifacts
                if is_default or {group, f"{group}/{artifact.path}"} & self._forgotten
            ]
            if paths:
                forget_receipts(model.folder, paths)
