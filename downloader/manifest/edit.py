"""Edit the text of models.yaml: add an entry or remove one, and leave every other byte. Pure.

PyYAML tells where each value begins and ends, so comments, order and layout need no model of their
own: an edit is a few insertions and deletions in the text. The result is parsed before it is
returned, and has to mean the old manifest and the one change. A layout that this module does not
understand is therefore refused, never damaged.

The two are inverse: adding an entry to a manifest and removing it again gives the same bytes.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
import yaml

from downloader.errors import ManifestError, ModelmakeError
from downloader.manifest import _strict_yaml

_PLAIN = re.compile(r"(?a)[\w./](?:[\w./@+=~%:-]*[\w./@+=~%-])?")
"""Text that may stand without quotes wherever a value may; PyYAML then has to take it for text."""
_MODELS = "models"
_FIRST = "version: 1\n\nmodels:\n"
_LONGEST_FLOW = 100
_INDENT = 2
_BOM = b"\xef\xbb\xbf"


def add_entry(text: bytes, file: str, name: str, entry: Mapping[str, object]) -> bytes:
    """Return the manifest with one more model, after all others.

    Args:
        text: Of models.yaml.
        file: What it is called in messages.
        name: The model's.
        entry: Its keys: text, numbers, booleans, and lists and mappings of those.

    Raises:
        ManifestError: It is not strict YAML, or cannot be edited.
        ModelmakeError: It has a model of that name.
    """
    if _is_blank(text):
        layout, before = None, {}
        edited = _with_first_model(text, name, entry)
    else:
        layout, before = _Layout(text, file), _models(text, file)
        if name in before:
            line = layout.document.line((_MODELS, name))
            raise ModelmakeError(
                f"{file}:{line}: there is a model {name} already.",
                hint=f"Choose another name with `--name`, or run `modelmake remove {name}` first.",
            )
        edited = layout.added(name, entry)
    rest = {} if layout is None else layout.data
    if not _means(edited, file, rest, {**before, name: dict(entry)}):
        written = flow_text({name: dict(entry)})[1:-1]
        raise _not_edited(file, f"Add this below `models:` yourself: `{written}`")
    return edited


def remove_entry(text: bytes, file: str, name: str) -> bytes:
    """Return the manifest without a model, and without the comment lines that belong to it.

    Those stand directly above it, or deeper than its name below it.

    Args:
        text: Of models.yaml.
        file: What it is called in messages.
        name: The model's.

    Raises:
        ManifestError: It is not strict YAML, or cannot be edited.
        ModelmakeError: It has no model of that name.
    """
    layout, before = _Layout(text, file), _models(text, file)
    if name not in before:
        known = ", ".join(before)
        hint = f"It declares: {known}." if known else "It declares no models."
        raise ModelmakeError(f"{file} declares no model {name!r}.", hint=hint)
    edited = layout.removed(name)
    if not _means(edited, file, layout.data, {k: v for k, v in before.items() if k != name}):
        raise _not_edited(file, f"Remove the lines of `{name}` yourself.")
    return edited


def names(text: bytes, file: str) -> list[str]:
    """Return the models that a manifest names, also one that has only comments.

    Raises:
        ManifestError: It is not strict YAML.
    """
    return [] if _is_blank(text) else list(_models(text, file))


def line_of(text: bytes, file: str, name: str) -> int:
    """Return the line that a model begins in, counted from 1."""
    return _strict_yaml.load(text, file).line((_MODELS, name))


def flow_text(value: object) -> str:
    """Return plain data as YAML on one line."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_scalar(k)}: {flow_text(v)}' for k, v in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(flow_text, value))}]"
    return _scalar(value)


def value_of(text: str) -> object:
    """Return what a value means that is typed on a command line: YAML, or else the text itself."""
    try:
        data = _strict_yaml.load(b"value: " + text.encode(), "").data
    except ManifestError:
        return text
    return data["value"] if isinstance(data, dict) and data.keys() == {"value"} else text


def _scalar(value: object) -> str:
    if not isinstance(value, str):
        return json.dumps(value)
    is_plain = _PLAIN.fullmatch(value) and _is_text(value)
    return value if is_plain else json.dumps(value, ensure_ascii=False)


