"""Resolve the words of a command line: tasks, models and files, however they are written.

Every command takes a model as `gpt2-124M` or `fetch:gpt2-124M`, a file as `gpt2-124M/vocab.bpe` or
`fetch:gpt2-124M/vocab.bpe`, wildcards of these, a model's folder, and the path of a file, relative
or absolute. `Vocabulary` finds the models and files of one project.

doit knows tasks by their exact names and targets by their exact paths. So the one hook we put into
it (`install`) sees the words once the tasks are made, and says them in names of tasks before any
command looks at them.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

import doit
import msgspec
from doit import doit_cmd
from doit.cmd_base import DoitCmdBase, NamespaceTaskLoader
from doit.cmdparse import CmdOption, CmdParseError, TaskParse
from doit.task import Task

from downloader.artifact import task_name
from downloader.errors import ModelmakeError
from downloader.progress import streams
from downloader.progress.events import Failed, shown_path
from downloader.project.project import Model, Project
from downloader.tasks._reporter import NO_TASK_STATUS, OURS, end_with, is_ours, usage_errors
from downloader.tasks._runtime import current

PREFIX = task_name("")
OTHER_WORDS = {
    "add": "modelmake add",
    "download": "fetch",
    "get": "fetch",
    "init": "modelmake init",
    "ls": "list",
    "pull": "fetch",
    "remove": "modelmake remove",
    "rm": "clean",
    "schema": "modelmake schema",
    "status": "list",
    "sync": "fetch",
    "version": "modelmake --version",
}
"""Commands of other tools, and the command that does the same here."""
CLOSE, VERY_CLOSE = 0.6, 0.9
SUGGESTIONS = 3


class Named(msgspec.Struct, frozen=True):
    """The model or file that a word names.

    Attributes:
        model: The model's name.
        path: The file's path below the model's folder; empty if the whole model is meant.
    """

    model: str
    path: str = ""

    @property
    def task(self) -> str:
        """The name of its task."""
        return task_name(self.model, self.path)


class UnknownNameError(ModelmakeError):
    """A word names no model and no file."""


class Vocabulary:
    """The models and files of a project, by each of their names.

    Args:
        project: Whose models.
    """

    def __init__(self, project: Project) -> None:
        self._project = project

    def find(self, word: str) -> list[Named]:
        """Return what a word names, in the order of models.yaml; empty if it names nothing."""
        text = word.removeprefix(PREFIX)
        if "*" in text:
            return list(self._matching(text))
        name, _, path = text.partition("/")
        if name in self._models and (found := self._inside(name, path)):
            return found
        return [] if text != word else self._at(word)

    def select(self, words: Iterable[str]) -> list[Named]:
        """Return what the words after a command of ours name, each once.

        Raises:
            ModelmakeError: One of them names nothing.
        """
        found: dict[Named, None] = {}
        for word in words:
            named = self.find(word)
            if not named:
                raise self._unknown(word)
            found |= dict.fromkeys(named)
        return list(found)

    def names(self) -> Iterator[str]:
        """Yield what may be typed, as suggestions for a word that is close to it."""
        for model in self._models.values():
            yield from (model.name, task_name(model.name))
            for artifact in model.artifacts:
                yield task_name(model.name, artifact.path)
                yield f"{shown_path(model.folder)}/{artifact.path}"

    @cached_property
    def _models(self) -> dict[str, Model]:
        return {model.name: model for model in self._project.models()}

    def _unknown(self, word: str) -> UnknownNameError:
        manifest = self._project.manifest_path.name
        hint = did_you_mean(word, self.names()) or f"It declares: {', '.join(self._models)}."
        if "*" in word:
            return UnknownNameError(f"No model of {manifest} matches {word!r}.", hint=hint)
        file = " and no file" * ("/" in word)
        return UnknownNameError(f"{manifest} declares no model{file} {word!r}.", hint=hint)

    def _matching(self, pattern: str) -> Iterator[Named]:
        """Yield the models that a wildcard matches, or else the files, by name or by path."""
        pattern = os.path.normpath(pattern)
        by_name = [name for name in self._models if fnmatchcase(name, pattern)]
        if by_name or "/" not in pattern:
            yield from map(Named, by_name)
            return
        for model in self._models.values():
            places = (shown_path(model.folder), os.path.abspath(model.folder))  # noqa: PTH100 - keeps symlinks
            if any(fnmatchcase(place, pattern) for place in places):
                yield Named(model.name)
                continue
            for artifact in model.artifacts:
                forms = (f"{each}/{artifact.path}" for each in (model.name, *places))
                if any(fnmatchcase(form, pattern) for form in forms):
                    yield Named(model.name, artifact.path)

    def _at(self, word: str) -> list[Named]:
        """Return what is at a path, relative to where it was typed or else to the project.

        A symlink to a folder is that folder, so the path is also followed.
        """
        for base in dict.fromkeys((doit.get_initial_workdir() or "", "")):
            for place in (os.path.abspath, os.path.realpath):
                if found := self._below(Path(place(Path(base, word))), place):
                    return found
        return []

    def _below(self, path: Path, place: Callable[[Path], str]) -> list[Named]:
        found: list[Named] = []
        for name, model in self._models.items():
            folder = Path(place(model.folder))
            if path.is_relative_to(folder):
                found += self._inside(name, path.relative_to(folder).as_posix())
        return found

    def _inside(self, name: str, path: str) -> list[Named]:
        """Return the model itself, its file of this path, or its files below this folder.

        Of a model whose provider was not asked yet nobody knows the files: the path is believed.
        """
        path = Path(path).as_posix()
        model = self._models[name]
        if path == ".":
            return [Named(name)]
        if model.must_ask:
            return [Named(name, path)]
        paths = [each.path for each in model.artifacts]
        if path in paths:
            return [Named(name, path)]
        return [Named(name, each) for each in paths if each.startswith(f"{path}/")]


def check_names(words: Iterable[str]) -> None:
    """End the run if a word after a command of ours names nothing, before anything is done."""
    with usage_errors():
        known = vocabulary()
        try:
            known.select(words)
        except UnknownNameError as error:
            failed = Failed(task="", error=str(error), hint=error.hint, code="no-task")
            end_with(failed, NO_TASK_STATUS)


def vocabulary() -> Vocabulary:
    """Return the words of this run's project."""
    return Vocabulary(current().project)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return the question after the words closest to one that names nothing, or nothing."""
    from difflib import get_close_matches  # noqa: PLC0415 - on the way to an error

    if "*" in word:
        return ""
    is_path = "/" in word and not word.startswith(PREFIX)
    wanted = os.path.relpath(word) if is_path else word
    if other := OTHER_WORDS.get(word):
        return f"Did you mean `{other if ' ' in other else f'{streams.program()} {other}'}`?"
    alike = {
        each.lower(): each for each in known if each.startswith(PREFIX) == word.startswith(PREFIX)
    }
    lower = wanted.lower()
    found = get_close_matches(lower, alike, 1, VERY_CLOSE) or get_close_matches(
        lower, alike, SUGGESTIONS, CLOSE
    )
    *first, last = [alike[each] for each in found] or [""]
    return f"Did you mean {' or '.join(filter(None, (', '.join(first), last)))}?" if last else ""


class Words:
    """The words after one of doit's commands, said in the names of its tasks.

    Args:
        command: The command, of which `execute_tasks` tells whether words may have options.
        tasks: Every task; the task of a file that nobody knows yet is added.
    """

    def __init__(self, command: DoitCmdBase, tasks: list[Task]) -> None:
        self._command, self._list = command, tasks
        self._vocabulary = vocabulary()

    @cached_property
    def _tasks(self) -> dict[str, Task]:
        """Every task by its name; a run that names none needs no such look."""
        return {task.name: task for task in self._list}

    def said_in_tasks(self, words: Sequence[str]) -> list[str]:
        """Return the words with a task's name for each that names one or more."""
        said: list[str] = []
        rest = list(words)
        while rest:
            word = rest.pop(0)
            if word == "fetch" and rest and self._is_of_models(rest[0]):
                continue  # `fetch NAME` means this one, and not every model too
            found = self._names(word)
            said += found
            if self._command.execute_tasks and "*" not in word:
                task = self._tasks[found[-1]]
                options, rest = _split_options(task, rest)
                said += options
                if task.pos_arg is not None:
                    return said + rest
        return list(dict.fromkeys(said)) if not self._command.execute_tasks else said

    def named_by_an_equals_sign(self) -> list[str]:
        """Return the words that doit took for a variable, and that name a file (`epoch=9.ckpt`)."""
        variables: dict[str, str] = doit_cmd._CMDLINE_VARS or {}  # noqa: SLF001 - it has no other face
        words = [f"{name}={value}" for name, value in variables.items()]
        return [word for word in words if self._vocabulary.find(word) or self._made_by(word)]

    def _is_of_models(self, word: str) -> bool:
        if word in self._tasks and not word.startswith(PREFIX):
            return False
        return bool(self._vocabulary.find(word))

    def _names(self, word: str) -> list[str]:
        """Return the names of the tasks that a word means; ends the run if there is none."""
        if word in self._tasks:
            return [word]
        if "*" in word:
            found = [name for name in self._visible() if fnmatchcase(name, word)]
            if found:
                return found
        elif task := self._made_by(word):
            return [task]
        found = [name for each in self._vocabulary.find(word) if (name := self._task_of(each))]
        return found or self._refuse(word)

    def _visible(self) -> list[str]:
        """Return the tasks that a wildcard may match: all in a run, as doit has it."""
        return [
            name for name in self._tasks if self._command.execute_tasks or not name.startswith("_")
        ]

    def _made_by(self, word: str) -> str:
        """Return the task that has a path for its target, however the path is written."""
        return next((self._targets[each] for each in _places(word) if each in self._targets), "")

    @cached_property
    def _targets(self) -> dict[str, str]:
        """The task of each target, by its whole path."""
        return {
            os.path.abspath(target): task.name  # noqa: PTH100 - `..` is not followed, as in doit
            for task in self._list
            for target in task.targets
        }

    def _task_of(self, named: Named) -> str | None:
        if named.task in self._tasks:
            return named.task
        group = self._tasks.get(Named(named.model).task)
        if group is None or group.loader is None:
            return None
        from downloader.tasks._fetch import asked_file_task  # noqa: PLC0415 - it imports this module

        task = asked_file_task(named.model, named.path)
        self._list.append(task)
        self._tasks[task.name] = task
        return str(task.name)

    def _refuse(self, word: str) -> NoReturn:
        if word in OURS and word[0] != "_":
            function = f"task_{word.replace('-', '_')}"
            what = f"no task {word!r}: this dodo.py does not import {function}."
            hint = f"Import it from downloader.tasks, or run `modelmake {word}`."
            end_with(Failed(task="", error=what, hint=hint, code="no-task"), NO_TASK_STATUS)
        known = [name for name in (*self._tasks, *OURS) if not name.startswith((PREFIX, "_"))]
        known += [*self._vocabulary.names(), *self._targets.values()]
        if self._command.execute_tasks:
            known += self._command.loader.cmd_names
        lists = f"`{streams.program()} list` shows the models and commands."
        what = f"no task or file {word!r}. {did_you_mean(word, known) or lists}"
        if "*" in word:
            what = f"No task matches {word!r}; `{streams.program()} list --all` shows them."
        end_with(Failed(task="", error=what, code="no-task"), NO_TASK_STATUS)


