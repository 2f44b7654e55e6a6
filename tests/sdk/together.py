"""One of the two Together SDKs, asked about a TogetherServer in a process of its own.

MODELMAKE_TOGETHER_1 and MODELMAKE_TOGETHER_3 name the Python that has together 1.5.34 and 3.x.
"""

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.examples import GIVEN
from tests.servers.process import NotInstalled
from tests.servers.together.server import TogetherServer

ASK = Path(__file__).with_name("ask_together.py")
VARIABLES = {1: "MODELMAKE_TOGETHER_1", 3: "MODELMAKE_TOGETHER_3"}
QUIET = {
    "TOGETHER_NO_BANNER": "1",
    "TOGETHER_DISABLE_TQDM": "1",
    "TOGETHER_TELEMETRY_DISABLED": "1",
    "TOGETHER_DISABLE_VERSION_CHECK": "1",
    "CI": "1",  # `tg` would install a completion into the shell's settings otherwise
    "COLUMNS": "200",
}
KEPT = ("HOME", "PATH", "SYSTEMROOT", "USERPROFILE")
GIVE_UP_SECONDS = 90

Call = tuple[str, dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class SDK:
    """An installed SDK, the folder it works in, and further variables it sees."""

    version: int
    folder: Path
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def python(self) -> str:
        """The Python that has it.

        Raises:
            NotInstalled: The variable that names it is not set.
        """
        variable = VARIABLES[self.version]
        if not GIVEN.get(variable):
            raise NotInstalled(f"{variable} names no Python with together {self.version}.x")
        return GIVEN[variable]

    def call(self, server: TogetherServer, *calls: Call) -> list[dict[str, Any]]:
        """Return what came of methods of `Together().fine_tuning`, in order."""
        ended = self._run(server, [], json.dumps(calls))
        assert ended.returncode == 0, ended.stderr
        results: list[dict[str, Any]] = json.loads(ended.stdout)
        return results

    def program(
        self, server: TogetherServer, *arguments: str
    ) -> "subprocess.CompletedProcess[str]":
        """Run `together` (1.5) or `tg` (3.x) to its end."""
        return self._run(server, list(arguments), "")

    def files(self) -> dict[str, bytes]:
        """Return what lies in the folder, by path."""
        found = (path for path in self.folder.rglob("*") if path.is_file())
        return {path.relative_to(self.folder).as_posix(): path.read_bytes() for path in found}

    def _run(
        self, server: TogetherServer, arguments: list[str], given: str
    ) -> "subprocess.CompletedProcess[str]":
        base_url = server.url + ("/v1" if self.version == 1 else "")
        together = {"TOGETHER_API_KEY": server.key, "TOGETHER_BASE_URL": base_url}
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        return subprocess.run(
            [self.python, "-I", str(ASK), *arguments],
            cwd=self.folder,
            env={**kept, **QUIET, **together, **self.variables},
            input=given,
            capture_output=True,
            text=True,
            timeout=GIVE_UP_SECONDS,
            check=False,
        )
