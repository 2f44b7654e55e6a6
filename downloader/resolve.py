"""Entry -> exact files: what follows from the entry, what the server adds, what was pinned before.

The clever half of the program. What it decides stands in models.lock, and fetching obeys that.
"""

from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase

import msgspec

from downloader.artifact import Artifact
from downloader.entries import AnyEntry
from downloader.errors import ManifestError
from downloader.follows import agree
from downloader.lockfile import LockedModel
from downloader.manifest import entry_digest
from downloader.sources.interface import Resolution
from downloader.sources.registry import source_for, source_name

Probe = Callable[[Sequence[Artifact]], Sequence[Artifact]]


def outline(name: str, entry: AnyEntry) -> LockedModel:
    """Return what follows from the entry alone, with its include and exclude patterns applied.

    Raises:
        SourceError: This version has no such source.
        ManifestError: The patterns leave no file.
    """
    resolution = source_for(entry).outline()
    files = tuple(_chosen(resolution, entry))
    if not files:
        raise ManifestError(
            f"models.{name}: include and exclude leave none of its files.",
            hint="The files are: " + ", ".join(each.path for each in resolution.artifacts[:10]),
        )
    return LockedModel(
        entry=entry_digest(entry),
        source=source_name(entry),
        revision=resolution.revision,
        files=files,
    )


def _chosen(resolution: Resolution, entry: AnyEntry) -> Iterable[Artifact]:
    for artifact in resolution.artifacts:
        included = not entry.include or any(fnmatchcase(artifact.path, p) for p in entry.include)
        if included and not any(fnmatchcase(artifact.path, p) for p in entry.exclude):
            yield artifact


def lock_model(
    outlined: LockedModel, previous: LockedModel | None, probe: Probe, *, upgrade: bool
) -> LockedModel:
    """Return the model as it is to be locked.

    Args:
        outlined: What follows from the entry.
        previous: What was locked before, if anything.
        probe: Asks the server for what is not known of these artifacts, and returns them in order.
        upgrade: Ask also for what was pinned on first use, and drop the pin when it changed.
    """
    before = _still_meant(outlined, previous)
    kept = {
        path: artifact
        for path, artifact in before.items()
        if artifact.is_pinned and not (upgrade and artifact.first_use)
    }
    asked = [
        artifact
        for artifact in outlined.files
        if artifact.path not in kept and not _is_known(artifact)
    ]
    found = {artifact.path: artifact for artifact in probe(asked)}
    for path, artifact in found.items():
        if path in before and before[path].is_pinned and _is_unchanged(before[path], artifact):
            kept[path] = before[path]
    files = (kept.get(each.path) or found.get(each.path) or each for each in outlined.files)
    return msgspec.structs.replace(outlined, files=tuple(files))


def _still_meant(outlined: LockedModel, previous: LockedModel | None) -> dict[str, Artifact]:
    """Return the files locked before that are still meant: same revision, same URL or name."""
    if previous is None or (previous.source, previous.revision) != (
        outlined.source,
        outlined.revision,
    ):
        return {}
    locked = {artifact.path: artifact for artifact in previous.files}
    return {
        declared.path: locked[declared.path]
        for declared in outlined.files
        if declared.path in locked and agree(declared, locked[declared.path])
    }


def _is_known(artifact: Artifact) -> bool:
    return artifact.is_pinned and artifact.size is not None


def _is_unchanged(before: Artifact, found: Artifact) -> bool:
    """Whether the server still shows what the pin was made from; silence counts as a yes."""
    is_same_md5 = None in (found.md5, before.md5) or found.md5 == before.md5
    return found.size in (None, before.size) and is_same_md5


def pinned(artifact: Artifact, size: int, sha256: str) -> Artifact:
    """Return the artifact with what its first verified fetch brought."""
    is_first_use = artifact.first_use or not artifact.is_pinned
    return msgspec.structs.replace(artifact, size=size, sha256=sha256, first_use=is_first_use)
