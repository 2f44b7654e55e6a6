"""Commands run in forks of one interpreter that has imported everything: a fraction of the time.

Each fork begins with the program imported and nothing done: state, standard streams, environment,
working directory and the ways to end are its own, as if it had been started as `doit`.

    with Warm(folder) as warm:
        run = warm.run(["clean"], cwd=project, environment=variables)
"""

import atexit
import contextlib
import functools
import gc
import importlib
import inspect
import json
import os
import pkgutil
import runpy
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

from tests.e2e.run import REPOSITORY, RUN_SECONDS, Run

READ_ONCE = ("COVERAGE", "LANG", "LC_", "LD_", "MALLOC", "MODELMAKE_PROGRESS", "PYTHON", "TZ")
"""How the variables begin that are read at the start: by Python, C, and our plug-ins of doit."""
PYTHON = "-c"
"""As the first word, it makes the second one a script."""
MODULE = "-m"
"""As the first word, it makes the second one the module that is run in place of doit."""
ALSO: tuple[str, ...] = (
    "doit.cmd_clean",
    "doit.cmd_forget",
    "doit.cmd_info",
    "doit.cmd_list",
    "doit.cmd_run",
)
ALSO += ("requests", "urllib3", "yaml", "zstandard", "concurrent.futures.thread")


class Warm:
    """A warm interpreter; a context manager.

    Args:
        folder: Where it keeps what commands say; an empty one.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._began_with = _read_by_python({**os.environ, "PYTHONPATH": str(REPOSITORY)})

    def can_run(self, environment: Mapping[str, str]) -> bool:
        """Whether a start in this environment would be as ours was."""
        return _read_by_python(environment) == self._began_with

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.e2e.warm"],
            cwd=self._folder,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._process.communicate()

    def run(self, words: Sequence[str], cwd: Path, environment: Mapping[str, str]) -> Run:
        """Run doit, a module after MODULE or a script after PYTHON, and return how it ended.

        Args:
            words: Of the command line.
            cwd: Where it runs.
            environment: All of it.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = {"words": list(words), "cwd": str(cwd), "environment": dict(environment)}
        self._process.stdin.write(f"{json.dumps(order)}\n")
        self._process.stdin.flush()
        status = int(self._process.stdout.readline())
        said = [(self._folder / name).read_text(errors="replace") for name in ("stdout", "stderr")]
        assert status != -signal.SIGALRM, f"it hangs; it said: {said}"
        return Run(status, *said)


def _read_by_python(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that are read once, at the start."""
    return {name: value for name, value in environment.items() if name.startswith(READ_ONCE)}


def _import_everything() -> None:
    """Import what any command may import; that reads no environment."""
    import downloader  # noqa: PLC0415 - the client of this process has no use for it

    for each in pkgutil.walk_packages(downloader.__path__, "downloader."):
        if each.name != "downloader.__main__":
            importlib.import_module(each.name)
    for name in ALSO:
        importlib.import_module(name)
    _remember()


def _remember() -> None:
    """Keep what doit looks up at each start, and no run changes: plugins, and lines of tasks."""
    from doit import plugin  # noqa: PLC0415 - as above

    from downloader import tasks  # noqa: PLC0415

    plugin.entry_points = functools.cache(plugin.entry_points)
    for group in ("COMMAND", "BACKEND", "LOADER", "REPORTER"):
        plugin.entry_points(group=f"doit.{group}")
    vars(inspect)["getsourcelines"] = functools.cache(inspect.getsourcelines)
    for name in tasks.__all__:
        if callable(found := getattr(tasks, name)):
            inspect.getsourcelines(found)


def _serve() -> None:
    """Fork for each order, and say how the fork ended."""
    _import_everything()
    vars(os)["fsync"] = lambda _: None  # no test cuts the power here, and disks are slow
    gc.collect()
    gc.freeze()
    home = Path.cwd()
    for line in sys.stdin:
        child = os.fork()
        if not child:
            _end_of(home, json.loads(line))
        _, ended = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(ended)}\n")
        sys.stdout.flush()


def _end_of(home: Path, order: dict[str, Any]) -> NoReturn:
    """Be the command, and end as Python does, but for taking its modules apart."""
    try:
        _become(home, order)
        status = 0
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:  # noqa: BLE001 - as Python tells it
        traceback.print_exc()
        status = 1
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(status)


def _become(home: Path, order: dict[str, Any]) -> None:
    """Be the command from here on."""
    signal.alarm(int(RUN_SECONDS))
    for number, name in enumerate(("stdout", "stderr"), 1):
        opened = os.open(home / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(opened, number)
        os.close(opened)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ.clear()
    os.environ.update(order["environment"])
    os.chdir(order["cwd"])
    words = order["words"]
    if words[:1] == [PYTHON]:
        sys.path.insert(0, "")
        exec(words[1], {"__name__": "__main__"})
        return
    sys.path[0] = order["cwd"]  # as `python -m` does
    module = "doit"
    if words[:1] == [MODULE]:
        _, module, *words = words
    sys.argv = [module, *words]
    runpy.run_module(module, run_name="__main__")


if __name__ == "__main__":
    _serve()
