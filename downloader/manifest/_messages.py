"""What is wrong with an entry, in plain words: msgspec's messages rewritten for people."""

import re
from collections.abc import Collection
from typing import Any, Literal, get_args, get_origin

import msgspec

from downloader.sources.interface import Entry, Fault, Keys

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
_BOUND = re.compile(r"Expected `int` (?P<sign>[<>])= (?P<bound>-?\d+)")


def reworded(error: msgspec.ValidationError, entry: type[Entry]) -> Fault:
    """Return msgspec's complaint about an entry of that class in plain words."""
    located = _LOCATED.fullmatch(str(error))
    assert located
    what = located["what"]
    keys = _keys(located["path"] or "")
    if found := _TYPE.fullmatch(what):
        return _wrong_type(keys, found["wanted"], found["got"])
    if found := _FIELD.fullmatch(what):
        known = _keys_known_at(keys, entry)
        if found["fault"] == "contains unknown":
            return unknown_key((*keys, found["key"]), known)
        return Fault(keys, f"`{found['key']}` is missing")
    return _wrong_value(keys, what, entry)


def unknown_key(keys: Keys, known: Collection[str]) -> Fault:
    """Return the fault for a key that means nothing here, with the nearest one that does."""
    key = str(keys[-1])
    if _SECRET.search(key):
        hint = "Secrets never stand here: they come from the environment."
    else:
        hint = nearest(key, known) or f"Known keys: {', '.join(sorted(known))}."
    return Fault(keys, "unknown key", hint)


def nearest(word: str, known: Collection[str]) -> str:
    """Return a hint with the known word most like this one, or the empty string."""
    import difflib  # noqa: PLC0415 - only a mistake pays for it

    close = difflib.get_close_matches(word[:80], sorted(known), n=1)
    return f"Did you mean `{close[0]}`?" if close else ""


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
    for key in (each for each in keys if isinstance(each, str)):
        fields = [field for struct in _structs(parts) for field in msgspec.structs.fields(struct)]
        parts = [field.type for field in fields if field.encode_name == key]
        for part in parts:  # it grows meanwhile
            parts += get_args(part) if get_origin(part) is not Literal else ()
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


def _wrong_type(keys: Keys, wanted: str, got: str) -> Fault:
    names = [_TYPES.get(name, name) for name in wanted.split(" | ") if name != "null"]
    what = f"expected {' or '.join(names)}, got {_TYPES.get(got, got)}"
    if wanted.startswith("str") and got in {"int", "float", "bool"}:
        return Fault(keys, what, 'Put the value in quotes: "...".')
    if wanted == "array":
        return Fault(keys, what, "Write it as a list: [first, second].")
    return Fault(keys, what)


def _wrong_value(keys: Keys, what: str, entry: type[Entry]) -> Fault:
    if found := _BOUND.fullmatch(what):
        least_or_most = "least" if found["sign"] == ">" else "most"
        return Fault(keys, f"expected a whole number of at {least_or_most} {found['bound']}")
    if " of length " in what:
        return Fault(keys, "it is empty")
    parts = _parts(entry, keys)
    if " matching regex " in what:
        return Fault(keys, f"expected {next(iter(_notes(parts, 'form')), 'another form')}")
    words = [word for each in parts if get_origin(each) is Literal for word in get_args(each)]
    words += [word for each in _notes(parts, "choices") for word in each]
    return Fault(keys, f"expected one of: {', '.join(words)}")
