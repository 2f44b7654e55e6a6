"""Ours: a temporary project with a models.yaml, locked beforehand, and `doit` run in it."""

import json
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from bench.measure import Command, Contender, run
from bench.scratch import Arrived, Payload, variables
from bench.table import OURS

REPOSITORY = Path(__file__).parents[1]
MODEL = "bench"
FIXED_NAME = "ours, fixed: "


class Project:
    """A project with one http model, its lock made.

    Args:
        scratch: What it is made in, under a name of its own.
        payloads: The model's files.
        url: Gives a file's URL by its name.
        is_pinned: Whether models.yaml says each SHA-256. (It may have 1 MiB: 10,000 do not fit.)
        certificate: What its server is trusted by.

    Raises:
        Failed: `doit lock` did.
    """

    def __init__(
        self,
        scratch: Path,
        payloads: Sequence[Payload],
        url: Callable[[str], str],
        *,
        is_pinned: bool = True,
        certificate: Path | None = None,
    ) -> None:
        self._scratch, self._payloads = scratch, payloads
        self._trusted = {"REQUESTS_CA_BUNDLE": str(certificate)} if certificate else {}
        self.folder = scratch / "project"
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        shutil.copy(REPOSITORY / "dodo.py", self.folder)
        files = [{"url": url(each.name), "path": each.name} for each in payloads]
        if is_pinned:
            files = [{**a, "sha256": b.sha256} for a, b in zip(files, payloads, strict=True)]
        models = {MODEL: {"source": "http", "files": files}}
        # JSON is YAML too.
        (self.folder / "models.yaml").write_text(json.dumps({"version": 1, "models": models}))
        self.doit("lock")

    @property
    def lock(self) -> Path:
        """Path of models.lock."""
        return self.folder / "models.lock"

    def target(self, name: str) -> Path:
        """Return where a file of the model goes."""
        return self.folder / "models" / MODEL / name

    def targets(self) -> list[str]:
        """Return where all files of the model go."""
        return [str(self.target(each.name)) for each in self._payloads]

    def forget(self) -> None:
        """Remove what was fetched, from the store too; the lock stays."""
        shutil.rmtree(self.folder / "models", ignore_errors=True)
        shutil.rmtree(self.folder / "store", ignore_errors=True)

    def command(self, *arguments: str, **extra: str) -> Command:
        """Return doit's command line, as a user would type it; `extra` are more variables."""
        own = {"PYTHONPATH": str(REPOSITORY), "MODELMAKE_STORE": str(self.folder / "store")}
        return Command(
            words=[sys.executable, "-m", "doit", *arguments],
            folder=self.folder,
            variables={**variables(self._scratch), **own, **self._trusted, **extra},
        )

    def doit(self, *arguments: str) -> None:
        """Run doit, untimed.

        Raises:
            Failed: It ended with another status than 0.
        """
        run(self.command(*arguments))

    def fetching(self) -> Contender:
        """Return our line in a race: everything fetched anew, the whole process timed."""
        return self._contender(OURS, self.command())

    def fetching_locked(self, lock: bytes, name: str = OURS) -> Contender:
        """Return the same with these bytes as models.lock, whatever the run before wrote there."""

        def before() -> None:
            self.forget()
            self.lock.write_bytes(lock)

        return replace(self._contender(name, self.command()), before=before)

    def fetching_fixed(self, count: int) -> Contender:
        """Return the same with a fixed number of connections (bench/fixed.py)."""
        free = self.command()
        words = [sys.executable, "-m", "bench.fixed", str(count)]
        return self._contender(f"{FIXED_NAME}{count}", replace(free, words=words))

    def _contender(self, name: str, command: Command) -> Contender:
        pairs = [(each, self.target(each.name)) for each in self._payloads]
        return Contender(name=name, command=command, before=self.forget, check=Arrived(pairs))
