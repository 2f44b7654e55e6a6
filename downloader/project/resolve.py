"""Entry -> exact files: what follows from the entry, what the server adds, what was pinned before.

The clever half of the program. What it decides stands in models.lock, and fetching obeys that.
"""

from collections.abc import Callable, Sequence

import msgspec

from downloader.artifact import Artifact, LockedModel, check_paths
from downloader.errors import ManifestError, SourceError
from downloader.project.lockfile import agree
from downloader.sources.interface import AskingSource, Entry, Provider, Resolution

Probe = Callable[[Sequence[Artifact]], Sequence[Artifact]]


def outline(name: str, entry: Entry) -> LockedModel | None:
    """Return what follows from the entry alone, with its include and exclude patterns applied.

    None if only the provider can tell which files there are.

    Raises:
        ManifestError: The patterns leave no file.
    """
    resolution = entry.source().outline()
    return None if resolution is None else _as_locked(name, entry, resolution)


def ask(name: str, entry: Entry, source: AskingSource, provider: Provider) -> LockedModel:
    """Return what the provider says that the entry means now.

    Raises:
        ModelmakeError: The provider has no such thing, could not be asked, or names a file that may
            not be written.
        ManifestError: The patterns leave no file.
    """
    resolution = source.resolve(provider)
    paths = [artifact.path for artifact in (*resolution.archives, *resolution.artifacts)]
    if problem := check_paths(paths):
        raise SourceError(f"The provider's list cannot be used: {problem}.")
    return _as_locked(name, entry, resolution)


def _as_locked(name: str, entry: Entry, resolution: Resolution) -> LockedModel:
    files = tuple(each for each in resolution.artifacts if entry.wants(each.path))
    if not (files or resolution.archives):
        raise ManifestError(
            f"models.{name}: include and exclude leave none of its files.",
            hint="The files are: " + ", ".join(each.path for each in resolution.artifacts[:10]),
        )
    return LockedModel(
        entry=entry.digest(),
        source=entry.source_name,
        revision=resolution.revision,
        archives=resolution.archives,
        files=files,
        left_out=resolution.left_out,
        gated=resolution.gated,
    )


def lock_model(
    outlined: LockedModel, previous: LockedModel | None, probe: Probe, *, upgrade: bool
) -> LockedModel:
    """Return the model as it is to be locked.

    Args:
        outlined: What follows from the entry.
        previous: What was locked before, if anything.
        probe: Asks the server for what is not known of these artifacts, and returns them in order.
        upgrade: Ask also for what was pinned on first use, and drop the pin when it changed.

    What the server does not show otherwise stays as it was locked.
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
        if path in before and shows_the_same(before[path], artifact):
            kept[path] = _filled(before[path], artifact)
    files = (kept.get(each.path) or found.get(each.path) or each for each in outlined.files)
    return msgspec.structs.replace(outlined, files=tuple(files))


def fill(locked: LockedModel, probe: Probe) -> LockedModel:
    """Return the model with the sizes that nobody could tell when it was locked; no pin changes.

    Args:
        locked: As it is locked, for the entry as it stands.
        probe: As in `lock_model`.
    """
    unknown = [each for each in locked.files if each.size is None]
    found = {each.path: each for each in probe(unknown)}
    files = (_sized(each, found.get(each.path, each)) for each in locked.files)
    return msgspec.structs.replace(locked, files=tuple(files))


def _sized(before: Artifact, found: Artifact) -> Artifact:
    if before.is_pinned and before.size is None:
        return msgspec.structs.replace(before, size=found.size)
    return _filled(before, found)


def _filled(before: Artifact, found: Artifact) -> Artifact:
    """Return a file as it was locked, with what the server adds if nothing was known of it."""
    if before.is_pinned or before.size is not None:
        return before
    return msgspec.structs.replace(before, size=found.size, md5=found.md5, etag=found.etag)


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


def keep_first_pins(asked: LockedModel, previous: LockedModel | None) -> LockedModel:
    """Return the model as asked for now, with what is still true of what was locked before.

    A provider without digests shows a file by its path, or an archive by its checkpoint, with size
    and validator only: what was fetched under the same ones keeps its SHA-256, and, where the entry
    is the same too, the list of files that it unpacks to. A digest that the provider tells counts:
    git's id of the bytes also says that another revision has the same file.

    Args:
        asked: What the provider says now.
        previous: What was locked before, if anything.
    """
    if previous is None:
        return asked
    is_same_revision = previous.revision == asked.revision
    before = {
        _key(each): each
        for each in (*previous.archives, *previous.files)
        if not each.archive and (is_same_revision or each.git_sha1)
    }
    archives = tuple(_with_pin(each, before.get(_key(each))) for each in asked.archives)
    unpacked = {each.path for each in archives if each.is_pinned and is_same_revision} & {
        each.path for each in previous.archives if previous.entry == asked.entry
    }
    members = tuple(each for each in previous.files if each.archive in unpacked)
    files = tuple(_with_pin(each, before.get(_key(each))) for each in asked.files)
    return msgspec.structs.replace(asked, archives=archives, files=members or files)


def _key(asked: Artifact) -> tuple[int | None, str] | str:
    """Return what an artifact is known by: its checkpoint, its bytes by git's id, or its path."""
    found = asked.checkpoint
    return (asked.git_sha1 or asked.path) if found is None else (found.step, found.request)


