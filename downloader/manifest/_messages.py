"""Rewrite msgspec's messages about an entry in plain words."""

import re
from collections.abc import Collection, Mapping
from typing import Any, Literal, get_args, get_origin

import msgspec

from downloader.manifest._urls import entry_hint
from downloader.sources.interface import Entry, Fault, Keys
from downloader.sources.registry import entry_type, find_meant, find_reference

_TYPES = {
    "str": "text",
    "int": "a whole number",
    "float": "a number with a point",
    "bool": "true or false",
    "null": "nothing",
    "array": "a list",
    "object": "keys and values",
}
_SECRET = re.compile(r"(?i)token|secret|passw|api_?key|credential|authorization")
_LOCATED = re.compile(r"(?P<what>.*?)(?: - at `\$(?P<path>[^`]*)`)?", re.DOTALL)
_TYPE = re.compile(r"Expected `(?P<wanted>[^`]+)`, got `(?P<got>[^`]+)`")
_FIELD = re.compile(
    r"Object (?P<fault>contains unknown|missing required) field `(?P<key>.*)`", re.DOTALL
)
_OTHER_WORDS = {
    "checksum": "sha256",
    "digest": "sha256",
    "hash": "sha256",
    "filename": "path",
    "file": "files include",
    "files": "include",
    "allow-patterns": "include",
    "ignore-patterns": "exclude",
    "branch": "revision",
    "commit": "revision",
    "urls": "files",
    "dir": "to",
    "folder": "to",
    "step": "checkpoint",
    "model-id": "repo",
    "repo-id": "repo",
    "provider": "source",
    "gpt2": "openai-gpt2",
    "gpt-2": "openai-gpt2",
    "url": "http",
    "web": "http",
    "endpoint": "base_url",
    "endpoint-url": "base_url",
    "bucket": "url",
    "prefix": "url",
    "repo": "image",
    "repository": "image",
    "model": "image repo",
    "name": "image repo",
    "tag": "image revision",
    "hf": "huggingface",
    "hub": "huggingface",
}
"""Common wrong names of keys and sources, and the right ones: one for each source."""
_PROVIDERS = {
    **dict.fromkeys(("s3", "aws", "minio", "r2"), ("object-store", "url: s3://bucket/prefix/")),
    **dict.fromkeys(("gs", "gcs", "google"), ("object-store", "url: gs://bucket/prefix/")),
    **dict.fromkeys(("az", "azure"), ("object-store", "url: az://account/container/prefix/")),
    **dict.fromkeys(("docker", "ghcr", "registry"), ("oci", "image: registry/name:tag")),
    "ollama": ("oci", "image: ollama:name:tag"),
}
"""Providers that are not themselves the name of their source: that name, and a key with it."""
_YES_NO = dict.fromkeys(("yes", "y", "on", "1"), "true") | dict.fromkeys(
    ("no", "n", "off", "0"), "false"
)
_UNSPACED = re.compile(r"(?P<key>[a-z_][a-z0-9_]*):(?=[^\s/:])")
_BOUND = re.compile(r"Expected `int` (?P<sign>[<>])= (?P<bound>-?\d+)")


def reworded(
    error: msgspec.ValidationError, entry: type[Entry], given: Mapping[str, object]
) -> Fault:
    """Return msgspec's complaint about an entry of that class in plain words.

    Args:
        error: The complaint.
        entry: The class.
        given: What was to become an entry.
    """
    located = _LOCATED.fullmatch(str(error))
    assert located
    what = located["what"]
    keys = _keys(located["path"] or "")
    value = value_at(given, keys)
    if found := _TYPE.fullmatch(what):
        return _wrong_type(keys, found["wanted"], found["got"], _parts(entry, keys), value)
    if found := _FIELD.fullmatch(what):
        known = _keys_known_at(keys, entry)
        if found["fault"] == "contains unknown":
            return unknown_key((*keys, found["key"]), known)
        return Missing(keys, f"`{found['key']}` is missing", key=found["key"])
    fault = _wrong_value(keys, what, _parts(entry, keys), value)
    return fault if fault.hint else Fault(keys, fault.what, _meant_hint(entry, keys, value))


class Missing(Fault):
    """A required key is missing; `key` says which."""

    def __init__(self, keys: Keys, what: str, hint: str | None = None, *, key: str) -> None:
        super().__init__(keys, what, hint)
        self.key = key


def value_at(given: object, keys: Keys) -> object:
    """Return what stands at a key path; None if nothing does."""
    for key in keys:
        try:
            given = given[key]  # type: ignore[index]
        except (KeyError, IndexError, TypeError):
            return None
    return given


def unknown_key(keys: Keys, known: Collection[str]) -> Fault:
    """Return the fault for a key that means nothing here, with the nearest one that does."""
    key = str(keys[-1])
    if _SECRET.search(key):
        hint = "Do not put secrets here: set them in the environment."
    else:
        hint = nearest(key, known) or f"Known keys: {', '.join(sorted(known))}."
    return Fault(keys, "unknown key", hint)


def source_hint(word: str, known: Collection[str]) -> str:
    """Return a hint with the source that was most likely meant, if any."""
    if found := _PROVIDERS.get(word.lower()):
        return f"Did you mean `{found[0]}`, with `{found[1]}`?"
    return nearest(word, known)


