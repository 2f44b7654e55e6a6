"""Artifacts <-> text of models.lock. Pure; the same artifacts always give the same bytes.

One file a line, models and paths sorted: diffs read well, two branches merge, and 10,000 files
load in milliseconds.
"""

import json
from collections import Counter
from collections.abc import Iterable
from typing import Annotated

import msgspec

from downloader.artifact import Artifact
from downloader.errors import LockError
from downloader.gate import shown
from downloader.lock import lock_gate
from downloader.lock.lock_gate import RESTORE_HINT

VERSION = 1
CONFLICT_MARKERS = (b"<<<<<<<", b"=======", b">>>>>>>")
Sha256Digest = Annotated[str, msgspec.Meta(pattern=r"\Asha256:[0-9a-f]{64}\Z")]


class LockedModel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One model's exact files.

    Attributes:
        entry: Digest of the manifest entry it was resolved from.
        source: The source's name.
        revision: The immutable version upstream, where the provider has one.
        archives: What the files are unpacked from, where they are; sorted by path.
        files: Sorted by path.
    """

    entry: Sha256Digest
    source: str
    revision: str | None = None
    archives: tuple[Artifact, ...] = ()
    files: tuple[Artifact, ...]

    def has_archive(self, path: str) -> bool:
        """Whether files are to be unpacked from the file at this path."""
        return any(each.path == path for each in self.archives)

    def out_of(self, archive: str) -> tuple[Artifact, ...]:
        """Return the files that come out of the archive; none as long as they are not known."""
        return tuple(each for each in self.files if each.archive == archive)

    def not_from(self, archive: str) -> tuple[Artifact, ...]:
        """Return the files that do not come out of the archive."""
        return tuple(each for each in self.files if each.archive != archive)


class Lockfile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """models.lock."""

    version: int = VERSION
    models: dict[str, LockedModel]


EMPTY = Lockfile(models={})


Pins = dict[tuple[str, str], Artifact]
"""Artifacts by model and path."""


class _AnyVersion(msgspec.Struct):
    version: int


def load(text: bytes, name: str = "models.lock") -> Lockfile:
    """Read a lockfile.

    Raises:
        LockError: It is torn, of a newer version, in the middle of a merge, not a lockfile, or has
            a value that may not be used.
    """
    try:
        version = msgspec.json.decode(text, type=_AnyVersion).version
        if version != VERSION:
            raise LockError(
                f"{name} has version {version}, and this program knows version {VERSION}.",
                hint="Update modelmake, from where you have it.",
            )
        lockfile = msgspec.json.decode(text, type=Lockfile)
    except (ValueError, RecursionError) as error:  # msgspec's own, and what its text made of it
        raise _unreadable(text, name, error) from None
    lock_gate.check(lockfile.models, name)
    if dump(lockfile) != text:  # written by hand or merged: only then the slow look for doublets
        _check_no_double_keys(text, name)
    return lockfile


def dump(lockfile: Lockfile) -> bytes:
    """Return the text of a lockfile, which `load` gives back."""
    models = ",\n".join(
        f"{_encode(name)}: {_dump_model(model)}" for name, model in sorted(lockfile.models.items())
    )
    return f'{{\n"version": {lockfile.version},\n"models": {{\n{models}\n}}\n}}\n'.encode()


def with_pins(locked: Lockfile, pins: Pins) -> Lockfile:
    """Return the lockfile with these artifacts in the places of those of the same paths."""
    models = dict(locked.models)
    for name in {name for name, _ in pins}:
        files, archives = (
            tuple(pins.get((name, each.path), each) for each in found)
            for found in (models[name].files, models[name].archives)
        )
        models[name] = msgspec.structs.replace(models[name], files=files, archives=archives)
    return Lockfile(models=models)


def with_unpacked(
    locked: Lockfile, name: str, archive: Artifact, members: Iterable[Artifact]
) -> Lockfile:
    """Return the lockfile with a model's archive as it proved to be, and the files out of it."""
    before = locked.models[name]
    known = {each.path: each for each in before.files}
    members = (each.with_root_of(known.get(each.path)) for each in members)
    archives = tuple(archive if each.path == archive.path else each for each in before.archives)
    files = (*before.not_from(archive.path), *members)
    after = msgspec.structs.replace(before, archives=archives, files=files)
    return Lockfile(models={**locked.models, name: after})


def _dump_model(model: LockedModel) -> str:
    head = {"entry": model.entry, "source": model.source}
    if model.revision is not None:
        head["revision"] = model.revision
    fields = ", ".join(f"{_encode(key)}: {_encode(value)}" for key, value in head.items())
    archives = f', "archives": [\n{_dump_files(model.archives)}\n]' * bool(model.archives)
    return f'{{{fields}{archives}, "files": [\n{_dump_files(model.files)}\n]}}'


def _dump_files(files: Iterable[Artifact]) -> str:
    ordered = sorted(files, key=lambda artifact: artifact.path)
    return ",\n".join(_encode(artifact) for artifact in ordered)


def _encode(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _unreadable(text: bytes, name: str, error: Exception) -> LockError:
    if any(line.startswith(CONFLICT_MARKERS) for line in text.splitlines()):
        return LockError(
            f"{name} holds conflict markers of a merge.",
            hint=f"Take either side of it (`git checkout --ours {name}`), then run `doit lock`.",
        )
    return LockError(f"{name} cannot be read: {shown(error)}.", hint=RESTORE_HINT)


def _check_no_double_keys(text: bytes, name: str) -> None:
    def pairs(found: list[tuple[str, object]]) -> dict[str, object]:
        counts = Counter(key for key, _ in found)
        if len(counts) < len(found):
            double = counts.most_common(1)[0][0]
            raise LockError(
                f"{name} has the key {shown(repr(double))} twice in one place.", hint=RESTORE_HINT
            )
        return dict(found)

    json.loads(text, object_pairs_hook=pairs)