def _with_pin(asked: Artifact, before: Artifact | None) -> Artifact:
    if before is not None and asked.is_pinned and before.sha256 == asked.sha256:
        size = before.size if asked.size is None else asked.size
        return msgspec.structs.replace(asked, size=size).with_root_of(before)
    if asked.is_pinned or before is None or not _shows_the_same(before, asked):
        return asked
    return _as_before(asked, before)


def _as_before(asked: Artifact, before: Artifact) -> Artifact:
    """Return an artifact as asked for now, with what was found out about the same bytes before.

    Field by field: whatever else the lock said of it was not compared with the new entry.
    """
    checkpoint = asked.checkpoint
    if checkpoint and before.checkpoint:
        came, created = before.checkpoint.came, before.checkpoint.created
        checkpoint = msgspec.structs.replace(checkpoint, came=came, created=created)
    return msgspec.structs.replace(
        asked,
        size=before.size,
        sha256=before.sha256,
        root=before.root,
        first_use=before.first_use,
        etag=before.etag,
        checkpoint=checkpoint,
    )


def _shows_the_same(before: Artifact, found: Artifact) -> bool:
    if before.git_sha1 != found.git_sha1:
        return False
    is_same_etag = None in (before.etag, found.etag) or before.etag == found.etag
    is_same_place = is_same_etag and found.url == before.url
    return before.is_pinned and is_same_place and found.size in (None, before.size)


def _is_known(artifact: Artifact) -> bool:
    return artifact.is_pinned and artifact.size is not None


def shows_the_same(before: Artifact, found: Artifact) -> bool:
    """Whether the server still shows what was locked; silence counts as a yes.

    MD5 is compared before the validator: one file uploaded twice has two ETags. A weak one says
    nothing of bytes (RFC 9110, 8.8.1).
    """
    if before.size is not None and found.size not in (None, before.size):
        return False
    if before.md5 and found.md5:
        return before.md5 == found.md5
    etags = [each.etag for each in (before, found) if each.etag]
    return len(set(etags)) < 2 or any(each.startswith("W/") for each in etags)  # noqa: PLR2004


def pinned(
    artifact: Artifact, size: int, sha256: str, etag: str | None = None, md5: str | None = None
) -> Artifact:
    """Return the artifact with what its first verified download showed, and no older hint.

    Args:
        artifact: As it was locked.
        size: In bytes.
        sha256: Of all of them.
        etag: What the first location said, if the bytes came from there.
        md5: What a server published, if it was compared with the bytes.
    """
    is_first_use = artifact.first_use or not artifact.is_pinned
    return msgspec.structs.replace(
        artifact,
        size=size,
        sha256=sha256,
        first_use=is_first_use,
        # Of a published digest a wrong hint is replaced, and none is added: the provider that
        # publishes it would have to be asked for it each time.
        etag=etag if (is_first_use and not artifact.git_sha1) or artifact.etag else None,
        md5=md5 if is_first_use or artifact.md5 else None,
    )


def facts(locked: Artifact, declared: Artifact | None) -> Artifact:
    """Return what is certain of a file: without what a server said when it was only asked.

    A probe sees one reply to `bytes=0-0`, perhaps of a captive portal. So its size, MD5 and ETag
    help to plan a run, and do not verify the bytes. What a download showed does: it stands beside
    the SHA-256 of first use, or beside a root, which is computed over the file itself. And so does
    what a provider lists; of an archive with a checkpoint it lists nothing.

    Args:
        locked: As it is locked.
        declared: What follows from the entry alone; None if its provider lists the files.
    """
    is_listed = declared is None and locked.checkpoint is None
    if locked.first_use or locked.root or is_listed:
        return locked
    size, md5 = (declared.size, declared.md5) if declared else (None, None)
    if (locked.size, locked.md5, locked.etag) == (size, md5, None):
        return locked
    return msgspec.structs.replace(locked, size=size, md5=md5, etag=None)
