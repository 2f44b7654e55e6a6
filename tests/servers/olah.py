"""Olah, a mirror of the Hugging Face Hub that nobody here wrote, serving one local repository.

    with Olah("owner/name", folder) as olah:
        snapshot_download("owner/name", endpoint=olah.url)

Unlike the Hub it redirects no file, ignores Range, sends no length and unquoted ETags, and knows no
pages and no tokens (olah 0.5.4).
"""

import hashlib
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import Self

from tests.examples import GIVEN
from tests.servers.hub.server import LARGE_SUFFIXES, pointer
from tests.servers.process import NotInstalled, Program, ProgramServer, free_port

VARIABLE = "MODELMAKE_OLAH"
CONFIG = """
[basic]
host = "127.0.0.1"
port = {port}
repos-path = "{folder}/cache"
mirrors-path = ["{folder}/mirrors"]
[accessibility]
offline = true
"""
GIT = ("git", "-c", "user.name=test", "-c", "user.email=test@example.org")


class Olah(ProgramServer):
    """A context manager around one Olah.

    Args:
        name: The model's, as `owner/name`.
        files: The folder that holds its files.
    """

    def __init__(self, name: str, files: Path) -> None:
        self._name, self._files = name, files

    def __enter__(self) -> Self:
        command = self._command()
        self._folder = Path(tempfile.mkdtemp(prefix="olah-"))
        self.commit = self._commit()
        self.port = free_port()
        config = self._folder / "config.toml"
        config.write_text(CONFIG.format(port=self.port, folder=self._folder))
        output = self._folder / "output.log"
        self._program = Program([command, "--config", str(config)], output)
        if not self._program.wait_until(self._is_ready):
            self.close()
            raise RuntimeError(f"Olah does not start: {self._program.said}")
        return self

    @property
    def url(self) -> str:
        """The endpoint, as for HF_ENDPOINT."""
        return f"http://127.0.0.1:{self.port}"

    def _command(self) -> str:
        named = GIVEN.get(VARIABLE)
        if not named or shutil.which("git") is None:
            raise NotInstalled(
                f"{VARIABLE} names no olah-cli (pip install olah), or git is missing"
            )
        return named

    def _commit(self) -> str:
        """Make the repository of the files, and return its commit."""
        repository = self._folder / "mirrors" / "models" / self._name
        repository.mkdir(parents=True)
        self._git(repository, "init", "--quiet", "--initial-branch=main")
        for source in sorted(path for path in self._files.rglob("*") if path.is_file()):
            place = repository / source.relative_to(self._files)
            place.parent.mkdir(parents=True, exist_ok=True)
            content = source.read_bytes()
            if source.name.endswith(LARGE_SUFFIXES):
                sha256 = hashlib.sha256(content).hexdigest()
                stored = repository / ".git/lfs/objects" / sha256[:2] / sha256[2:4] / sha256
                stored.parent.mkdir(parents=True)
                stored.write_bytes(content)
                content = pointer(content)
            place.write_bytes(content)
        self._git(repository, "add", "--all", "--force")
        self._git(repository, "commit", "--quiet", "--message=model")
        return self._git(repository, "rev-parse", "HEAD").strip()

    def _git(self, repository: Path, *arguments: str) -> str:
        return subprocess.run(
            [*GIT, *arguments], cwd=repository, check=True, capture_output=True, text=True
        ).stdout

    def _is_ready(self) -> bool:
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            url = f"{self.url}/api/models/{self._name}/revision/main"
            direct.open(url, timeout=5).close()
        except (urllib.error.URLError, OSError):
            return False
        return True
