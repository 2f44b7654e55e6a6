"""models.yaml with all that follows from it alone, kept compiled between runs.

Reading YAML takes longer than everything else in a run with nothing to do: so what it means is
kept as `.modelmake/manifest.json`, bound to the digest of its text, to this program, and to the
very file: its number on the disk and when it was changed last. No archive or repository can carry
that, so a compiled form that came with one is not believed. It is a cache: it may be deleted at any
time, and is written only where that is possible.
"""

import contextlib
import hashlib
import os
from pathlib import Path

import msgspec

from downloader import gate
from downloader.errors import ManifestError, SourceError, StoreError
from downloader.fs.rooted_path import RootedPath
from downloader.lock.lockfile import LockedModel
from downloader.manifest.entries import AnyEntry
from downloader.version import __version__

FORMAT = 3


class Declared(msgspec.Struct, frozen=True, kw_only=True):
    """One model of models.yaml.

    Attributes:
        name: Its key.
        entry: What is said of it.
        digest: The digest of the entry, as models.lock notes it.
        folder: Where its files go, relative to models.yaml, posix.
        outlined: What follows from the entry; None where only the provider can tell.
        is_known: Whether this version has such a source.
    """

    name: str
    entry: AnyEntry
    digest: str
    folder: str
    outlined: LockedModel | None
    is_known: bool = True

    @property
    def keeps_archives(self) -> bool:
        """Whether archives stay once their files are in place; true where there are none."""
        return bool(getattr(self.entry, "keep_archive", True))


class _Compiled(msgspec.Struct, frozen=True, kw_only=True):
    binding: str
    models: list[Declared]


def load(manifest: Path, cache: RootedPath) -> list[Declared]:
    """Return the manifest's models, compiled.

    Args:
        manifest: Path of models.yaml.
        cache: Where the compiled form is kept.

    Raises:
        ManifestError: It is missing or says something it may not.
    """
    try:
        with manifest.open("rb") as file:
            status, text = os.fstat(file.fileno()), file.read()
    except OSError as error:
        raise ManifestError(
            f"{manifest} cannot be read: {error.strerror}.",
            hint="Write a models.yaml beside dodo.py, or name another with MODELMAKE_MANIFEST.",
        ) from None
    binding = _binding(text, status)
    if (found := _cached(cache, binding)) is not None:
        return found
    from downloader.disk.durable import write_file  # noqa: PLC0415

    _give_schema(text, cache.parent)
    models = compiled(text, manifest.name)
    with contextlib.suppress(StoreError):
        write_file(cache, msgspec.json.encode(_Compiled(binding=binding, models=models)))
    return models


def _binding(text: bytes, status: os.stat_result) -> str:
    file = f"{status.st_dev} {status.st_ino} {status.st_mtime_ns} {status.st_ctime_ns}"
    return f"{FORMAT} {__version__} {hashlib.sha256(text).hexdigest()} {file}"


def _cached(cache: RootedPath, binding: str) -> list[Declared] | None:
    try:
        found = msgspec.json.decode(cache.read_bytes(), type=_Compiled)
    except (OSError, ValueError, RecursionError):  # gone, torn, or not even text
        return None
    is_meant = found.binding == binding and _may_be_used(found.models)
    return found.models if is_meant else None


def _may_be_used(models: list[Declared]) -> bool:
    """Whether names, paths and digests are such as a manifest that was just compiled has."""
    outlined = [each.outlined for each in models if each.outlined]
    files = [file for each in outlined for file in (*each.archives, *each.files)]
    return (
        all(gate.is_name(each.name) for each in models)
        and gate.are_safe([*(each.folder for each in models), *[file.path for file in files]])
        and gate.is_hex("".join([file.sha256 or "" for file in files]))
    )


def compiled(text: bytes, name: str) -> list[Declared]:
    """Return what a manifest's text means; nothing is read or written.

    Args:
        text: Of models.yaml.
        name: What it is called in messages.

    Raises:
        ManifestError: It says something it may not.
    """
    from downloader.manifest import manifest  # noqa: PLC0415 - only a changed manifest is parsed

    models = [_declared(key, entry) for key, entry in manifest.load(text, name).models.items()]
    _check_targets(models, name)
    return models


def _give_schema(text: bytes, private: RootedPath) -> None:
    """Write the schema that the manifest names for editors, also for one that is wrong.

    It is not in git: so a fresh clone gets it here, and an older one that of this program.
    """
    from downloader.manifest import schema  # noqa: PLC0415

    if schema.is_named_in(text):
        with contextlib.suppress(StoreError):
            schema.write(private / Path(schema.FILE).name)


def _declared(name: str, entry: AnyEntry) -> Declared:
    from downloader.lock import resolve  # noqa: PLC0415
    from downloader.manifest import manifest  # noqa: PLC0415

    outlined: LockedModel | None = None
    is_known = False
    with contextlib.suppress(SourceError):
        outlined = resolve.outline(name, entry)
        is_known = True
    return Declared(
        name=name,
        entry=entry,
        digest=manifest.entry_digest(entry),
        folder=manifest.folder(name, entry),
        outlined=outlined,
        is_known=is_known,
    )


def _check_targets(models: list[Declared], name: str) -> None:
    """Refuse two models that would write one file, on a disk that ignores case too.

    Raises:
        ManifestError: Names both targets.
    """
    from downloader.safe_path import find_collision  # noqa: PLC0415

    targets = (
        f"{model.folder}/{artifact.path}"
        for model in models
        if model.outlined
        for artifact in model.outlined.files
    )
    if found := find_collision(targets):
        raise ManifestError(
            f"{name}: {found[0]} and {found[1]} would be one place on some disks.",
            hint="Give one of the models another `to`.",
        )