def _is_text(value: str) -> bool:
    """Whether both we and YAML 1.1, as other tools read it, take it for text without quotes."""
    try:
        return bool(value_of(value) == value == yaml.safe_load(value))
    except (ValueError, yaml.YAMLError):  # a date that no calendar has
        return False


def _is_blank(text: bytes) -> bool:
    lines = text.removeprefix(_BOM).split(b"\n")
    return all(not line.strip() or line.lstrip().startswith(b"#") for line in lines)


def _with_first_model(text: bytes, name: str, entry: Mapping[str, object]) -> bytes:
    """Return a manifest that has only comments yet, with its first model."""
    lines = _FIRST + "\n".join(_block(name, entry, _INDENT, _INDENT)) + "\n"
    if text.removeprefix(_BOM):
        lines = "\n" * (1 + (not text.endswith(b"\n"))) + lines
    return text + (lines.replace("\n", "\r\n") if b"\r\n" in text else lines).encode()


def _models(text: bytes, file: str) -> dict[str, object]:
    data = _strict_yaml.load(text, file).data
    models = data.get(_MODELS) if isinstance(data, dict) else None
    return models if isinstance(models, dict) else {}


def _means(text: bytes, file: str, rest: Mapping[str, object], models: dict[str, object]) -> bool:
    """Whether a text is strict YAML and says exactly this."""
    try:
        found = _strict_yaml.load(text, file).data
    except ManifestError:
        return False
    as_json = json.dumps({"version": 1, **rest, _MODELS: models})
    is_same = isinstance(found, dict) and json.dumps({"version": 1, **found}) == as_json
    return bool(is_same)


def _not_edited(file: str, hint: str) -> ManifestError:
    return ManifestError(
        f"{file} is laid out in a way that modelmake cannot edit; nothing was changed.", hint=hint
    )


def _block(name: str, entry: Mapping[str, object], column: int, step: int) -> list[str]:
    inner = " " * (column + step)
    keys = [f"{inner}{_scalar(key)}: {flow_text(value)}" for key, value in entry.items()]
    return [f"{' ' * column}{_scalar(name)}:", *keys]


class _Item(NamedTuple):
    """One key of a mapping with its value."""

    key: yaml.Node
    value: yaml.Node


class _Edit(NamedTuple):
    """Replacement of a part of the text, by offsets."""

    start: int
    end: int
    text: str = ""


class _Lines(msgspec.Struct, frozen=True):
    """Lines of one model, both ends included, counted from 0."""

    first: int
    last: int


