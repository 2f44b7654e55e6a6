"""Every file read again and compared with the lock, on all cores; no network, nothing changed."""

import os
import stat
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from downloader.artifact import Artifact
from downloader.hashing import sha256_of
from downloader.model import Model


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What one target is.

    Attributes:
        model: The model's name.
        path: The artifact's path.
        state: "ok", "missing", "wrong kind", "changed", or "unpinned" where nothing says which
            bytes are right.
        size: The target's length in bytes, 0 when there is none.
    """

    model: str
    path: str
    state: str
    size: int

    @property
    def is_bad(self) -> bool:
        """Whether the target is not what the lock says."""
        return self.state != "ok"


def verify(models: Iterable[Model]) -> Iterator[Verdict]:
    """Yield a verdict for every file, in the models' order, while others are being read.

    hashlib releases the GIL, so threads are enough.
    """
    files = [(model, artifact) for model in models for artifact in model.artifacts]
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        yield from pool.map(lambda each: _verdict(*each), files)


def _verdict(model: Model, artifact: Artifact) -> Verdict:
    target = model.folder / artifact.path
    try:
        status = target.lstat()
    except OSError:
        return Verdict(model=model.name, path=artifact.path, state="missing", size=0)
    state = _state(artifact, target, status)
    return Verdict(model=model.name, path=artifact.path, state=state, size=status.st_size)


def _state(artifact: Artifact, target: Path, status: os.stat_result) -> str:
    if not stat.S_ISREG(status.st_mode):
        return "wrong kind"
    if artifact.sha256 is None:
        return "unpinned"
    if artifact.size not in (None, status.st_size):
        return "changed"
    try:
        return "ok" if sha256_of(target) == artifact.sha256 else "changed"
    except OSError:
        return "changed"
