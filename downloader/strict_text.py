"""The bytes of a hand-written file -> clean text, and errors that say where in it. Pure."""

import re
from typing import TypeAlias

from downloader.errors import ManifestError

MAX_BYTES = 1 << 20
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_.+@-]{1,80}")
_UNWANTED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
_TAB = re.compile(r"^[^#\n]*\t", re.MULTILINE)
_DIRECTIVE = re.compile(r"^%", re.MULTILINE)
_UTF16_OR_32 = (b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")

Key: TypeAlias = str | int
Keys: TypeAlias = tuple[Key, ...]


def decoded(text: bytes, name: str) -> str:
    """Return the text with LF line ends, once nothing hidden is in it.

    Raises:
        ManifestError: It is too long, not UTF-8, or what an editor shows is not what is read.
    """
    if len(text) > MAX_BYTES:
        raise located(name, 1, (), f"the file has {len(text)} bytes, more than {MAX_BYTES}")
    if text.startswith(_UTF16_OR_32):
        raise located(name, 1, (), "the file is UTF-16 or UTF-32", hint="Save it as UTF-8.")
    try:
        clean = text.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        raise located(name, line, (), "this is not UTF-8", hint="Save it as UTF-8.") from None
    _refuse(_UNWANTED, clean, name, "an invisible control character", "Remove it.")
    _refuse(_TAB, clean, name, "a tab", "Indent with spaces: YAML allows no tabs.")
    # Thousands of %TAG lines also take libyaml quadratic time.
    _refuse(_DIRECTIVE, clean, name, "a YAML directive", "Remove the line that begins with `%`.")
    return clean


def _refuse(pattern: re.Pattern[str], text: str, name: str, thing: str, hint: str) -> None:
    found = pattern.search(text)
    if not found:
        return
    line = text.count("\n", 0, found.end() - 1) + 1
    character = found.group()[-1]
    if character == "\0":
        hint = "Save the file as UTF-8 text, perhaps it is UTF-16."
    raise located(name, line, (), f"{thing} ({character!a}) stands here", hint=hint)


def located(
    name: str, line: int, keys: Keys, what: str, *, hint: str | None = None
) -> ManifestError:
    """Return `NAME:LINE: key.path: what` as an error."""
    path = f"{key_path(keys)}: " if keys else ""
    return ManifestError(f"{name}:{line}: {path}{what}", hint=hint)


def key_path(keys: Keys) -> str:
    """Return the key path for people: `models.whisper.files[0].url`."""
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{_shown(key)}" for key in keys)
    return text.removeprefix(".")


def _shown(key: str) -> str:
    return key if _PLAIN_KEY.fullmatch(key) else ascii(key[:80])
