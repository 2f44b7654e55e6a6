"""A project of one model `m` with the file a.bin, brought up to date file by file."""

from pathlib import Path
from typing import Any

from downloader.targets._files import Outcome
from downloader.targets.engine import Engine
from downloader.targets.plan import target_decisions
from tests.projects import http, lock, project, sha256

BYTES = b"weights"


def target(folder: Path, path: str = "a.bin") -> Path:
    """Return where a file of the model goes."""
    return folder / "models" / "m" / path


def put(folder: Path, content: bytes) -> None:
    """Put something in its place."""
    target(folder).parent.mkdir(parents=True, exist_ok=True)
    target(folder).write_bytes(content)


def sync_one(folder: Path, path: str = "a.bin", **settings: Any) -> Outcome:
    """Bring one file up to date as a process of its own would."""
    syncer = Engine(project(folder, **settings))
    try:
        return syncer.sync("m", path)
    finally:
        syncer.close()


def lock_pinned(folder: Path, url: str) -> None:
    """Lock it with its SHA-256 declared."""
    lock(folder, {"m": http({"url": url, "sha256": sha256(BYTES)})})


def whys(folder: Path) -> list[str | None]:
    """Return why each target is stale, None where it is not."""
    models = project(folder).models()
    return [found.why or None for model in models for _, found in target_decisions(model)]
