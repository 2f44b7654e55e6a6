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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).parents[2]
CLOSED_PORT_URL = "http://127.0.0.1:9/gpt-2/models"
"""Port 9 (discard, RFC 863) is not served here: a connection is refused at once."""
RUN_SECONDS = 60.0

Entry = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Run:
    """How one run of doit ended."""

    status: int
    stdout: str
    stderr: str

    @property
    def text(self) -> str:
        """All it said."""
        return self.stdout + self.stderr

    @property
    def error_lines(self) -> list[str]:
        """The lines of standard error."""
        return self.stderr.splitlines()


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
        """Run doit to its end.

        Args:
            arguments: Of the command line.
            variables: The environment on top of the project's.
        """
        return finish(self.start(*arguments, **variables))

    def start(self, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        """Start doit as `doit` does, and return at once."""
        return subprocess.Popen(
            [*self.before, sys.executable, "-m", "doit", *arguments],
            cwd=self.cwd,
            env=self.environment(variables),
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


def finish(process: subprocess.Popen[str]) -> Run:
    """Wait for a started doit and return how it ended; one that hangs is killed."""
    try:
        stdout, stderr = process.communicate(timeout=RUN_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        stdout, stderr = process.communicate()
        raise AssertionError(f"doit hangs; it said: {stdout}{stderr}") from None
    return Run(process.returncode, stdout, stderr)
