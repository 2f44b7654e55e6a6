"""Parse models.yaml into frozen entries, or raise an error with file, line and key path. Pure.

Three steps: `_strict_yaml` reads the text, msgspec checks it against the sources' entry types, and
the rest of this module checks what a type cannot say and every source has in common: names,
folders, URLs (`_urls`), and that no two models want one file. The rest each entry checks itself. No
name is resolved here.

What has one meaning is taken; what has several is refused with the line to write instead. Up to
MOST_TOLD mistakes are reported at once.
"""

import copy
import re
from collections.abc import Mapping, Sequence
from typing import TypeGuard

import msgspec

from downloader.artifact import MODEL_NAME, check_path, collision_key, find_collision
from downloader.errors import ManifestError
from downloader.manifest import _strict_yaml
from downloader.manifest._messages import (
    Missing,
    common_keys,
    is_space_missing,
    nearest,
    reworded,
    source_hint,
    unknown_key,
    value_at,
)
from downloader.manifest._urls import VARIABLE_FAULT, missing_source_hint, url_faults
from downloader.sources.interface import Entry, Fault, Keys
from downloader.sources.registry import SOURCES, entry_type, entry_types

MOST_TOLD = 10
"""Number of mistakes that are reported at once."""
ELSEWHERE_HINT = (
    "Models lie below the folder of models.yaml. To keep them on another disk, make `models` a "
    "symlink to a folder there."
)

_NAME_HINT = "A name has letters, digits and . _ + @ - and begins with a letter or digit."


def _check_name(name: str) -> None:
    """Refuse a model's name that is not safe as a part of a path and of a task's name.

    Raises:
        Fault: It is not.
    """
    if not MODEL_NAME.fullmatch(name):
        raise Fault((), "not a valid model name", _NAME_HINT)
    try:
        check_path(name)
    except ValueError as error:
        raise Fault((), str(error), _NAME_HINT) from None


def _check_folder(name: str, entry: Entry) -> None:
    """Refuse a target folder that is not safe on every platform.

    Raises:
        Fault: It is not.
    """
    target = entry.folder(name)
    if "$" in target:
        raise Fault(("to",), VARIABLE_FAULT, ELSEWHERE_HINT)
    if found := re.search(r"\{.*?(?:\}|\Z)|\}", target):
        shown = ascii(found[0][:80])
        raise Fault(("to",), f"{shown} is not a placeholder; only {{name}} is replaced")
    try:
        check_path(target)
    except ValueError as error:
        raise Fault(("to",), str(error), ELSEWHERE_HINT) from None


def _check_apart(models: Mapping[str, Entry], given: Mapping[str, Mapping[str, object]]) -> None:
    """Refuse models whose files cannot all exist at once, on some file system.

    Files that only a provider knows are compared when they are locked. What an archive unpacks to
    is known too late for that, so its folder must be one model's alone.

    Args:
        models: The entries by name.
        given: The same as models.yaml has them.

    Raises:
        Fault: Two files would be one, or one would have to be a folder too.
    """
    _check_own_folders(models)
    targets = [
        (f"{entry.folder(name)}/{path}", (name, keys), entry)
        for name, entry in models.items()
        for keys, path in entry.targets()
    ]
    pair = find_collision(target for target, _, _ in targets)
    if pair is None:
        return
    found = [each for each in targets if each[0] in pair][:2]
    one, other = (
        ("models", name, *entry.written_at(keys, given[name])) for _, (name, keys), entry in found
    )
    (first, _, _), (second, _, entry) = found
    place = _strict_yaml.key_path(one)
    what = f"its target {second!a} cannot exist beside that of {place} ({first!a})"
    raise Fault(other, what, entry.collision_hint)


def _check_own_folders(models: Mapping[str, Entry]) -> None:
    """Refuse a folder that two models share, if nobody can tell that their files differ."""
    folders = {name: collision_key(entry.folder(name)) for name, entry in models.items()}
    seen: dict[object, str] = {}
    for name, entry in models.items():
        what = entry.identity()
        if what is not None and (other := seen.setdefault((folders[name], what), name)) != name:
            what = f"its files would have the names and the folder of those of `{other}`"
            raise Fault(("models", name), what, entry.collision_hint)
        for other, folder in folders.items() if entry.needs_own_folder else ():
            if other != name and f"{folder}/".startswith(f"{folders[name]}/"):
                what = f"its archive would be unpacked into the folder of `{other}`"
                raise Fault(("models", name), what, "Give one of the two another `to`.")


VERSION = 1
_TOP_KEYS = frozenset({"version", "defaults", "models"})


class Manifest(msgspec.Struct, frozen=True):
    """What people ask for."""

    models: dict[str, Entry]
    """By name, in the order of the file, `defaults` already put in."""


