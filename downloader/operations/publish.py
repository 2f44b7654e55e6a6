"""Publish what models.lock names, so that others need not ask its providers (docs/mirrors.md).

    what = contents(project, models)
    todo = missing(place, what, stop)
    upload(place, todo, run, stop)
    place.write(what.edition)               # last: a lock there implies its blobs

Only what the place does not have is read here. Each file is hashed while it is uploaded, so one
that was changed since it was verified is never published under its name in models.lock.
"""

import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from downloader.artifact import Artifact, task_name
from downloader.errors import DigestMismatch, Interrupted, LockError, ModelmakeError, Stop
from downloader.fs.digests import joined_layers, layer_lines
from downloader.fs.files import look
from downloader.fs.rooted_path import RootedPath
from downloader.progress.events import Done, shown_path
from downloader.progress.tracker import Run
from downloader.project import lockfile
from downloader.project.lockfile import Lockfile
from downloader.project.project import Model, Project
from downloader.targets.shared import KnownLayers
from downloader.transfer.places import Edition, Place, Upload

ASKED_AT_ONCE = 32
NAMED = 10
"""So many files of a group are named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """One file of a model that is to be published.

    Attributes:
        model: The model's name.
        path: Its path in the model's folder.
        target: Where it is, or should be.
        size: In bytes.
        sha256: What models.lock says it is, in hex.
    """

    model: str
    path: str
    target: RootedPath
    size: int
    sha256: str

    @property
    def name(self) -> str:
        """Model and path."""
        return f"{self.model}/{self.path}"

    @property
    def is_here(self) -> bool:
        """Whether there is a file of its size at its place."""
        status = look(self.target)
        return status is not None and status.st_size == self.size


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What is to be published.

    Attributes:
        blobs: One file for each digest, sorted by model and path.
        files: How many files these are in the models.
        edition: The lock of these models alone, and its pieces.
    """

    blobs: tuple[Blob, ...]
    files: int
    edition: Edition

    @property
    def size(self) -> int:
        """The bytes of all blobs."""
        return sum(blob.size for blob in self.blobs)


def contents(project: Project, models: Sequence[Model]) -> Contents:
    """Return what these models are; no file is looked at.

    Raises:
        LockError: A model is not locked, or not all of its files are pinned; names them.
    """
    if stale := [model.name for model in models if model.is_stale or model.locked is None]:
        raise LockError(f"models.lock is not up to date for {', '.join(stale)}.", hint=_go(stale))
    wanted = [
        (model, artifact)
        for model in models
        for artifact in model.artifacts
        if artifact.content is None
    ]
    if unknown := [pair for pair in wanted if pair[1].sha256 is None or pair[1].size is None]:
        names = _some([f"{model.name}/{artifact.path}" for model, artifact in unknown])
        hint = _go(dict.fromkeys(model.name for model, _ in unknown))
        raise LockError(f"models.lock has no SHA-256 yet of {names}.", hint=hint)
    blobs = [_blob(model, artifact) for model, artifact in wanted]
    by_digest = {blob.sha256: blob for blob in reversed(blobs)}
    own = {model.name: model.locked for model in models if model.locked}
    lock = lockfile.dump(Lockfile(models=own))
    digests = {blob.sha256: blob.size for blob in blobs}
    return Contents(
        blobs=tuple(sorted(by_digest.values(), key=lambda blob: (blob.model, blob.path))),
        files=len(blobs),
        edition=Edition(lock, _pieces(project, wanted), tuple(sorted(digests.items()))),
    )


def _blob(model: Model, artifact: Artifact) -> Blob:
    return Blob(
        model=model.name,
        path=artifact.path,
        target=RootedPath(model.folder, artifact.path),
        size=int(artifact.size or 0),
        sha256=str(artifact.sha256),
    )


def _pieces(project: Project, files: Iterable[tuple[Model, Artifact]]) -> bytes:
    """Return the piece layers of these files that models.pieces has."""
    roots = {artifact.root for _, artifact in files if artifact.root}
    if not roots:
        return b""
    beside = RootedPath.of(KnownLayers(project).beside)
    return joined_layers((), layer_lines(beside) if beside.is_file() else (), roots)


def missing(place: Place, what: Contents, stop: Stop) -> list[Blob]:
    """Return the blobs that a place does not have, if all of them are here.

    Raises:
        LockError: Some are not; names them.
        ModelmakeError: The place cannot be used.
    """

    def is_there(blob: Blob) -> bool:
        stop.check()
        return place.has(blob.sha256, blob.size)

    with ThreadPoolExecutor(ASKED_AT_ONCE) as pool:
        has = list(pool.map(is_there, what.blobs))
    todo = [blob for blob, is_known in zip(what.blobs, has, strict=True) if not is_known]
    if absent := [blob for blob in todo if not blob.is_here]:
        names = _some([blob.name for blob in absent])
        hint = _go(dict.fromkeys(blob.model for blob in absent))
        raise LockError(f"Not here as models.lock says: {names}.", hint=hint)
    return todo


def upload(place: Place, blobs: Sequence[Blob], run: Run, stop: Stop) -> None:
    """Upload files, several at once; one that is damaged stops no other.

    Raises:
        DigestMismatch: Files are not what models.lock says; all others were published.
        ModelmakeError: The place refused, or cannot be reached.
        Interrupted: The run was stopped.
    """
    run.expect([(blob.model, blob.path, blob.size) for blob in blobs])
    failures: list[ModelmakeError] = []

    def put(blob: Blob) -> Blob | None:
        stop.check()
        if failures:
            return None
        try:
            _upload(place, blob, run, stop)
        except DigestMismatch:
            return blob
        except ModelmakeError as error:
            failures.append(error)
        return None

    with ThreadPoolExecutor(place.at_once) as pool:
        damaged = [blob.name for blob in pool.map(put, blobs) if blob]
    for error in sorted(failures, key=lambda error: not isinstance(error, Interrupted)):
        raise error
    if damaged:
        raise DigestMismatch(
            f"Not the bytes that models.lock says, so not published: {_some(damaged)}.",
            hint="Run `doit verify --repair`, then the same command again.",
        )


def _upload(place: Place, blob: Blob, run: Run, stop: Stop) -> None:
    began = time.monotonic()
    with run.file(blob.model, blob.path, blob.size) as observer:
        observer.started(0, blob.size, is_resumable=False)
        place.upload(
            Upload(
                name=blob.name,
                file=blob.target,
                sha256=blob.sha256,
                size=blob.size,
                moved=observer.moved,
                stop=stop,
            )
        )
    run.done(
        Done(
            model=blob.model,
            path=blob.path,
            target=shown_path(blob.target.path),
            verb="published",
            bytes=blob.size,
            moved_bytes=blob.size,
            seconds=time.monotonic() - began,
            sha256=blob.sha256,
        )
    )


def _go(names: Iterable[str]) -> str:
    return f"Run `doit {' '.join(map(task_name, names))}` first."


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return f"{', '.join(names[:NAMED])}{more}"
