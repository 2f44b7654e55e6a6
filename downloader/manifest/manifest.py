"""Text of models.yaml -> frozen entries, or an error that names file, line and key path. Pure.

Three steps: `strict_yaml` reads the text, msgspec holds it against the types of `entries`, and
the `manifest_*` modules check what a type cannot say.
"""

import hashlib
from collections.abc import Mapping
from typing import TypeGuard

import msgspec

from downloader.manifest.entries import (
    NOT_ABOUT_BYTES,
    AnyEntry,
    Entry,
    HttpEntry,
    HttpFile,
    TogetherEntry,
)
from downloader.manifest.paths import check_collisions, check_name, check_paths, file_path, folder
from downloader.manifest.together import check_together
from downloader.manifest.urls import check_urls
from downloader.manifest.wording import (
    SOURCES,
    Fault,
    common_keys,
    nearest,
    reworded,
    unknown_key,
)
from downloader.safe_path import collision_key

__all__ = ["Manifest", "entry_digest", "file_path", "folder", "load"]

VERSION = 1
_TOP_KEYS = frozenset({"version", "defaults", "models"})


class Manifest(msgspec.Struct, frozen=True):
    """What people ask for."""

    models: dict[str, AnyEntry]
    """By name, in the order of the file, `defaults` already put in."""


def load(text: bytes, name: str = "models.yaml") -> Manifest:
    """Read a manifest.

    Args:
        text: The file's bytes.
        name: The file's name, for messages.

    Raises:
        ManifestError: It says something it may not, as `NAME:LINE: key.path: what`.
    """
    from downloader.manifest import strict_yaml  # noqa: PLC0415 - PyYAML costs 25 ms

    document = strict_yaml.load(text, name)
    try:
        return Manifest(models=_models(document.data))
    except Fault as fault:
        raise document.error(fault.keys, fault.what, hint=fault.hint) from None


def entry_digest(entry: AnyEntry) -> str:
    """Return `sha256:<hex>` of what the entry says about bytes.

    Where they go, how they are linked and which mirrors also have them is left out, so that a
    change there makes no lock stale.
    """
    data = msgspec.to_builtins(entry)
    about_bytes = {key: value for key, value in data.items() if key not in NOT_ABOUT_BYTES}
    for file in about_bytes.get("files", ()):
        file.pop("mirrors", None)
    canonical = msgspec.json.encode(about_bytes, order="deterministic")
    return f"sha256:{hashlib.sha256(canonical).hexdigest()}"


def _is_mapping(value: object) -> TypeGuard[dict[str, object]]:
    return isinstance(value, dict)


def _models(data: object) -> dict[str, AnyEntry]:
    top = _checked_top(data)
    defaults = _checked_defaults(top.get("defaults"))
    models = top["models"]
    if not _is_mapping(models):
        raise Fault(("models",), "expected the models by name", "Each is `NAME:` with its keys.")
    _check_names(models)
    entries = {name: _entry(name, raw, defaults) for name, raw in models.items()}
    check_collisions(entries)
    return entries


def _checked_top(data: object) -> dict[str, object]:
    """Return the whole manifest, its version understood and its keys known."""
    if not _is_mapping(data):
        raise Fault((), "expected keys and values: `version: 1` and `models:`")
    _check_version(data)
    for key in data:
        if key not in _TOP_KEYS:
            raise unknown_key((key,), _TOP_KEYS)
    if "models" not in data:
        raise Fault((), "`models` is missing", "Write `models:` and below it one model a name.")
    return data


def _check_version(data: Mapping[str, object]) -> None:
    if "version" not in data:
        raise Fault((), "`version` is missing", f"Write `version: {VERSION}` as the first line.")
    version = data["version"]
    if type(version) is not int or version < 1:
        raise Fault(("version",), f"expected {VERSION}")
    if version > VERSION:
        what = f"this program knows version {VERSION} of the format only"
        raise Fault(("version",), what, "Update modelmake, from where you have it")


def _checked_defaults(raw: object) -> dict[str, object]:
    """Return the common keys for every model; an empty `defaults:` has none."""
    if raw is None:
        return {}
    if not _is_mapping(raw):
        raise Fault(("defaults",), "expected keys and values")
    known = common_keys()
    for key in raw:
        if key not in known:
            raise unknown_key(("defaults", key), known)
    if "source" in raw:
        _check_source(raw["source"], ("defaults", "source"))
    try:
        msgspec.convert({key: raw[key] for key in raw if key != "source"}, Entry)
    except msgspec.ValidationError as error:
        raise reworded(error, Entry).below("defaults") from None
    return raw


def _check_source(source: object, keys: tuple[str, ...]) -> None:
    known = ", ".join(sorted(SOURCES))
    if not isinstance(source, str):
        raise Fault(keys, f"expected one of {known}")
    if source not in SOURCES:
        raise Fault(keys, f"unknown source; known are {known}", nearest(source, SOURCES))


def _check_names(models: Mapping[str, object]) -> None:
    seen: dict[str, str] = {}
    for name in models:
        try:
            check_name(name)
        except Fault as fault:
            raise fault.below("models", name) from None
        key = collision_key(name)
        if key in seen:
            what = f"the name differs from `{seen[key]}` only in case, which some disks cannot tell"
            raise Fault(("models", name), what, "Rename one of the two.")
        seen[key] = name


def _entry(name: str, raw: object, defaults: dict[str, object]) -> AnyEntry:
    """Return one model's entry; a fault is laid at the line that says it."""
    if not _is_mapping(raw):
        raise Fault(("models", name), "expected keys and values, such as `source: http`")
    try:
        entry = _converted({**defaults, **raw})
        if isinstance(entry, TogetherEntry):
            check_together(entry, is_given="checkpoint" in raw)
        check_urls(entry)
        check_paths(name, entry)
    except Fault as fault:
        key = fault.keys[0] if fault.keys else None
        is_default = key in defaults and key not in raw
        place = ("defaults",) if is_default else ("models", name)
        raise fault.below(*place) from None
    return entry


def _converted(merged: dict[str, object]) -> AnyEntry:
    if "source" not in merged:
        raise Fault((), "`source` is missing", f"It is one of {', '.join(sorted(SOURCES))}.")
    _check_source(merged["source"], ("source",))
    try:
        entry: AnyEntry = msgspec.convert(merged, AnyEntry)
    except msgspec.ValidationError as error:
        raise reworded(error, SOURCES[str(merged["source"])]) from None
    return _lower_digests(entry) if isinstance(entry, HttpEntry) else entry


def _lower_digests(entry: HttpEntry) -> HttpEntry:
    """Return the entry with its digests as the lock writes them."""
    return msgspec.structs.replace(entry, files=tuple(_lower_digest(file) for file in entry.files))


def _lower_digest(file: HttpFile) -> HttpFile:
    if file.sha256 is None or file.sha256 == file.sha256.lower():
        return file
    return msgspec.structs.replace(file, sha256=file.sha256.lower())
