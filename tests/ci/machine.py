"""A CI machine: a checkout, the programs that its scripts call, and a shell that runs them.

`pip` does nothing but note that it was called: what is tested is this checkout, and no index.
"""

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.e2e.project import REPOSITORY, RUN_SECONDS, Project, Run

PROGRAMS = {
    "doit": f'exec {shlex.quote(sys.executable)} -m doit "$@"',
    "python": f'exec {shlex.quote(sys.executable)} "$@"',
    "pip": 'echo "pip $*" >> "$(dirname "$0")/pip-calls"',
}
TEST_OF_THE_PROJECT = """
import pathlib, unittest

class Test(unittest.TestCase):
    def test_models(self):
        self.assertTrue(any(pathlib.Path("models").glob("*/*")))
"""


class Machine:
    """A fresh machine with a checkout of a project.

    Args:
        home: An empty folder for all of it.
        project: Whose dodo.py, models.yaml and models.lock are checked out.
        at: Where in the checkout they lie.

    Attributes:
        checkout: The checkout's folder.
        variables: The environment of every step, on top of the test's own.
    """

    def __init__(self, home: Path, project: Project, at: str = ".") -> None:
        self.checkout = home / "checkout"
        self._programs = home / "bin"
        self._programs.mkdir(parents=True)
        for name, text in PROGRAMS.items():
            program = self._programs / name
            program.write_text(f"#!/bin/sh\n{text}\n")
            program.chmod(0o755)
        folder = self.checkout / at
        folder.mkdir(parents=True)
        for file in ("dodo.py", "models.yaml", "models.lock"):
            (folder / file).write_bytes((project.folder / file).read_bytes())
        (folder / "test_models.py").write_text(TEST_OF_THE_PROJECT)
        self.variables = {**project.variables, "CI": "true"}

    @property
    def pip_calls(self) -> list[str]:
        """How `pip` was called."""
        noted = self._programs / "pip-calls"
        return noted.read_text().splitlines() if noted.exists() else []

    def bash(self, script: str, variables: Mapping[str, str], folder: Path | None = None) -> Run:
        """Run a script as GitHub and GitLab do: bash, ended by the first command that fails.

        Args:
            script: Its text.
            variables: The environment on top of the machine's.
            folder: Where; the checkout when it is left out.
        """
        environment = {**os.environ, **self.variables, **variables}
        environment["PATH"] = f"{self._programs}{os.pathsep}{os.environ['PATH']}"
        environment["PYTHONPATH"] = str(REPOSITORY)
        ended = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
            cwd=folder or self.checkout,
            env=environment,
            check=False,
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
        )
        return Run(ended.returncode, ended.stdout, ended.stderr)


def pack(archive: Path, checkout: Path, paths: list[str]) -> None:
    """Save paths of a checkout as GitHub's cache does, with their times."""
    subprocess.run(["tar", "--posix", "-cf", archive, "-C", checkout, "--", *paths], check=True)


def unpack(archive: Path, checkout: Path) -> None:
    """Bring back what was saved."""
    subprocess.run(["tar", "-xf", archive, "-C", checkout], check=True)
