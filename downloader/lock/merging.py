"""Two runs that changed one lockfile -> a lockfile with what both of them did. Pure.

Each part is compared with how this run found it: what only one of the two changed is as that one
has it. The parts are the models and, where both runs changed a model of one entry, its files; an
archive is one part with all that came out of it. A file that both pinned keeps the pin that was
written first.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

import msgspec

from downloader.artifact import Artifact
from downloader.lock.lockfile import LockedModel, Lockfile

P = TypeVar("P")
Part = tuple[tuple[Artifact, ...], tuple[Artifact, ...]]
"""Archives and files."""


def merge(found: Lockfile, ours: Lockfile, theirs: Lockfile) -> Lockfile:
    """Return a lockfile with the changes of both runs.

    Args:
        found: As this run read it.
        ours: As this run wants it.
        theirs: As it is now, which another run may have written.
    """
    models = _merged(found.models, ours.models, theirs.models, _one_model)
    return Lockfile(models=models)


def _merged(
    found: Mapping[str, P],
    ours: Mapping[str, P],
    theirs: Mapping[str, P],
    settle: Callable[[P | None, P, P], P],
) -> dict[str, P]:
    merged = {}
    for key in (*theirs, *(key for key in ours if key not in theirs)):
        before, mine, other = found.get(key), ours.get(key), theirs.get(key)
        if mine == before:
            kept = other
        elif other == before or mine is None or other is None:
            kept = mine
        else:
            kept = settle(before, mine, other)
        if kept is not None:
            merged[key] = kept
    return merged


def _one_model(before: LockedModel | None, mine: LockedModel, other: LockedModel) -> LockedModel:
    if mine.entry != other.entry:
        is_mine_older = before is not None and mine.entry == before.entry
        return other if is_mine_older else mine
    known = _parts(before) if before and before.entry == mine.entry else {}
    parts = _merged(known, _parts(mine), _parts(other), _one_part)
    return msgspec.structs.replace(
        mine,
        archives=_sorted(each for archives, _ in parts.values() for each in archives),
        files=_sorted(each for _, files in parts.values() for each in files),
    )


def _one_part(_before: Part | None, mine: Part, other: Part) -> Part:
    archives, files = other
    if not all(each.is_pinned for each in archives or files):
        return mine
    return _with_roots(archives, mine[0]), _with_roots(files, mine[1])


def _with_roots(kept: tuple[Artifact, ...], mine: tuple[Artifact, ...]) -> tuple[Artifact, ...]:
    """Return what is kept, with what this run found out about the same bytes."""
    known = {each.path: each for each in mine}
    return tuple(each.with_root_of(known.get(each.path)) for each in kept)


def _parts(model: LockedModel) -> dict[str, Part]:
    parts: dict[str, Part] = {each.path: ((each,), ()) for each in model.archives}
    for each in model.files:
        key = each.archive or each.path
        archives, files = parts.get(key, ((), ()))
        parts[key] = archives, (*files, each)
    return parts


def _sorted(artifacts: Iterable[Artifact]) -> tuple[Artifact, ...]:
    return tuple(sorted(artifacts, key=lambda each: each.path))
