"""The client of ORAS, oras 0.2.43, in a Python of its own that MODELMAKE_ORAS names."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from tests.examples import GIVEN
from tests.sdk.together import GIVE_UP_SECONDS, KEPT, Call
from tests.servers.process import NotInstalled

ASK = Path(__file__).with_name("ask_oras.py")
VARIABLE = "MODELMAKE_ORAS"


class Oras:
    """Calls it in a folder, with a registry on this machine.

    Args:
        registry: As images name it.
        folder: Where files are taken from and put.
        variables: Such as ORAS_USER and ORAS_PASSWORD.

    Raises:
        NotInstalled: Nothing names such a Python.
    """

    def __init__(self, registry: str, folder: Path, **variables: str) -> None:
        if not GIVEN.get(VARIABLE):
            raise NotInstalled(f"{VARIABLE} names no Python with oras")
        self._registry, self._folder, self._variables = registry, folder, variables

    def push(self, image: str, *files: str) -> None:
        """Push files, by their paths below the folder."""
        given = {"target": f"{self._registry}/{image}", "files": list(files)}
        (result,) = self.ask(("push", {**given, "disable_path_validation": True}))
        assert "raised" not in result, result

    def pull(self, image: str, into: Path) -> dict[str, bytes]:
        """Pull an artifact; return its files by path."""
        (result,) = self.ask(("pull", {"target": f"{self._registry}/{image}", "outdir": str(into)}))
        assert "raised" not in result, result
        found = (path for path in into.rglob("*") if path.is_file())
        return {path.relative_to(into).as_posix(): path.read_bytes() for path in found}

    def ask(self, *calls: Call) -> list[dict[str, Any]]:
        """Call methods of it, in order; return what each returned or raised."""
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        ended = subprocess.run(
            [GIVEN[VARIABLE], "-I", str(ASK), self._registry],
            cwd=self._folder,
            env={**kept, "HOME": str(self._folder), **self._variables},
            input=json.dumps(calls),
            capture_output=True,
            text=True,
            timeout=GIVE_UP_SECONDS,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        results: list[dict[str, Any]] = json.loads(ended.stdout)
        return results
