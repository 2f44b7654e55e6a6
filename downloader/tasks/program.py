"""The command `modelmake`: doit with our tasks, from any folder of a project.

It needs no dodo.py. If one beside models.yaml brings our tasks, the tasks of your own that are in
it run too; another dodo.py is left alone. Without a word, `modelmake` syncs the models.
"""

import inspect
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from doit import loader
from doit.cmd_base import NamespaceTaskLoader
from doit.doit_cmd import DoitMain

from downloader import __version__, tasks
from downloader.errors import ManifestError, SettingError, StoreError
from downloader.fs.rooted_path import read_own
from downloader.progress import streams
from downloader.progress.events import failed_of
from downloader.project.project import find_manifest
from downloader.settings import named_manifest
from downloader.tasks._reporter import USAGE_STATUS, end_with
from downloader.tasks.plugins import NAMES, CommandTask

NAME = "modelmake"
DODO = "dodo.py"
NEED_NO_PROJECT = {"adopt", "help", "tabcompletion"}
"""First words of a command line that need no models.yaml: a bundle may bring one."""
EDITING = {"add", "remove"}
"""First words of a command line that doit does not see."""


FIRST_ROWS = [
    ("", "download what is missing or changed"),
    ("NAME...", "do so for these models and files only"),
    ("list [--all]", "show models (or every file) and what is missing"),
    ("info NAME...", "say whether it is up to date, and why not"),
    ("clean [NAME...]", "remove a model's files"),
    ("forget [NAME...]", "hash its files again in the next run"),
]
LAST_ROWS = [
    ("add REFERENCE", "write a model into models.yaml and lock it"),
    ("remove NAME...", "remove it from both; its files stay"),
    ("init [FOLDER]", "begin a project; overwrites nothing"),
    ("schema", "print the JSON Schema of models.yaml"),
    ("--version", "print the version"),
]


class Program(DoitMain):  # type: ignore[misc]
    """doit under our name."""

    BIN_NAME = NAME


class Loader(NamespaceTaskLoader):  # type: ignore[misc]
    """Loads the built-in tasks, and dodo.py if that brings them too.

    Args:
        start: Where the command was typed; paths on the command line are relative to it.
    """

    def __init__(self, start: Path) -> None:
        super().__init__()
        self._start = start

    def setup(self, opt_values: object) -> None:  # noqa: ARG002 - doit's
        """Fill the namespace that doit takes tasks from."""
        self.namespace = {name: getattr(tasks, name) for name in tasks.__all__}
        dodo = Path(DODO)
        if brings_our_tasks(dodo) and (self._start == Path.cwd() or _may_be_run(dodo)):
            self.namespace |= dict(inspect.getmembers(loader.get_module(DODO)))
        loader.initial_workdir = str(self._start)

    def load_doit_config(self) -> dict[str, Any]:
        """Return the configuration: `modelmake` alone syncs, whatever `doit` alone does."""
        config = {**tasks.DOIT_CONFIG, **super().load_doit_config()}
        return {**config, "default_tasks": tasks.DOIT_CONFIG["default_tasks"]}


def brings_our_tasks(dodo: Path) -> bool:
    """Return whether a dodo.py imports our tasks."""
    try:
        return b"downloader.tasks" in read_own(dodo)
    except StoreError:
        return False


def _may_be_run(dodo: Path) -> bool:
    """Return whether a dodo.py that was found above the working directory may run, or say why not.

    Anybody may put one into a folder such as /tmp. So it has to be of this user or of root, as git
    asks of repositories (CVE-2022-24765).
    """
    user = getattr(os, "getuid", None)
    if user is None:
        return True  # Windows tells no owner by number
    owners = {0, user()}
    if {dodo.stat().st_uid, dodo.absolute().parent.stat().st_uid} <= owners:
        return True
    place = dodo.absolute()
    streams.tell(f"Not run: {place} belongs to another user. To run it, go to its folder.")
    return False


def run(words: Sequence[str]) -> int:
    """Run doit in the project of the working directory, and return the exit status.

    Args:
        words: The command line, without the program's name.
    """
    streams.program(NAME)
    if "" in words:  # doit looks at the first character of each
        what = "A word of the command line is empty: a variable in it may not be set."
        end_with(failed_of(SettingError(what)), USAGE_STATUS)
    if words[:1] == ["help"] and EDITING & set(words[1:2]):
        words = [words[1], "--help"]
    if EDITING & set(words[:1]):
        from downloader.tasks import _declare  # noqa: PLC0415 - imports requests

        chosen = _declare.parse(words)
        chosen.start = Path.cwd()
        _enter_project(words)
        return _declare.run(chosen)
    if not words or words[0] not in ("--help", "-h"):
        return _in_project(list(words))
    streams.say(overview())
    return 0


def _in_project(words: list[str]) -> int:
    start = Path.cwd()
    _enter_project(words)
    return int(Program(Loader(start)).run(words) or 0)  # doit's clean and forget return nothing


def _enter_project(words: Sequence[str]) -> None:
    try:
        if not named_manifest():
            os.chdir(find_manifest().parent)
    except ManifestError as error:
        if not NEED_NO_PROJECT & set(words[:1]):
            end_with(failed_of(error), USAGE_STATUS)


def overview() -> str:
    """Return what the program can do, for `--help`."""
    program = streams.program()
    makers = (getattr(tasks, name) for name in tasks.__all__ if name.startswith("task_"))
    commands = [made for make in makers if isinstance(made := make(), CommandTask)]
    rows = [(f"{program} {words}", doc) for words, doc in FIRST_ROWS]
    rows += [(f"{program} {each.name}", each.doc) for each in commands]
    rows += [(f"{program} help COMMAND", "show the options of a command")]
    rows += [(f"modelmake {words}", doc) for words, doc in LAST_ROWS]
    width = max(len(words) for words, _ in rows)
    lines = [f"  {words:<{width}}  {doc}" for words, doc in rows]
    return "\n".join([f"modelmake {__version__}: make for model weights", "", *lines, "", NAMES])


def is_ours_here() -> bool:
    """Return whether there are models for the commands that run here, or only ours were typed."""
    try:
        return streams.program() == NAME or find_manifest().exists()
    except ManifestError:
        return False
