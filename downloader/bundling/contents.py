"""What goes into a bundle (bundles.py): its four files, and each target's bytes once."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from downloader.artifact import Artifact
from downloader.bundling.bundles import LOCK, MANIFEST, MARK, RECEIPTS, Mark
from downloader.disk.durable import naming
from downloader.errors import DigestMismatch, LockError
from downloader.fs.rooted_path import RootedPath
from downloader.lock import lockfile
from downloader.model import Model
from downloader.project import Project
from downloader.store import How

SHOWN = 10


class _Receipt(msgspec.Struct, frozen=True, kw_only=True):
    model: str
    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One target that goes into a bundle, for all that have its bytes.

    Attributes:
        name: Model and path, for people.
        target: Where it is.
        size: Its bytes.
        sha256: What they are to be, in hex.
        how: How the entry wants its links.
    """

    name: str
    target: RootedPath
    size: int
    sha256: str
    how: How


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What goes into a bundle.

    Attributes:
        texts: Its four files by name, in their order.
        pieces: One for each blob, sorted by digest.
        files: How many targets they are.
    """

    texts: dict[str, bytes]
    pieces: tuple[Piece, ...]
    files: int

    @property
    def size(self) -> int:
        """The bytes of all blobs."""
        return sum(each.size for each in self.pieces)


def contents(project: Project, models: Sequence[Model]) -> Contents:
    """Return what a bundle of these models holds, as far as a look at each file tells.

    Raises:
        LockError: A model is not locked, or not all of its files are here; names them.
        StoreError: models.yaml cannot be read.
    """
    if stale := [model.name for model in models if model.is_stale or model.locked is None]:
        raise LockError(f"models.lock is not up to date for {', '.join(stale)}.", hint=_go(stale))
    wanted = [(model, artifact) for model in models for artifact in model.artifacts]
    if absent := [(model.name, each.path) for model, each in wanted if not _is_here(model, each)]:
        named = ", ".join(f"{name}/{path}" for name, path in absent[:SHOWN])
        more = f" and {len(absent) - SHOWN:,} more" * (len(absent) > SHOWN)
        what = f"Not here as models.lock says: {named}{more}."
        raise LockError(what, hint=_go(dict.fromkeys(name for name, _ in absent)))
    with naming(project.manifest_path, "read"):
        manifest = project.manifest_path.read_bytes()
    texts = {
        MARK: msgspec.json.encode(Mark(models=sorted(each.name for each in models))) + b"\n",
        LOCK: lockfile.dump(project.lockfile),
        MANIFEST: manifest,
        RECEIPTS: b"".join(sorted(_receipt(model, each) for model, each in wanted)),
    }
    pieces = {str(each.sha256): _piece(model, each) for model, each in reversed(wanted)}
    ordered = tuple(pieces[sha256] for sha256 in sorted(pieces))
    return Contents(texts=texts, pieces=ordered, files=len(wanted))


def _go(names: Iterable[str]) -> str:
    return f"Run `doit {' '.join(f'fetch:{name}' for name in names)}` first."


def _is_here(model: Model, artifact: Artifact) -> bool:
    try:
        status = os.lstat(RootedPath(model.folder, artifact.path))
    except OSError:
        return False
    is_locked = artifact.is_pinned and artifact not in model.not_unpacked
    return is_locked and artifact.size in (None, status.st_size)


def _receipt(model: Model, each: Artifact) -> bytes:
    sha256, size = str(each.sha256), os.lstat(RootedPath(model.folder, each.path)).st_size
    line = _Receipt(model=model.name, path=each.path, size=size, sha256=sha256)
    return msgspec.json.encode(line) + b"\n"


def _piece(model: Model, each: Artifact) -> Piece:
    target = RootedPath(model.folder, each.path)
    return Piece(
        name=f"{model.name}/{each.path}",
        target=target,
        size=os.lstat(target).st_size,
        sha256=str(each.sha256),
        how=model.declared.entry.link,
    )


def damaged(pieces: Sequence[Piece]) -> DigestMismatch:
    """Return the error that names targets which are not what the lock says."""
    named = ", ".join(each.name for each in pieces[:SHOWN])
    more = f" and {len(pieces) - SHOWN:,} more" * (len(pieces) > SHOWN)
    return DigestMismatch(
        f"Not the bytes that models.lock says, so the bundle is not whole: {named}{more}.",
        hint="Run `doit verify --repair`, then the same command again.",
    )