class _Layout:
    """Where everything stands in the text of a manifest that has a value."""

    def __init__(self, text: bytes, file: str) -> None:
        self.document = _strict_yaml.load(text, file)
        root = yaml.compose(_strict_yaml.decoded(text, file), Loader=_LOADER)
        if not isinstance(root, yaml.MappingNode) or not isinstance(self.document.data, dict):
            raise self.document.error((), "expected keys and values, such as `models:`")
        self.data: dict[str, object] = self.document.data
        self._mark = _BOM if text.startswith(_BOM) else b""
        self._text = text.removeprefix(_BOM).decode()
        self._newline = "\r\n" if "\r\n" in self._text else "\n"
        self._lines = self._text.split("\n")
        self._starts = [0]
        for line in self._lines:
            self._starts.append(self._starts[-1] + len(line) + 1)
        self._root = root
        first = self._text[self._offset(root.value[0][0].start_mark)] if root.value else ""
        self._is_json = bool(root.flow_style) and first == '"'
        self._models = next((each for each in _items(root) if each.key.value == _MODELS), None)

    def added(self, name: str, entry: Mapping[str, object]) -> bytes:
        """Return the text with one more model."""
        if self._models is None:
            return self._with_models(name, entry)
        key, value = self._models
        if isinstance(value, yaml.MappingNode) and not value.flow_style:
            return self._edited(self._in_block(value, name, entry))
        colon = self._colon(key)
        end = self._offset(value.end_mark)
        is_null = isinstance(value, yaml.ScalarNode) and value.start_mark.line == key.end_mark.line
        if not self._root.flow_style and (is_null or self._text[colon:end] == " {}"):
            column = self._root.start_mark.column + _INDENT
            line = self._with_deeper_comments(key.start_mark.line, column)
            lines = self._insertion(line, _block(name, entry, column, _INDENT))
            return self._edited([_Edit(colon, end), lines])
        return self._edited(self._in_flow(value, name, entry))

    def removed(self, name: str) -> bytes:
        """Return the text without a model."""
        assert self._models
        key, value = self._models
        items = _items(value)
        index = next(number for number, each in enumerate(items) if each.key.value == name)
        if getattr(value, "flow_style", False):
            return self._edited(self._out_of_flow(value, index))
        edits = [self._deletion(self._lines_of(items, index))]
        if len(items) == 1:
            colon = self._colon(key)
            edits.append(_Edit(colon, colon, " {}"))
        return self._edited(edits)

    def _with_models(self, name: str, entry: Mapping[str, object]) -> bytes:
        """Return the text with `models` and its first model, after all other keys."""
        if self._root.flow_style:
            return self._edited(self._in_flow(self._root, _MODELS, {name: dict(entry)}))
        column, last = self._root.start_mark.column, _items(self._root)[-1]
        lines = ["", f"{' ' * column}{_MODELS}:"]
        lines += _block(name, entry, column + _INDENT, _INDENT)
        return self._edited([self._insertion(self._last_line(last), lines)])

    def _in_block(
        self, models: yaml.MappingNode, name: str, entry: Mapping[str, object]
    ) -> list[_Edit]:
        """Return the edits that add a model below the last one, laid out as the others are."""
        items = _items(models)
        column = items[-1].key.start_mark.column
        flow = f"{' ' * column}{_scalar(name)}: {flow_text(entry)}"
        is_flow = all(getattr(each.value, "flow_style", False) for each in items)
        lines = [flow]
        if not is_flow or len(flow) > _LONGEST_FLOW:
            lines = _block(name, entry, column, _step(items))
        if len(items) > 1:
            between = range(self._last_line(items[-2]) + 1, items[-1].key.start_mark.line)
            lines = [""] * any(self._is_empty(line) for line in between) + lines
        return [self._insertion(self._last_line(items[-1]), lines)]

    def _lines_of(self, items: Sequence[_Item], index: int) -> _Lines:
        """Return the lines to remove with a model: its comments, and the empty lines before it."""
        first, last = items[index].key.start_mark.line, self._last_line(items[index])
        column = items[index].key.start_mark.column
        above = items[index - 1] if index else self._models
        assert above
        end = self._last_line(above) if index else above.key.end_mark.line
        while first - 1 > end and self._comment_column(first - 1) in range(column + 1):
            first -= 1
        if index:
            while first - 1 > end and self._is_empty(first - 1):
                first -= 1
        elif len(items) > 1:
            while self._is_empty(last + 1):
                last += 1
        return _Lines(first, last)

    def _last_line(self, item: _Item) -> int:
        """Return the last line of a model in block style, with the comments that are deeper."""
        return self._with_deeper_comments(self._end(item.value), item.key.start_mark.column)

    def _with_deeper_comments(self, line: int, column: int) -> int:
        """Return the last of the comments after a line that begin behind a column, or the line."""
        last = line
        for below in range(line + 1, len(self._lines)):
            if self._comment_column(below) > column:
                last = below
            elif not self._is_empty(below):
                break
        return last

    def _end(self, node: yaml.Node) -> int:
        """Return the line in which a value ends: PyYAML ends blocks where the next one begins."""
        if isinstance(node, yaml.CollectionNode) and not node.flow_style:
            last = node.value[-1]
            return self._end(last[1] if isinstance(last, tuple) else last)
        line: int = node.end_mark.line
        if isinstance(node, yaml.ScalarNode) and node.style in {"|", ">"}:
            line -= node.end_mark.column == 0
            while self._is_empty(line):
                line -= 1
        return line

    def _in_flow(self, mapping: yaml.Node, name: str, entry: Mapping[str, object]) -> list[_Edit]:
        """Return the edits that add a key to a mapping in braces, laid out as the others are."""
        items, start = _items(mapping), self._offset(mapping.start_mark)
        text = f"{_scalar(name)}: {flow_text(entry)}"
        if self._is_json:
            text = f"{json.dumps(name)}: {json.dumps(dict(entry), ensure_ascii=False)}"
        if not items:
            return [_Edit(start + 1, start + 1, text)]
        end, comma = self._value_end(items, -1), self._comma(items, -1)
        place = comma + 1 if comma >= 0 else end
        text += "," * (comma >= 0)
        added = f" {text}"
        if items[0].key.start_mark.line > mapping.start_mark.line:
            indent = " " * items[-1].key.start_mark.column
            added, line_end = f"{self._newline}{indent}{text}", self._line_end(place)
            place = line_end if line_end < self._offset(mapping.end_mark) else place
        if comma >= 0:
            return [_Edit(place, place, added)]
        if place == end:
            return [_Edit(end, end, f",{added}")]
        return [_Edit(end, end, ","), _Edit(place, place, added)]

    def _out_of_flow(self, mapping: yaml.Node, index: int) -> list[_Edit]:
        """Return the edits that take a key out of a mapping in braces."""
        items = _items(mapping)
        start, end = self._offset(items[index].key.start_mark), self._value_end(items, index)
        own_comma = self._comma(items, index)
        comma_before = self._comma(items, index - 1) if index else -1
        edits = [_Edit(comma_before, comma_before + 1)] * (own_comma < 0 <= comma_before)
        end = own_comma + 1 if own_comma >= 0 else end
        first = items[index].key.start_mark.line
        last = self._text.count("\n", 0, end)
        rest = self._text[end : self._line_end(end)].strip()
        is_alone = not self._text[self._starts[first] : start].strip()
        if is_alone and (not rest or rest.startswith("#")):
            return [*edits, self._deletion(_Lines(first, last))]
        if comma_before >= 0:
            return [*edits, _Edit(comma_before + 1, end)]
        spaces = len(self._text[end:]) - len(self._text[end:].lstrip(" "))
        return [_Edit(start, end + spaces * (len(items) > 1))]

    def _value_end(self, items: Sequence[_Item], index: int) -> int:
        return self._offset(items[index].value.end_mark)

    def _comma(self, items: Sequence[_Item], index: int) -> int:
        """Return the offset of the comma after a value in braces; -1 if there is none."""
        found = _TO_COMMA.match(self._text, self._value_end(items, index))
        return found.end() - 1 if found else -1

    def _colon(self, key: yaml.Node) -> int:
        """Return the offset behind the colon of a key."""
        return self._text.index(":", self._offset(key.end_mark)) + 1

    def _offset(self, mark: yaml.Mark) -> int:
        return self._starts[mark.line] + int(mark.column)

    def _line_end(self, offset: int) -> int:
        end = self._text.find("\n", offset)
        end = len(self._text) if end < 0 else end
        return end - self._text.endswith("\r", offset, end)

    def _is_empty(self, line: int) -> bool:
        """Whether it is an empty line; the end of the text is none."""
        return line < len(self._lines) - 1 and not self._lines[line].strip()

    def _comment_column(self, line: int) -> int:
        """Return where a line's comment begins; -1 if it has something else, or nothing."""
        text = self._lines[line]
        found = text.lstrip(" ")
        return len(text) - len(found) if found.startswith("#") else -1

    def _insertion(self, line: int, lines: Sequence[str]) -> _Edit:
        """Return the edit that puts lines below one; the text then ends as it did."""
        text = "".join(f"{self._newline}{each}" for each in lines)
        place = self._line_end(self._starts[line])
        return _Edit(place, place, text)

    def _deletion(self, lines: _Lines) -> _Edit:
        """Return the edit that removes whole lines, with the line end before them."""
        start = self._line_end(self._starts[lines.first - 1])
        return _Edit(start, self._line_end(self._starts[lines.last]))

    def _edited(self, edits: Sequence[_Edit]) -> bytes:
        text = self._text
        for each in sorted(edits, reverse=True):
            text = text[: each.start] + each.text + text[each.end :]
        return self._mark + text.encode()


_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TO_COMMA = re.compile(r"(?:\s|#[^\n]*+)*+,")
"""What may stand between a value in braces and its comma."""


def _items(mapping: yaml.Node) -> list[_Item]:
    return [_Item(*pair) for pair in mapping.value] if isinstance(mapping, yaml.MappingNode) else []


def _step(items: Sequence[_Item]) -> int:
    """Return by how much the keys of the last model in block style are indented."""
    for key, value in reversed(items):
        if isinstance(value, yaml.MappingNode) and not value.flow_style:
            return int(value.start_mark.column - key.start_mark.column)
    return _INDENT