def nearest(word: str, known: Collection[str]) -> str:
    """Return a hint with the known word that this one most likely stands for, if any."""
    import difflib  # noqa: PLC0415 - only a mistake pays for it

    meant = _OTHER_WORDS.get(word.lower().replace("_", "-"), "").split()
    if found := [each for each in meant if each in known]:
        return f"Did you mean `{found[0]}`?"
    close = difflib.get_close_matches(word[:80], sorted(known), n=1)
    return f"Did you mean `{close[0]}`?" if close else ""


def is_space_missing(text: object) -> str:
    """Return the key after whose colon a space is missing; empty if none is."""
    found = _UNSPACED.match(text) if isinstance(text, str) else None
    return found["key"] if found else ""


def common_keys() -> frozenset[str]:
    """Return the keys any model may have."""
    return frozenset({"source", *Entry.__struct_encode_fields__})


def _keys(path: str) -> Keys:
    """Return msgspec's `.files[0].url` as a key path."""
    found = re.findall(r"\.([^.\[]+)|\[(\d+)\]", path)
    return tuple(name or int(index) for name, index in found)


def _parts(entry: type[Entry], keys: Keys) -> list[Any]:
    """Return what the type at a key path is made of, from the outside in, with msgspec's notes."""
    parts: list[Any] = [entry]
    for key in keys:
        if isinstance(key, int):
            lists = [part for part in parts if get_origin(part) is tuple]
            parts = [part for each in lists for part in get_args(each) if part is not Ellipsis]
        else:
            structs = _structs(parts)
            fields = [field for struct in structs for field in msgspec.structs.fields(struct)]
            parts = [field.type for field in fields if field.encode_name == key]
        for part in parts:  # it grows meanwhile
            parts += get_args(part) if get_origin(part) not in (Literal, tuple) else ()
    return parts


def _structs(parts: list[Any]) -> list[type[msgspec.Struct]]:
    return [each for each in parts if isinstance(each, type) and issubclass(each, msgspec.Struct)]


def _keys_known_at(keys: Keys, entry: type[Entry]) -> frozenset[str]:
    known = {key for each in _structs(_parts(entry, keys)) for key in each.__struct_encode_fields__}
    return frozenset(known if keys else {"source", *known})


def _notes(parts: list[Any], kind: str) -> list[Any]:
    """Return what a type says in `extra` under this name."""
    extras = [each.extra for each in parts if isinstance(each, msgspec.Meta) and each.extra]
    return [extra[kind] for extra in extras if kind in extra]


def _wrong_type(keys: Keys, wanted: str, got: str, parts: list[Any], value: object) -> Fault:
    is_word = wanted == "str" and any(get_origin(part) is Literal for part in parts)
    if is_word or (wanted == "int | str" and _notes(parts, "choices")):
        return _not_chosen(keys, parts, value)
    names = [_TYPES.get(name, name) for name in wanted.split(" | ") if name != "null"]
    what = f"expected {' or '.join(names)}, got {_TYPES.get(got, got)}"
    if got in {"int", "float", "bool"} and "str" in wanted.split(" | "):
        return Fault(keys, what, 'Put the value in quotes: "...".')
    if wanted == "array":
        hints = _notes(parts, "hint")
        return Fault(keys, what, hints[0] if hints else "Write it as a list: [first, second].")
    if wanted == "bool" and (word := _YES_NO.get(str(value).lower())):
        return Fault(keys, what, f"Write `{word}`.")
    return Fault(keys, what)


def _wrong_value(keys: Keys, what: str, parts: list[Any], value: object) -> Fault:
    if found := _BOUND.fullmatch(what):
        least_or_most = "least" if found["sign"] == ">" else "most"
        return Fault(keys, f"expected a whole number of at {least_or_most} {found['bound']}")
    if " of length " in what:
        return Fault(keys, "it is empty")
    if " matching regex " in what and (forms := _notes(parts, "form")):
        return Fault(keys, f"expected {forms[0]}")
    return _not_chosen(keys, parts, value)


def _not_chosen(keys: Keys, parts: list[Any], value: object) -> Fault:
    """Return the fault for a value that is none of the words that may stand there."""
    choices = _notes(parts, "choices")
    literals = [word for each in parts if get_origin(each) is Literal for word in get_args(each)]
    words = [word for word in literals if isinstance(word, str)]
    words += [word for each in choices for word in each if word not in words]
    hint = nearest(str(value), {word for word in words if word.isalnum()})
    hint = hint or next(iter(_notes(parts, "hint")), "")
    return Fault(keys, f"expected one of: {', '.join(words)}", hint or None)


def _meant_hint(entry: type[Entry], keys: Keys, value: object) -> str | None:
    """Return a hint with the value, or the whole entry, that a reference means in its place."""
    text, key = str(value), str(keys[-1]) if keys else ""
    texts = dict.fromkeys((text, text.removeprefix("https://")))
    forms = [form for text in texts for form in find_meant(text, is_url=True)]
    for form in forms or find_meant(text):
        found = find_reference(form, is_url=True)
        if found and key in found.keys and entry_type(str(found.keys["source"])) is entry:
            has_more = set(found.keys) > {"source", key}
            return entry_hint(found) if has_more else f"Write `{found.keys[key]}`."
    return None
