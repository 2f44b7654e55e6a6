"""Somebody who does what a page says, line by line, in a project of small stand-ins.

    reader = Reader(tmp_path / "checkout", server)
    reader.follow("doit list   # a comment")

GPT-2's sizes are small files from a FaultyServer. Those of 124M have published digests, which no
stand-in can meet, so models.yaml asks for 774M in its place.
"""

import re
import shlex
from pathlib import Path

from tests.docs.documents import PYPROJECT
from tests.e2e.content import put_all, put_repository, small_gpt2
from tests.e2e.project import REPOSITORY, Project, Run
from tests.servers.faulty import FaultyServer

CI_RUN = [
    shlex.split(line)
    for line in (REPOSITORY / ".ci/run").read_text(encoding="utf-8").splitlines()
    if line.startswith(("pytest", "ruff", "mypy", "lint-imports", "mkdocs", "doit -f"))
]
SIZES = ("355M", "774M", "1558M")

SMALL_REPOSITORY = {
    "config.json": b"{}",
    "model.safetensors": b"w" * 1000,
    "pytorch_model.bin": b"p",
}


class Reader:
    """A project, and the commands of a page in it.

    Args:
        folder: Of the project; the shipped models.yaml and dodo.py are in it.
        server: Serves GPT-2.

    Attributes:
        project: As above; `cwd` is where the reader is.
        said: What the last command said, and its exit status.
    """

    def __init__(self, folder: Path, server: FaultyServer) -> None:
        for size in SIZES:
            put_all(server.put, f"/m/{size}", small_gpt2())
        put_repository(server.put, "/hub", "BAAI/bge-small-en-v1.5", SMALL_REPOSITORY)
        self.project = Project(
            folder, OPENAI_GPT2_BASE_URL=server.url("/m"), HF_ENDPOINT=server.url("/hub")
        )
        self.declare((REPOSITORY / "models.yaml").read_text(encoding="utf-8"))
        self.said = Run(0, "", "")

    def declare(self, text: str) -> None:
        """Write models.yaml where the reader is."""
        stand_in = re.sub(r"size: 124M\b", "size: 774M", text)
        (self.project.cwd / "models.yaml").write_text(stand_in, encoding="utf-8")

    def follow(self, line: str) -> None:
        """Do what a line says; each of its commands has to end with exit status 0."""
        for command in line.partition("#")[0].split("&&"):
            if words := shlex.split(command):
                self._do(words)

    def _do(self, words: list[str]) -> None:
        if words[0] == "cd":
            self.project.cwd = (self.project.cwd / words[1]).resolve()
        elif words[:2] == ["pip", "install"]:
            assert_installable(words[2:])
        elif words[:2] == ["modelmake", "init"]:
            self._begin(words)
        elif words[0] == "modelmake" and words[1] in {"add", "remove"}:
            self._run_modelmake(words)
        elif words[:3] == ["python", "-m", "downloader"]:
            self._begin(["modelmake", *words[3:]])
        elif words[0] == "doit" and "-f" not in words:
            self.said = self.project.doit(*words[1:])
            assert self.said.status == 0, (words, self.said.text)
        else:
            assert any(each[: len(words)] == words for each in CI_RUN), f"who runs {words}?"

    def _begin(self, words: list[str]) -> None:
        self._run_modelmake(words)
        folder = self.project.cwd / "".join(words[2:3])
        written = (folder / "models.yaml").read_text(encoding="utf-8")
        (folder / "models.yaml").write_text(written.replace("size: 124M", "size: 774M"))

    def _run_modelmake(self, words: list[str]) -> None:
        self.said = self.project.modelmake(*words[1:])
        assert self.said.status == 0, (words, self.said.text)


def assert_installable(words: list[str]) -> None:
    """Hold what `pip install` gets against this checkout: itself, with extras that it has."""
    extras = PYPROJECT["project"]["optional-dependencies"]
    for word in words:
        found = re.fullmatch(r"-e|\.(?:\[(\w+)\])?", word)
        assert found, word
        assert found[1] is None or found[1] in extras, word
