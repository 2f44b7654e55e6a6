"""Parse a small, strict part of YAML: text in, plain data and line numbers out.

The bytes become clean text first, and each error says where in it. Values are built from the
parser's events, not by a PyYAML constructor, so no tag can run code (CVE-2017-18342,
CVE-2020-1747, CVE-2020-14343) and every limit is checked before anything grows (CVE-2019-11253).
What YAML guesses at is left as text: `no`, `0777`, `12:30`, `2026-01-01`.
"""

import re
from typing import TypeAlias

import msgspec
import yaml

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
    if not clean.replace("\n", "").isprintable():  # each of these characters is not
        _refuse(_UNWANTED, clean, name, "an invisible control character", "Remove it.")
        _refuse(_TAB, clean, name, "a tab", "Indent with spaces: YAML allows no tabs.")
    # Thousands of %TAG lines also take libyaml quadratic time.
    if "\n%" in f"\n{clean}":
        _refuse(
            _DIRECTIVE, clean, name, "a YAML directive", "Remove the line that begins with `%`."
        )
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


MAX_DEPTH = 50
MAX_NODES = 150_000
"""More than 1 MiB of honest manifest has; it bounds the time, which goes by nodes."""
_MAX_INT_DIGITS = 1000
"""Longer ones stay text: int() is quadratic and raises beyond 4,300 digits (CVE-2020-10735)."""

_WORDS: dict[str, bool | None] = {
    "": None,
    "~": None,
    "null": None,
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
}
_UNSPACED = re.compile(r" *(?:- +)?(?P<key>[a-z_][a-z0-9_]*):[^\s/:]")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?P<fraction>\.[0-9]+)?")
_UNWANTED_IN_VALUE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")

_EMPTY_HINT = (
    "Write at least `models:`, and below it one model, such as "
    "`gpt2-124M: {source: openai-gpt2, size: 124M}`."
)
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Node(msgspec.Struct):
    """Position of a mapping or list, and of what is in it; a scalar has its line alone."""

    line: int
    children: dict[Key, "_Node | int"] = {}


class Document(msgspec.Struct, frozen=True):
    """The values of the text, with their positions."""

    name: str
    """The file's name, for messages."""
    data: object
    """Nested dict, list, str, int, float, bool and None."""
    _root: _Node | int

    def line(self, keys: Keys) -> int:
        """Return the line, counted from 1, of the nearest node that exists on the key path."""
        node = self._root
        for key in keys:
            if isinstance(node, int) or key not in node.children:
                break
            node = node.children[key]
        return _line_of(node)

    def error(self, keys: Keys, what: str, *, hint: str | None = None) -> ManifestError:
        """Return the error for the value at the key path, with its file and line."""
        return located(self.name, self.line(keys), keys, what, hint=hint)


def load(text: bytes, name: str) -> Document:
    """Read one document of strict YAML.

    Args:
        text: The file's bytes: UTF-8, with or without a byte order mark, LF or CRLF.
        name: The file's name, for messages.

    Raises:
        ManifestError: It is not strict YAML; the message says where and what.
    """
    builder = _Builder(name)
    clean = decoded(text, name)
    try:
        for event in iter(_Loader(clean).get_event, None):
            builder.take(event)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or "it cannot be read"
        # libyaml may point behind the last line.
        line = min(mark.line, clean.rstrip("\n").count("\n")) + 1 if mark else 1
        if found := _unspaced(clean.split("\n"), line):
            raise located(name, found[0], (), f"a space is missing after `{found[1]}:`") from None
        hint = "Look at the indentation, and put text that holds `: ` or ` #` in quotes."
        raise located(name, line, (), f"not valid YAML: {problem}", hint=hint) from None
    if builder.data is None:
        raise located(name, 1, (), "the file is empty", hint=_EMPTY_HINT)
    return Document(name, builder.data, builder.root)


def _unspaced(lines: list[str], last: int) -> tuple[int, str] | None:
    """Return the line, of the last two with text, and the key after whose colon a space is missing.

    YAML takes such a line for text, and complains about the next one.
    """
    numbers = [number for number in range(1, last + 1) if lines[number - 1].strip()]
    for number in reversed(numbers[-2:]):
        if found := _UNSPACED.match(lines[number - 1]):
            return number, found["key"]
    return None


class _Frame(msgspec.Struct):
    """A mapping or list that is still open."""

    own: Key | None
    """Its key in the frame around it; None if there is none."""
    value: dict[str, object] | list[object]
    node: _Node
    wants_key: bool
    """Whether it is a mapping, and a key comes next."""
    key: str = ""
    """In a mapping: the key whose value comes next."""
    key_line: int = 0

    @property
    def next_key(self) -> Key | None:
        """The key of the value that comes next; None if a key does."""
        if isinstance(self.value, list):
            return len(self.value)
        return None if self.wants_key else self.key


