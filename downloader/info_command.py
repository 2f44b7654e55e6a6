"""`doit info`, in words: which rule makes a file stale, or since when it is up to date.

doit's own prints attributes of Python objects, and a traceback where it knows no task of the name.
This stands in its place (entry point `doit.COMMAND`) wherever modelmake is installed, so for tasks
that are not ours it is doit's own, but for that traceback.
"""

from collections.abc import Iterator
from typing import Any

from doit.cmd_info import Info as DoitInfo
from doit.exceptions import InvalidCommand
from doit.task import Task

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