def _places(word: str) -> Iterator[str]:
    """Yield what a relative path may mean: from where it was typed, or from the project."""
    for base in dict.fromkeys((doit.get_initial_workdir() or "", "")):
        yield os.path.abspath(Path(base, word))  # noqa: PTH100 - as above


def _split_options(task: Task, words: list[str]) -> tuple[list[str], list[str]]:
    """Return the options of a task that stand after its name, and the words after those."""
    parse = TaskParse([CmdOption(each) for each in (*task.params, *task.creator_params)])
    try:
        rest = parse.parse(words)[1]
    except CmdParseError:  # for doit to tell
        rest = []
    count = len(words) - len(rest)
    return words[:count], words[count:]


def install() -> None:
    """Let doit's commands take every word of ours: the one hook."""
    load_tasks = NamespaceTaskLoader.load_tasks
    if load_tasks.__module__ == __name__:
        return

    def load_and_rewrite(loader: Any, cmd: DoitCmdBase, pos_args: list[str]) -> list[Task]:  # noqa: ANN401 - doit has no types
        tasks: list[Task] = load_tasks(loader, cmd, pos_args)
        is_fetch = (task.name == "fetch" and is_ours(task.name) for task in reversed(tasks))
        if not any(is_fetch):  # which is made after its files
            return tasks
        words = Words(cmd, tasks)
        pos_args += words.named_by_an_equals_sign()
        if pos_args:
            pos_args[:] = words.said_in_tasks(pos_args)
            cmd.sel_tasks, cmd.sel_default_tasks = pos_args, False
        return tasks

    NamespaceTaskLoader.load_tasks = load_and_rewrite
