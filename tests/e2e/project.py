"""A project in a temporary folder, and `doit` run in it as a user would.

    project = Project(folder)
    project.declare({"toy": http(server, "a.bin")})
    run = project.doit("fetch:toy")
    assert run.status == 0

The environment is the test's own (`clean_environment` in conftest), where OpenAI's address is a
closed port of this machine: no test may ever look up the real host.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import yaml

from tests.e2e.run import REPOSITORY, RUN_SECONDS, Run
from tests.e2e.warm import Warm

CLOSED_PORT_URL = "http://127.0.0.1:9/gpt-2/models"
"""Port 9 (discard, RFC 863) is not served here: a connection is refused at once."""

__all__ = [
    "CLOSED_PORT_URL",
    "REPOSITORY",
    "RUN_SECONDS",
    "WARM",
    "Entry",
    "Project",
    "Run",
    "finish",
]

Entry = dict[str, Any]


class Project:
    """A folder with dodo.py and models.yaml.

    Args:
        folder: Where; it is made when it is not there.
        variables: The environment on top of the test's own, in every run.

    Attributes:
        folder: As above.
        cwd: Where doit runs; the folder, until a test changes it.
        before: What stands before the command, as `unshare --net`.
        variables: As above.
    """

    def __init__(self, folder: Path, **variables: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = self.cwd = folder
        self.before: Sequence[str] = ()
        self.variables = {"OPENAI_GPT2_BASE_URL": CLOSED_PORT_URL, **variables}
        shutil.copy(REPOSITORY / "dodo.py", folder)

    @property
    def manifest(self) -> Path:
        """Path of models.yaml."""
        return self.folder / "models.yaml"

    @property
    def lock(self) -> Path:
        """Path of models.lock."""
        return self.folder / "models.lock"

    def write(self, text: str) -> None:
        """Write models.yaml."""
        self.manifest.write_text(text)

    def declare(self, models: Mapping[str, Entry]) -> None:
        """Write models.yaml with these models."""
        self.write(yaml.safe_dump({"version": 1, "models": dict(models)}, sort_keys=False))

    def target(self, name: str, path: str) -> Path:
        """Return where a file of a model goes."""
        return self.folder / "models" / name / path

    def receipts(self, name: str) -> Path:
        """Return where the receipts of a model are kept."""
        return self.target(name, ".modelmake/receipts")

    def locked(self, name: str) -> dict[str, dict[str, Any]]:
        """Return the files of a model in models.lock, by path."""
        models = json.loads(self.lock.read_text())["models"]
        return {file["path"]: file for file in models[name]["files"]}

    def doit(self, *arguments: str, **variables: str) -> Run:
        """Run doit to its end: in a fork of a warm interpreter, where that makes no difference.

        Each run is a start of its own where the test puts something before the command or changes
        what is read at the start, where coverage is measured, and in CI for all but the sweeps.

        Args:
            arguments: Of the command line.
            variables: The environment on top of the project's.
        """
        return self._run(("doit", *arguments), variables)

    def modelmake(self, *arguments: str, **variables: str) -> Run:
        """Run `modelmake` as `doit` does."""
        return self._run(("downloader", *arguments), variables)

    def _run(self, words: Sequence[str], variables: Mapping[str, str]) -> Run:
        environment = self.environment(variables)
        run = None
        if not self.before and WARM.is_wanted:
            run = WARM.run(("-m", *words), self.cwd, environment)
        return run or finish(self._start(words, environment))

    def start(self, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        """Start doit as `doit` does, and return at once."""
        return self._start(("doit", *arguments), self.environment(variables))

    def _start(
        self, words: Sequence[str], environment: Mapping[str, str]
    ) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [*self.before, sys.executable, "-m", *words],
            cwd=self.cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def environment(self, variables: Mapping[str, str]) -> dict[str, str]:
        """Return the environment of a run."""
        own = {**self.variables, **variables}
        paths = [own.get("PYTHONPATH"), str(REPOSITORY)]
        return {**os.environ, **own, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


class WarmRuns:
    """The warm interpreter of this process, begun when it is first asked for.

    Attributes:
        is_wanted: Whether the test at work is content with it; set before each test.
    """

    def __init__(self) -> None:
        self.is_wanted = False
        self._ends = ExitStack()
        self._warm: Warm | None = None
        self._turn = threading.Lock()

    def run(self, words: Sequence[str], cwd: Path, environment: dict[str, str]) -> Run | None:
        """Run a module there; None while it runs something else, or if it would start otherwise."""
        if not self._turn.acquire(blocking=False):
            return None
        try:
            warm = self._warm or self._begun()
            if not warm.can_run(environment):
                return None
            self._warm = None  # until it has answered: after a time-out it is out of step
            run = warm.run(words, cwd, environment)
            self._warm = warm
            return run
        finally:
            self._turn.release()

    def _begun(self) -> Warm:
        folder = self._ends.enter_context(tempfile.TemporaryDirectory())
        return self._ends.enter_context(Warm(Path(folder)))

    def close(self) -> None:
        """End it."""
        self._warm = None
        self._ends.close()


WARM = WarmRuns()


def finish(process: subprocess.Popen[str]) -> Run:
    """Wait for a started doit and return how it ended; one that hangs is killed."""
    try:
        stdout, stderr = process.communicate(timeout=RUN_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        stdout, stderr = process.communicate()
        raise AssertionError(f"doit hangs; it said: {stdout}{stderr}") from None
    return Run(process.returncode, stdout, stderr)