class _Builder:
    """Turns parser events into data, refusing on the way what strict YAML leaves out."""

    def __init__(self, name: str) -> None:
        self.data: object = None
        self.root: _Node | int = 1
        self._name = name
        self._frames: list[_Frame] = []
        self._nodes = 0
        self._documents = 0

    def take(self, event: yaml.Event) -> None:
        """Go on by one event."""
        if isinstance(event, yaml.NodeEvent):
            self._check(event)
            frame = self._frames[-1] if self._frames else None
            if frame and frame.wants_key:
                self._take_key(frame, event)
            elif isinstance(event, yaml.ScalarEvent):
                self._place(frame, self._scalar(event), _line(event))
            else:
                self._open(frame, event)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._frames.pop()
        elif isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                raise self._error(event, "a second document begins", hint="Remove this `---`.")

    def _error(self, event: yaml.Event, what: str, *, hint: str | None = None) -> ManifestError:
        keys = [frame.own for frame in self._frames]
        keys += [frame.next_key for frame in self._frames[-1:]]
        known = tuple(key for key in keys if key is not None)
        return located(self._name, _line(event), known, what, hint=hint)

    def _check(self, event: yaml.NodeEvent) -> None:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise self._error(event, f"the file has more than {MAX_NODES} values")
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            sign = "*" if isinstance(event, yaml.AliasEvent) else "&"
            hint = f"Write it out. If it is text that begins with `{sign}`, put it in quotes."
            what = f"anchors and aliases (`{sign}name`) are not supported"
            raise self._error(event, what, hint=hint)
        if getattr(event, "tag", None) is not None:
            hint = "Remove it. If it is text that begins with `!`, put it in quotes."
            raise self._error(event, "tags (`!name`) are not supported", hint=hint)

    def _open(self, frame: _Frame | None, event: yaml.NodeEvent) -> None:
        if len(self._frames) >= MAX_DEPTH:
            raise self._error(event, f"nested more than {MAX_DEPTH} deep")
        is_mapping = isinstance(event, yaml.MappingStartEvent)
        value: dict[str, object] | list[object] = {} if is_mapping else []
        own, node = frame.next_key if frame else None, _Node(_line(event))
        self._place(frame, value, node)
        self._frames.append(_Frame(own, value, node, is_mapping))

    def _take_key(self, frame: _Frame, event: yaml.NodeEvent) -> None:
        key = self._scalar(event) if isinstance(event, yaml.ScalarEvent) else None
        if not isinstance(key, str):
            raise self._error(event, "a key must be text", hint="Put the key in quotes.")
        if key == "<<" and isinstance(event, yaml.ScalarEvent) and event.implicit[0]:
            raise self._error(event, "merge keys (`<<`) are not supported", hint="Write it out.")
        frame.key, frame.key_line, frame.wants_key = key, _line(event), False
        if key in frame.node.children:
            lines = f"lines {_line_of(frame.node.children[key])} and {frame.key_line}"
            raise self._error(event, f"duplicate key, on {lines}", hint="Keep one.")

    def _place(self, frame: _Frame | None, value: object, node: _Node | int) -> None:
        """Put the value where it belongs; a key's line is its value's."""
        if frame is None:
            self.data, self.root = value, node
        elif isinstance(frame.value, list):
            frame.node.children[len(frame.value)] = node
            frame.value.append(value)
        else:
            if isinstance(node, int):
                node = frame.key_line
            else:
                node.line = frame.key_line
            frame.node.children[frame.key] = node
            frame.value[frame.key] = value
            frame.wants_key = True

    def _scalar(self, event: yaml.ScalarEvent) -> str | float | bool | None:
        is_plain = event.implicit[0]
        if not event.value.isprintable() and _UNWANTED_IN_VALUE.search(event.value):
            hint = "Write the text on one line, without escapes."
            raise self._error(event, "the text holds a control character or line end", hint=hint)
        return _plain(event.value) if is_plain else event.value


def _line(event: yaml.Event) -> int:
    mark = event.start_mark
    return mark.line + 1 if mark else 1


def _line_of(node: _Node | int) -> int:
    return node if isinstance(node, int) else node.line


def _plain(text: str) -> str | float | bool | None:
    """Return what an unquoted scalar means; in doubt, its text."""
    if text in _WORDS:
        return _WORDS[text]
    if number := _NUMBER.fullmatch(text):
        if number["fraction"]:
            return float(text)
        if len(text) <= _MAX_INT_DIGITS:
            return int(text)
    return text