def load(text: bytes, name: str = "models.yaml") -> Manifest:
    """Read a manifest.

    Args:
        text: The file's bytes.
        name: The file's name, for messages.

    Raises:
        ManifestError: It says something it may not, as `NAME:LINE: key.path: what`; up to MOST_TOLD
            mistakes, by line.
    """
    document = _strict_yaml.load(text, name)
    reading = _Reading()
    try:
        models = reading.models(document.data)
    except Fault as fault:
        reading.note(fault)
    if reading.faults:
        raise _all_of(document, reading.faults)
    return Manifest(models=models)


def _all_of(document: _strict_yaml.Document, faults: Sequence[Fault]) -> ManifestError:
    """Return one error that tells the first faults, by line."""
    errors = sorted(
        (document.line(each.keys), index, document.error(each.keys, each.what, hint=each.hint))
        for index, each in enumerate(faults)
    )
    *others, last = [error for _, _, error in errors[:MOST_TOLD]]
    told = [line for each in others for line in each.report().split("\n")]
    if len(errors) <= MOST_TOLD:
        return ManifestError([*told, str(last)], hint=last.hint)
    told += last.report().split("\n")
    return ManifestError(told, hint="There are more mistakes; these are the first.")


def _is_mapping(value: object) -> TypeGuard[dict[str, object]]:
    return isinstance(value, dict)


