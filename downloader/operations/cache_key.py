"""The cache key of some models: a digest of exactly which bytes are to lie where.

It is made of one line for each file of theirs, `FOLDER NUL PATH NUL SHA-256` with a line break
behind it, sorted: the model's folder relative to models.yaml, the path below that, both posix. It
changes when bytes or their places change, and for nothing else. What is left out on purpose:
sizes, which a SHA-256 fixes and a lock may learn later; names of models, URLs, validators, marks of
first use and digests of entries, which change while the bytes stay; times, machines, absolute
paths and the order of things.
"""

import hashlib
from collections.abc import Iterable, Sequence

import msgspec

from downloader.artifact import task_name
from downloader.errors import LockError, ModelmakeError
from downloader.fs.files import PRIVATE_FOLDER, Private
from downloader.project.project import Model, Project

PREFIX = "modelmake-v1-"
"""Prefix of every key of this format; another format of receipts or keys raises it."""


class CachedModel(msgspec.Struct, frozen=True, kw_only=True):
    """One of the models a key is about.

    Attributes:
        name: Its key in models.yaml.
        folder: Where its files go, posix, relative to models.yaml.
        files: How many.
        total_bytes: How long they are together; None if the lock does not know one.
    """

    name: str
    folder: str
    files: int
    total_bytes: int | None = msgspec.field(name="bytes")


class CacheKey(msgspec.Struct, frozen=True, kw_only=True):
    """Data that a CI service needs to cache models; docs/ci.md describes its JSON.

    Attributes:
        key: The same on every machine for the same bytes in the same places.
        restore_prefix: What keys of other bytes begin with; what such a cache has is worth taking.
        paths: The models' folders with their receipts, posix, relative to models.yaml, sorted.
        exclude: Folders below those that are not worth keeping; most often none of them is there.
        total_bytes: As in CachedModel, of all models.
        models: Sorted by name.
    """

    key: str
    restore_prefix: str = PREFIX
    paths: list[str]
    exclude: list[str]
    total_bytes: int | None = msgspec.field(name="bytes")
    models: list[CachedModel]


def of_project(project: Project, names: Sequence[str] = ()) -> CacheKey:
    """Return the key of the named models; with no name, of those that are not optional.

    What is already here makes no difference, so that every machine chooses the same ones.

    Raises:
        ModelmakeError: There is no such model, or none at all.
        LockError: models.lock is missing, stale for one of them, or has no SHA-256 for a file.
        SourceError: This version cannot fetch one of them.
    """
    wanted = {project.named(name).name for name in names}
    models = [
        each
        for each in _models(project)
        if (each.name in wanted if wanted else not each.declared.is_optional)
    ]
    if not models:
        raise ModelmakeError(
            f"{project.manifest_path.name} declares no model that is not optional.",
            hint="Name those that are meant: `doit ci-key MODEL`.",
        )
    _check_current(project, models)
    _check_pinned(project, models)
    return _of_models(sorted(models, key=lambda each: each.name))


def as_json(key: CacheKey) -> str:
    """Return all of it as one indented JSON document."""
    return msgspec.json.format(msgspec.json.encode(key), indent=2).decode()


def _models(project: Project) -> list[Model]:
    if not project.lock_path.exists():
        raise LockError(f"{project.lock_path.name} is missing.", hint=project.advice("`doit lock`"))
    return project.models()


def _check_current(project: Project, models: Iterable[Model]) -> None:
    stale = [each for each in models if each.is_stale]
    if stale:
        raise LockError(
            f"{project.lock_path.name} is stale for {', '.join(each.name for each in stale)}.",
            hint=project.advice("`doit lock`"),
        )


def _check_pinned(project: Project, models: Iterable[Model]) -> None:
    unpinned = [f"{each.name}/{path}" for each in models for path in _unpinned(each)]
    if unpinned:
        first = unpinned[0].partition("/")[0]  # an optional one is fetched by its name only
        others = f" and {len(unpinned) - 1} more" * (len(unpinned) > 1)
        raise LockError(
            f"{project.lock_path.name} does not pin {unpinned[0]}{others}:"
            " a key would stay when those bytes change.",
            hint=project.advice(f"`doit {task_name(first)}`"),
        )


def _unpinned(model: Model) -> list[str]:
    """Return what has no digest: files, and archives whose files nobody knows yet."""
    unknown = model.not_unpacked
    return [each.path for each in model.artifacts if not each.is_pinned or each in unknown]


def _of_models(models: Sequence[Model]) -> CacheKey:
    folders = sorted({each.declared.folder for each in models})
    cached = [_cached(each) for each in models]
    return CacheKey(
        key=f"{PREFIX}{_digest(models)}",
        paths=folders,
        # What is unfinished or bad belongs in no cache.
        exclude=[f"{each}/{PRIVATE_FOLDER}/{name}" for each in folders for name in Private],
        total_bytes=_sum(each.total_bytes for each in cached),
        models=cached,
    )


def _digest(models: Iterable[Model]) -> str:
    lines = {
        f"{model.declared.folder}\0{each.path}\0{each.sha256}\n"
        for model in models
        for each in model.artifacts
    }
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()


def _cached(model: Model) -> CachedModel:
    return CachedModel(
        name=model.name,
        folder=model.declared.folder,
        files=len(model.artifacts),
        total_bytes=_sum(each.size for each in model.artifacts),
    )


def _sum(sizes: Iterable[int | None]) -> int | None:
    total = 0
    for size in sizes:
        if size is None:
            return None
        total += size
    return total
