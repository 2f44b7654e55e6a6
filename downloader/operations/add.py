"""Add a model to models.yaml: what `modelmake add` does.

A reference becomes an entry, the entry a new text of models.yaml, and that is locked in memory.
Only when its provider or server has answered are models.lock and models.yaml written: so a name
that nobody knows, or a page that needs a login, changes nothing.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from downloader.artifact import collision_key, is_name
from downloader.errors import (
    Interrupted,
    LockError,
    ManifestError,
    ModelmakeError,
    SettingError,
    shown,
)
from downloader.fs.rooted_path import read_own
from downloader.manifest.edit import add_entry, line_of, names, value_of
from downloader.network.api import Session
from downloader.operations.lock import LockOptions, lock
from downloader.project.lockfile import Lockfile
from downloader.project.project import Declaration, Project, compiled
from downloader.sources.interface import Reference
from downloader.sources.registry import (
    USER_AND_HOST,
    entry_type,
    find_meant,
    find_reference,
    reference_forms,
)
from downloader.urls import redact


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What to add.

    Attributes:
        reference: A short form or a URL.
        name: What to call the model; empty: as the reference suggests.
        settings: Further keys of the entry, each with its values as they were typed.
    """

    reference: str
    name: str = ""
    settings: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """The model that was added.

    Attributes:
        name: What it is called.
        lines: What was locked, a line each.
    """

    name: str
    lines: Sequence[str]


def add(project: Project, session: Session, wish: Wish) -> Added:
    """Write a model into models.yaml and models.lock; moves no bodies.

    Raises:
        ManifestError: models.yaml cannot be used or edited, or the entry would be wrong.
        LockError: The model cannot be locked, or models.lock may not be written.
        SettingError: An environment variable has an unusable value.
        ModelmakeError: Nobody knows such a reference, models.yaml has the model already; or as
            `lock`.
    """
    found = find_reference(wish.reference)
    if found is None:
        raise _unknown(wish.reference)
    entry = {**found.keys, **_typed(str(found.keys["source"]), wish.settings)}
    file, before = project.manifest_path.name, read_own(project.manifest_path)
    name = wish.name or _free_name(before, file, found)

    def edit(text: bytes) -> bytes:
        return add_entry(text, file, name, entry)

    _checked(edit(b""), file, name)  # alone: what may not be in a manifest is in no message either
    trial = _Trial(project.manifest_path, project.settings)
    trial.declared = _checked(edit(before), file, name)
    if not wish.name:
        _refuse_same(trial, name, before, file)
    project.declared = trial.declared
    project.refuse_to_write()
    lines: list[str] = []
    try:
        lock(trial, session, lines.append, LockOptions(names=(name,)))
    except (Interrupted, SettingError):
        raise
    except ModelmakeError as error:
        raise _not_locked(trial.named(name), file, lines, error) from None
    project.edit_manifest(edit)  # first: it refuses a name that another run took meanwhile
    project.put_locked({name: trial.lockfile.models[name]}, drops=False)
    return Added(name=name, lines=lines)


class _Trial(Project):
    """A project whose models.lock is written in memory only."""

    def replace_lock(self, changed: Lockfile) -> bool:
        """See Project."""
        self.lockfile = changed
        return True


def _unknown(reference: str) -> ModelmakeError:
    """Return the error for a reference that no source knows, with the short forms it may be."""
    forms = ", ".join(f"`{form}`" for form in reference_forms())
    meant = "` or `".join(find_meant(reference))
    hint = f"Did you mean `{meant}`?" if meant else f"Known forms: {forms}."
    text = re.sub(USER_AND_HOST, "…", reference)
    if re.search(r"@(?!sha256:)|[?#]", reference):  # a password or a token may stand there
        is_url = "://" in reference
        text = redact(text) if is_url else re.sub(r"(?s)(//|[:?#]).*", r"\1…", text)
    return ModelmakeError(f"{shown(repr(text))} is no URL and no short form of a model.", hint=hint)


def _typed(source: str, settings: Mapping[str, Sequence[str]]) -> dict[str, object]:
    """Return keys with their values as the entry has them; what it does not have stays text."""
    types = {each.encode_name: each.type for each in msgspec.structs.fields(entry_type(source))}
    return {key: _value(types.get(key), values) for key, values in settings.items()}


def _value(kind: object, texts: Sequence[str]) -> object:
    """Return what was typed for one key; several values, or one for a key of lists, are a list."""
    first, *others = [_fitting(kind, text) for text in texts]
    if not others:
        return first
    parts = (value if isinstance(value, list) else [value] for value in (first, *others))
    return [each for part in parts for each in part]


def _fitting(kind: object, text: str) -> object:
    """Return the first reading of a text that a key takes: YAML, or the text itself."""
    value = value_of(text)
    for given in (value, [value], text, [text]):
        try:
            msgspec.convert(given, kind)
        except msgspec.ValidationError:
            continue
        return given
    return text


def _free_name(text: bytes, file: str, found: Reference) -> str:
    """Return the first suggested name that no model has."""
    taken = {collision_key(each) for each in names(text, file)}
    valid = [_valid(each) for each in found.names or ("",)]
    numbered = (f"{valid[0]}-{number}" for number in range(2, len(taken) + 3))
    return next(each for each in (*valid, *numbered) if collision_key(each) not in taken)


def _valid(text: str) -> str:
    """Return a text made fit to be the name of a model."""
    name = re.sub(r"[^A-Za-z0-9._+@-]+", "-", text).strip("._+@-")
    return name if is_name(name) else f"model-{name}".rstrip("-")


def _checked(text: bytes, file: str, name: str) -> list[Declaration]:
    """Return what the new text declares; an error says where in the entry, which has no line yet.

    Raises:
        ManifestError: It is not right.
    """
    try:
        return compiled(text, file)
    except ManifestError as error:
        key = f"{re.escape(name)}|{re.escape(ascii(name[:80]))}"  # as messages have it
        place = rf"^{re.escape(file)}:\d+: models\.({key})(?:: |\.)"
        lines = [re.sub(place, r"\1: ", line) for line in str(error).split("\n")]
        raise ManifestError(lines, hint=error.hint) from None


def _refuse_same(trial: Project, name: str, text: bytes, file: str) -> None:
    """Refuse an entry that the manifest has already, under whatever name."""
    digest = trial.named(name).digest
    for each in trial.declared:
        if each.digest == digest and each.name != name:
            line = line_of(text, file, each.name)
            raise ModelmakeError(
                f"{file}:{line}: {each.name} is that model already.",
                hint="To have it twice, name the second one with `--name`.",
            )


def _not_locked(
    model: Declaration, file: str, told: Iterable[str], error: ModelmakeError
) -> LockError:
    """Return why nothing was written."""
    if model.outlined is None:
        hint = (error.hint or "").replace(f" in {file}", "")  # the entry is not there
        return LockError(f"{file} stays as it was: {error}", hint=hint)
    reasons = [line for line in told if line.startswith(" ")]
    what = f"{file} stays as it was, because {model.name} cannot be downloaded:"
    return LockError([what, *reasons], hint="Check the URL, or get access to the file.")