class _Reading:
    """One manifest being read: it continues after a mistake, as far as the rest can be checked.

    Attributes:
        faults: What is wrong, each once.
    """

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self._told = set[tuple[Keys, str]]()

    def note(self, fault: Fault) -> None:
        """Keep a fault; a wrong default is noted once, not for every model."""
        if (seen := (fault.keys, fault.what)) not in self._told:
            self._told.add(seen)
            self.faults.append(fault)

    @property
    def is_enough(self) -> bool:
        """Whether there is more than will be reported."""
        return len(self.faults) > MOST_TOLD

    def models(self, data: object) -> dict[str, Entry]:
        """Return every entry that is right.

        Raises:
            Fault: Nothing further can be checked.
        """
        top = self._checked_top(data)
        defaults = self._checked_defaults(top.get("defaults"))
        models = top["models"]
        if not _is_mapping(models):
            if self.faults and models is None:  # the models stand beside it
                return {}
            raise Fault(
                ("models",), "expected the models by name", "Each is `NAME:` with its keys."
            )
        self._check_names(models)
        entries: dict[str, Entry] = {}
        given: dict[str, Mapping[str, object]] = {}
        stray = self._stray_keys(models)
        for name, raw in models.items():
            if name in stray or self.is_enough:
                continue
            if _is_mapping(raw):
                entry = self._entry(name, raw, defaults)
                if entry is not None:
                    entries[name], given[name] = entry, raw
            else:
                self.note(_no_mapping(name, raw, has_stray=bool(stray)))
        if not self.faults:
            _check_apart(entries, given)
        return entries

    def _checked_top(self, data: object) -> dict[str, object]:
        """Return the whole manifest, its version understood and its keys known."""
        if not _is_mapping(data):
            raise Fault((), "expected keys and values: `models:` with one model a name")
        self._check_version(data.get("version", VERSION))
        for key, value in data.items():
            if key in _TOP_KEYS:
                continue
            if _is_mapping(value) and "source" in value:
                self.note(Fault((key,), "unknown key", "Is it a model? Indent it below `models:`."))
            else:
                self.note(unknown_key((key,), _TOP_KEYS))
        if "models" not in data:
            if self.faults:
                return {"models": None}
            raise Fault((), "`models` is missing", "Write `models:` and below it one model a name.")
        return data

    def _check_version(self, version: object) -> None:
        if type(version) is int and version > VERSION:
            what = f"this version of modelmake reads format {VERSION} only"
            raise Fault(("version",), what, "Update modelmake.")
        if type(version) is not int or version < 1:
            quotes = ", without quotes" * isinstance(version, str)
            hint = f"Write `version: {VERSION}`{quotes}."
            self.note(Fault(("version",), f"expected {VERSION}", hint))

    def _checked_defaults(self, raw: object) -> dict[str, object]:
        """Return the common keys for every model that are right."""
        if raw is None:
            return {}
        if not _is_mapping(raw):
            self.note(Fault(("defaults",), "expected keys and values"))
            return {}
        known = common_keys()
        found = {key: value for key, value in raw.items() if key in known}
        for key in raw.keys() - known:
            self.note(unknown_key(("defaults", key), known))
        if "source" in found and not self._is_source(found["source"], ("defaults", "source")):
            del found["source"]
        common = {key: value for key, value in found.items() if key != "source"}
        right = dict(common)
        self._converted(right, Entry, ("defaults",))
        return {key: value for key, value in found.items() if key == "source" or key in right}

    def _is_source(self, source: object, keys: Keys) -> bool:
        known = ", ".join(sorted(SOURCES))
        if not isinstance(source, str):
            self.note(Fault(keys, f"expected one of {known}"))
        elif source not in SOURCES:
            hint = source_hint(source, SOURCES)
            self.note(Fault(keys, f"unknown source; known are {known}", hint))
        else:
            return True
        return False

    def _check_names(self, models: Mapping[str, object]) -> None:
        seen: dict[str, str] = {}
        for name in models:
            try:
                _check_name(name)
            except Fault as fault:
                self.note(fault.below("models", name))
            key = collision_key(name)
            if key in seen:
                what = (
                    f"the name differs from `{seen[key]}` only in case, which some disks cannot "
                    "tell"
                )
                self.note(Fault(("models", name), what, "Rename one of the two."))
            seen[key] = name

    def _stray_keys(self, models: Mapping[str, object]) -> frozenset[str]:
        """Return the keys that stand among the models, since nobody indented them below theirs."""
        if None not in models.values() or not isinstance(models.get("source"), str):
            return frozenset()
        keys = {key for kind in entry_types().values() for key in kind.__struct_encode_fields__}
        return frozenset(models.keys() & {"source", *keys})

    def _entry(
        self, name: str, raw: dict[str, object], defaults: dict[str, object]
    ) -> Entry | None:
        """Return one model's entry; a fault is laid at the line that says it."""
        merged = {**defaults, **raw}
        if "source" not in merged:
            misspelt = [key for key in raw if nearest(key, {"source"})]
            for key in misspelt:
                self.note(unknown_key(("models", name, key), {"source"}))
            hint = missing_source_hint(raw) or f"It is one of {', '.join(sorted(SOURCES))}."
            if not misspelt:
                self.note(Fault(("models", name), "`source` is missing", hint))
            return None
        if not self._is_source(merged["source"], ("models", name, "source")):
            return None
        before = len(self.faults)
        kind = entry_type(str(merged["source"]))
        entry = self._converted(merged, kind, ("models", name))
        if entry is None:
            return None
        wrong = [each.keys[2:] for each in self.faults[before:]]
        for fault in _faults_of(name, entry, raw):
            keys = entry.written_at(fault.keys, raw)
            if _follows(keys, wrong):
                continue
            wrong.append(keys)
            is_default = bool(keys) and keys[0] in defaults and keys[0] not in raw
            place = ("defaults",) if is_default else ("models", name)
            self.note(Fault((*place, *keys), fault.what, fault.hint))
        return entry

    def _converted(self, given: dict[str, object], kind: type[Entry], place: Keys) -> Entry | None:
        """Return the entry; what has another type than it may have is noted and left out.

        Args:
            given: Its keys. What is wrong is removed from it.
            kind: What it is to become.
            place: Its key path.
        """
        removed = set[Keys]()
        while not self.is_enough:
            try:
                return msgspec.convert(given, kind)
            except msgspec.ValidationError as error:
                fault = reworded(error, kind, given)
            if isinstance(fault, Missing):
                beside = [str(keys[-1]) for keys in removed if keys[:-1] == fault.keys]
                if not any(nearest(each, {fault.key}) for each in beside):  # that one is told
                    self.note(fault.below(*place))
                return None
            self.note(fault.below(*place))
            if not removed:
                given |= copy.deepcopy(given)
            keys = fault.keys
            while keys and not _is_mapping(value_at(given, keys[:-1])):
                keys = keys[:-1]
            holder = value_at(given, keys[:-1])
            if not keys or not _is_mapping(holder) or keys[-1] not in holder:
                return None
            del holder[str(keys[-1])]
            removed.add(keys)
        return None


def _faults_of(name: str, entry: Entry, raw: Mapping[str, object]) -> Sequence[Fault]:
    """Return what no type can see of an entry."""
    faults = [*url_faults(entry)]
    try:
        _check_folder(name, entry)
    except Fault as fault:
        faults.append(fault)
    return [*faults, *entry.faults(raw)]


def _follows(keys: Keys, wrong: Sequence[Keys]) -> bool:
    """Whether a fault may follow from others: from a value in it, beside it, or the very same."""
    return any(
        each[: len(keys)] == keys or (len(keys) > 1 and each[:-1] == keys[:-1]) for each in wrong
    )


def _no_mapping(name: str, raw: object, *, has_stray: bool) -> Fault:
    """Return the fault for a model without keys."""
    if key := is_space_missing(raw):
        return Fault(("models", name), f"a space is missing after `{key}:`")
    hint = f"Indent the lines below `{name}:` by two more spaces." if has_stray else None
    return Fault(("models", name), "expected keys and values, such as `source: http`", hint)
