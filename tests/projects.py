"""Small projects in process, for the tests of everything between the manifest and the transfer."""

import hashlib
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from downloader.artifact import LockedModel
from downloader.errors import Stop
from downloader.network.api import Session
from downloader.network.client import Client
from downloader.operations import lock as locking
from downloader.operations.lock import LockOptions
from downloader.operations.sync import sync_models
from downloader.operations.verify import FileCheck, verify
from downloader.progress.tracker import Run
from downloader.project.project import Project
from downloader.settings import Settings
from downloader.sources.openai_gpt2 import FILES
from tests.servers.faulty import FaultyServer

Entry = dict[str, Any]
ELSEWHERE: Entry = {"source": "huggingface", "repo": "owner/name"}
"""A model whose files only its provider can list."""


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def gpt2(size: str, base: str | None = None, **keys: Any) -> Entry:
    """Return an openai-gpt2 entry; `base` is where its provider is."""
    return {"source": "openai-gpt2", "size": size, **({"base_url": base} if base else {}), **keys}


def http(*files: Entry | str, **keys: Any) -> Entry:
    """Return an http entry; a file may be its URL alone."""
    listed = [{"url": each} if isinstance(each, str) else each for each in files]
    return {"source": "http", "files": listed, **keys}


def declare(folder: Path, models: dict[str, Entry]) -> None:
    """Write models.yaml (JSON is YAML too)."""
    text = json.dumps({"version": 1, "models": models}, indent=1)
    (folder / "models.yaml").write_text(text, encoding="utf-8")


def project(folder: Path, models: dict[str, Entry] | None = None, **settings: Any) -> Project:
    """Return the project of a folder as a new process sees it, with impatient settings.

    Args:
        folder: Where models.yaml lies.
        models: What it is to declare from now on; None: what it declares already.
        settings: In place of the defaults.
    """
    if models is not None:
        declare(folder, models)
    impatient = {"timeout_seconds": 5.0, "retries": 1, **settings}
    return Project(folder / "models.yaml", Settings(**impatient))


def lock(
    folder: Path, models: dict[str, Entry] | None = None, *, upgrade: bool = False, **settings: Any
) -> list[str]:
    """Lock as a process of its own would, and return what it said."""
    said: list[str] = []
    lock_saying(project(folder, models, **settings), said.append, upgrade=upgrade)
    return said


def lock_saying(
    declared: Project, say: Callable[[str], None] = print, *, upgrade: bool = False
) -> None:
    """Lock over a transport of its own."""
    with session(declared) as own:
        locking.lock(declared, own, say, LockOptions(upgrade=upgrade, fills=True))


@contextmanager
def session(declared: Project) -> Iterator[Session]:
    """Give what asks the servers in a process of its own; its notices go to standard error."""
    with closing(Client(declared.settings)) as transport:
        yield Session(transport, lambda line: print(line, file=sys.stderr))  # noqa: T201


def sync(folder: Path, models: dict[str, Entry] | None = None) -> None:
    """Bring every model up to date, as a process of its own would."""
    if models is not None:
        declare(folder, models)
    sync_models(None, folder)


def checked(declared: Project, stop: Stop | None = None) -> list[FileCheck]:
    """Read every file of a project again, as `doit verify` does."""
    reading = Run().reading("verifying")
    return verify(declared.models(), reading, stop or Stop(), lambda _artifact: None)


def locked(folder: Path, name: str = "m") -> LockedModel:
    """Return what models.lock holds of a model now."""
    return project(folder).lockfile.models[name]


def serve_gpt2(server: FaultyServer, size: str, names: Iterable[str] = FILES) -> str:
    """Put a small GPT-2 on the server, and return its base URL."""
    for name in names:
        server.put(f"/gpt-2/{size}/{name}", f"{size} {name}\n".encode())
    return server.url("/gpt-2")


def edit_lock(folder: Path, old: str, new: str) -> None:
    """Change models.lock by hand; fails when there is nothing to change."""
    path = folder / "models.lock"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
