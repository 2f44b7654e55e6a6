"""models.yaml with all that follows from it alone, kept compiled between runs.

Reading YAML takes longer than everything else in a run with nothing to do: so what it means is
kept as `.modelmake/manifest.json`, bound to the digest of its text and to this program. It is a
cache: it may be deleted at any time, and is written only where that is possible.
"""

import contextlib
import hashlib
from pathlib import Path

import msgspec

from downloader.errors import ManifestError, SourceError, StoreError
from downloader.fs.rooted_path import RootedPath
from downloader.lock.lockfile import LockedModel
from downloader.manifest.entries import AnyEntry
from downloader.version import __version__

FORMAT = 2


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
        text = manifest.read_bytes()
    except OSError as error:
        raise ManifestError(
            f"{manifest} cannot be read: {error.strerror}.",
            hint="Write a models.yaml beside dodo.py, or name another with MODELMAKE_MANIFEST.",
        ) from None
    binding = _binding(text)
    return _cached(cache, binding) or _compiled(text, manifest.name, binding, cache)


def _binding(text: bytes) -> str:
    return f"{FORMAT} {__version__} {hashlib.sha256(text).hexdigest()}"


def _cached(cache: RootedPath, binding: str) -> list[Declared] | None:
    try:
        found = msgspec.json.decode(cache.read_bytes(), type=_Compiled)
    except (OSError, ValueError, RecursionError):  # gone, torn, or not even text
        return None
    return found.models if found.binding == binding else None


def _compiled(text: bytes, name: str, binding: str, cache: RootedPath) -> list[Declared]:
    from downloader.disk.durable import write_file  # noqa: PLC0415
    from downloader.manifest import manifest  # noqa: PLC0415 - only a changed manifest is parsed

    _give_schema(text, cache.parent)
    models = [_declared(key, entry) for key, entry in manifest.load(text, name).models.items()]
    _check_targets(models, name)
    with contextlib.suppress(StoreError):
        write_file(cache, msgspec.json.encode(_Compiled(binding=binding, models=models)))
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
