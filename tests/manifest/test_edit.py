"""Entries are added to the text of models.yaml and removed from it; every other byte stays."""

import json
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from downloader.__main__ import MODELS_YAML
from downloader.errors import ManifestError, ModelmakeError
from downloader.manifest._strict_yaml import load
from downloader.manifest.edit import add_entry, flow_text, line_of, remove_entry, value_of

FILE = "models.yaml"
BGE = {"source": "huggingface", "repo": "BAAI/bge"}
BLOCK = "  bge:\n    source: huggingface\n    repo: BAAI/bge\n"
FLOW = "bge: {source: huggingface, repo: BAAI/bge}"
BOM = "\ufeff"


def meant(text: bytes) -> Any:
    return load(text, FILE).data


def added(text: str) -> str:
    return add_entry(text.encode(), FILE, "bge", BGE).decode()


def removed(text: str, name: str = "bge") -> str:
    return remove_entry(text.encode(), FILE, name).decode()


ADDED = {
    "below the last model": (
        "models:\n  a:\n    source: http\n",
        f"models:\n  a:\n    source: http\n{BLOCK}",
    ),
    "before the keys that follow": (
        "models:\n  a:\n    source: http\nversion: 1\n",
        f"models:\n  a:\n    source: http\n{BLOCK}version: 1\n",
    ),
    "after the comments that belong to the last one": (
        "models:\n  a:\n    source: http # x\n    # y: 1\n\n    # z\n\n  # old\n# end\n",
        f"models:\n  a:\n    source: http # x\n    # y: 1\n\n    # z\n{BLOCK}\n  # old\n# end\n",
    ),
    "apart from it where the others are": (
        "models:\n  a:\n    source: http\n\n  # Two.\n  b:\n    source: http\n",
        f"models:\n  a:\n    source: http\n\n  # Two.\n  b:\n    source: http\n\n{BLOCK}",
    ),
    "indented as the others": (
        "models:\n a:\n     source: http\n",
        "models:\n a:\n     source: http\n bge:\n     source: huggingface\n     repo: BAAI/bge\n",
    ),
    "not indented as the others": (  # a mapping of the same column would be its keys
        " models:\n  a:\n   source: http\n",
        " models:\n  a:\n   source: http\n  bge:\n   source: huggingface\n   repo: BAAI/bge\n",
    ),
    "in braces as the others": (
        "models:\n  a: {source: http}\n  b: {source: http}\n",
        f"models:\n  a: {{source: http}}\n  b: {{source: http}}\n  {FLOW}\n",
    ),
    "without braces if one is not": (
        "models:\n  a:\n    source: http\n  b: {source: http}\n",
        f"models:\n  a:\n    source: http\n  b: {{source: http}}\n{BLOCK}",
    ),
    "with CRLF": (
        "models:\r\n  a: {source: http}\r\n",
        f"models:\r\n  a: {{source: http}}\r\n  {FLOW}\r\n",
    ),
    "no line end at the end": (
        "models:\n  a: {source: http}",
        f"models:\n  a: {{source: http}}\n  {FLOW}",
    ),
    "a byte order mark": (
        f"{BOM}models:\n  a: {{source: http}}\n",
        f"{BOM}models:\n  a: {{source: http}}\n  {FLOW}\n",
    ),
    "text over several lines": (
        "models:\n  a:\n    source: http\n    to: >-\n      deep\n      er\n\n\n# end\n",
        f"models:\n  a:\n    source: http\n    to: >-\n      deep\n      er\n{BLOCK}\n\n# end\n",
    ),
    "no models": ("models: {} # none\nversion: 1\n", f"models: # none\n{BLOCK}version: 1\n"),
    "nothing below models": ("models:\n# none\n", f"models:\n{BLOCK}# none\n"),
    "null for models": ("models: ~\n", f"models:\n{BLOCK}"),
    "no key for models": (
        "version: 1\ndefaults:\n  to: x\n",
        f"version: 1\ndefaults:\n  to: x\n\nmodels:\n{BLOCK}",
    ),
    "an empty file": ("", f"version: 1\n\nmodels:\n{BLOCK}"),
    "comments only": (
        f"{BOM}# Models.\r\n",
        f"{BOM}# Models.\r\n\nversion: 1\n\nmodels:\n{BLOCK}".replace("\r\n", "\n").replace(
            "\n", "\r\n"
        ),
    ),
    "braces": ("models: {a: {source: http}}\n", f"models: {{a: {{source: http}}, {FLOW}}}\n"),
    "braces with space": ("models: { }\n", f"models: {{{FLOW} }}\n"),
    "braces with a last comma": (
        "models: {a: {source: http}, }\n",
        f"models: {{a: {{source: http}}, {FLOW}, }}\n",
    ),
    "braces over several lines": (
        "models: {\n  a: {source: http} # one\n}\n",
        f"models: {{\n  a: {{source: http}}, # one\n  {FLOW}\n}}\n",
    ),
    "braces over several lines with a last comma": (
        "models: {\n  a: {source: http}, # one, two\n}\n",
        f"models: {{\n  a: {{source: http}}, # one, two\n  {FLOW},\n}}\n",
    ),
    "braces around all": ("{version: 1}\n", f"{{version: 1, models: {{{FLOW}}}}}\n"),
    "JSON": (
        '{"models": {"a": {"source": "http"}}}\n',
        f'{{"models": {{"a": {{"source": "http"}}, "bge": {json.dumps(BGE)}}}}}\n',
    ),
    "a document's marks": (
        "---\nmodels:\n  a: {source: http}\n...\n",
        f"---\nmodels:\n  a: {{source: http}}\n  {FLOW}\n...\n",
    ),
}


@pytest.mark.parametrize(("before", "after"), ADDED.values(), ids=ADDED)
def test_an_entry_is_added_as_a_person_would(before: str, after: str) -> None:
    """It stands after the others, in their layout."""
    assert added(before) == after


REMOVED = {
    "with the comment above it": (
        "models:\n  a:\n    source: http\n\n  # B is\n  # the second.\n  bge:\n    source: http\n",
        "models:\n  a:\n    source: http\n",
    ),
    "not with a comment that stands apart": (
        "models:\n  a:\n    source: http\n\n  # Group.\n\n  bge:\n    source: http\n",
        "models:\n  a:\n    source: http\n\n  # Group.\n",
    ),
    "not with the comment of the one above": (
        "models:\n  a:\n    source: http\n    # size: 1\n  bge:\n    source: http\n",
        "models:\n  a:\n    source: http\n    # size: 1\n",
    ),
    "with the comments inside": (
        "models:\n  bge: # b\n    source: http\n    # size: 1\n  # C.\n  c: {source: http}\n",
        "models:\n  # C.\n  c: {source: http}\n",
    ),
    "the first of several": (
        "models:\n  # B.\n  bge: {source: http}\n\n  c: {source: http}\n",
        "models:\n  c: {source: http}\n",
    ),
    "one in the middle": (
        "models:\n  a: {source: http}\n\n  bge: {source: http}\n\n  c: {source: http}\n",
        "models:\n  a: {source: http}\n\n  c: {source: http}\n",
    ),
    "the only one": (
        "models: # all\n  bge:\n    source: http\n\nversion: 1\n",
        "models: {} # all\n\nversion: 1\n",
    ),
    "at the end without a line end": (
        "models:\n  a: {source: http}\n  bge: {source: http}",
        "models:\n  a: {source: http}",
    ),
    "the first in braces": (
        "models: {bge: {source: http}, c: {source: http}}\n",
        "models: {c: {source: http}}\n",
    ),
    "the last in braces": (
        "models: {a: {source: http}, bge: {source: http}}\n",
        "models: {a: {source: http}}\n",
    ),
    "the only one in braces": ("models: {bge: {source: http},}\n", "models: {}\n"),
    "a line in braces": (
        "models: {\n  a: {source: http},\n  bge: {source: http}, # b\n  c: {source: http}\n}\n",
        "models: {\n  a: {source: http},\n  c: {source: http}\n}\n",
    ),
    "a name in quotes": (
        "models:\n  a: {source: http}\n  'bge': {}\n",
        "models:\n  a: {source: http}\n",
    ),
}


@pytest.mark.parametrize(("before", "after"), REMOVED.values(), ids=REMOVED)
def test_an_entry_is_removed_with_what_belongs_to_it(before: str, after: str) -> None:
    """Its comments go, and the empty lines before it; everything else stays."""
    assert removed(before) == after


def test_the_manifest_of_init_takes_one() -> None:
    """It stands before the examples in comments, apart from what is above and below it."""
    text = added(MODELS_YAML)
    assert f"\n\n{BLOCK}\n  # " in text
    assert removed(text) == MODELS_YAML


def test_a_name_that_is_taken_is_refused_with_its_line() -> None:
    """Nothing is overwritten."""
    with pytest.raises(ModelmakeError) as refused:
        added("models:\n  a: {source: http}\n  bge: {source: http}\n")
    assert str(refused.value).startswith("models.yaml:3: ")
    assert "`--name`" in refused.value.hint
    assert line_of(b"models:\n  a: {}\n  b: {}\n", FILE, "b") == 3


def test_a_name_that_is_not_there_is_refused() -> None:
    """The error lists those that are."""
    with pytest.raises(ModelmakeError, match="declares no model 'bge'") as refused:
        removed("models:\n  a: {source: http}\n")
    assert refused.value.hint == "It declares: a."
    with pytest.raises(ModelmakeError) as refused:
        removed("models: {}\n")
    assert refused.value.hint == "It declares no models."


@pytest.mark.parametrize("text", ["models:\n- a\n", "models:\n  ? a\n  : {source: http}\n"])
def test_what_cannot_be_edited_is_refused_with_the_line_to_write(text: str) -> None:
    """A result that means something else is never returned."""
    with pytest.raises(ManifestError, match="nothing was changed") as refused:
        added(text)
    assert refused.value.hint == f"Add this below `models:` yourself: `{FLOW}`"


@pytest.mark.parametrize("text", ["models: [\n", "models:\n\ta: 1\n", "models: &x {}\n"])
def test_what_is_not_strict_yaml_is_refused_as_everywhere(text: str) -> None:
    """The error is the one that every command gives, with its line."""
    for act in (added, removed):
        with pytest.raises(ManifestError, match=r"^models.yaml:\d: "):
            act(text)


@pytest.mark.parametrize(
    "value",
    ["a", "124M", "124", "1.5", "true", "null", "~", "", "*.json", "a: b", "a #b", "12:30", "1e5",
     "2026-02-31", "2026-01-01", "yes", "0x1f", "é", "'", '"', "a,b", "[a", "- a", "https://e.org/a?b=c",
     "ends:", "@a", "%a", "1_000", ".5", ".inf", "=", "<<"],
)  # fmt: skip
def test_text_stays_text(value: str) -> None:
    """Whatever YAML would make of it: quotes are written where they are needed."""
    entry = {"source": "http", "to": value, "include": [value]}
    for before in (b"models: {}\n", b"models: { }\n", b'{"models": {}}'):
        after = meant(add_entry(before, FILE, "a", entry))
        assert after == {"models": {"a": entry}}
    assert value_of(flow_text(value)) == value


VALUES = {"true": True, "12": 12, "text": "text", "[a, b]": ["a", "b"],
          "{last: 3}": {"last": 3}, "*.json": "*.json",
          "a: b": "a: b", "x: [": "x: [", "a\nother: b": "a\nother: b"}  # fmt: skip


@pytest.mark.parametrize(("text", "value"), VALUES.items())
def test_a_typed_value_is_yaml_or_text(text: str, value: object) -> None:
    """What YAML refuses is text."""
    assert value_of(text) == value


NAMES = st.from_regex(r"[a-z][a-z0-9.-]{0,5}", fullmatch=True)
TEXTS = st.sampled_from(["http", "'a b'", '"x: y"', "124M", "~", "true", "https://e.org/a"])
COMMENTS = st.sampled_from(["# one", "# key: {a: 1}, ]", "#", '# it\'s "that" - x', "# a, b }"])


@st.composite
def fillers(draw: st.DrawFn) -> str:
    """Give empty lines and comments at any column, each with its line end."""
    lines = draw(st.lists(st.one_of(st.just(""), COMMENTS), max_size=3))
    return "".join(f"{' ' * draw(st.integers(0, 8)) if line else ''}{line}\n" for line in lines)


@st.composite
def endings(draw: st.DrawFn) -> str:
    return draw(st.sampled_from(["", "  "])) + draw(
        st.one_of(st.just(""), COMMENTS.map(" {}".format))
    )


@st.composite
def braces(draw: st.DrawFn, *, deep: bool) -> str:
    """Give a mapping in braces, on one line or several."""
    keys = draw(st.lists(NAMES, unique=True, min_size=0, max_size=3))
    has_lines = draw(st.booleans())
    space = st.sampled_from(["", " "])
    parts = []
    for number, key in enumerate(keys):
        value = draw(braces(deep=False)) if deep else draw(TEXTS)
        is_last = number == len(keys) - 1
        comma = "," if not is_last or draw(st.booleans()) else draw(space)
        end = draw(st.one_of(st.just(""), COMMENTS.map(" {}".format))) if has_lines else ""
        parts.append(f"{key}: {value}{comma}{end}")
    between = f"\n{' ' * draw(st.integers(9, 12))}" if has_lines else " "
    start = draw(st.sampled_from(["", between])) if not has_lines else between
    return f"{{{start}{between.join(parts)}{between if has_lines else draw(space)}}}"


@st.composite
def blocks(draw: st.DrawFn, column: int, *, deep: bool) -> str:
    """Give keys with values, a line or more each, and what may stand between them."""
    text, step = "", draw(st.integers(1, 4))
    for key in draw(st.lists(NAMES, unique=True, min_size=1, max_size=4)):
        text += draw(fillers()) + f"{' ' * column}{key}:"
        kind = draw(st.sampled_from(["block", "braces", "folded"])) if deep else "text"
        end = draw(endings())
        if kind == "block":
            text += f"{end}\n{draw(blocks(column + step, deep=False))}"
        elif kind == "braces":
            text += f" {draw(braces(deep=False))}{end}\n"
        elif kind == "folded":
            text += f"\n{' ' * (column + step)}k: >-\n{' ' * (column + step + 2)}a # b\n\n"
        else:
            text += f" {draw(TEXTS)}{end}\n"
    return text


@st.composite
def manifests(draw: st.DrawFn) -> str:
    """Give the text of a manifest: comments, block and flow style, odd indents and line ends."""
    column = draw(st.integers(0, 3))
    pad = " " * column
    models = draw(st.sampled_from(["block", "braces", "none"]))
    if models == "block":
        text = draw(endings()) + "\n" + draw(blocks(column + draw(st.integers(1, 4)), deep=True))
    else:
        text = " {}" if models == "none" else f" {draw(braces(deep=True))}"
        text += draw(endings()) + "\n"
    parts = [f"{pad}models:{text}"]
    parts += [f"{pad}version: 1{draw(endings())}\n"] * draw(st.booleans())
    parts += [f"{pad}defaults:\n{draw(blocks(column + 1, deep=False))}"] * draw(st.booleans())
    whole = "".join(draw(fillers()) + each for each in draw(st.permutations(parts)))
    whole += draw(fillers())
    if draw(st.booleans()):
        whole = whole.removesuffix("\n")
    if draw(st.booleans()):
        whole = whole.replace("\n", "\r\n")
    text = draw(st.sampled_from(["", BOM])) + whole
    try:
        load(text.encode(), FILE)
    except ManifestError:  # a deep comment after folded text is a part of it
        assume(False)
    return text


@given(manifests(), NAMES.map("new-{}".format))
def test_add_and_remove_are_inverse(text: str, name: str) -> None:
    """Whatever the layout: one model is added, nothing else changes, and it can be undone."""
    before = meant(text.encode())
    after = add_entry(text.encode(), FILE, name, BGE)
    assert meant(after) == {**before, "models": {**before["models"], name: BGE}}
    assert remove_entry(after, FILE, name) == text.encode()


@given(manifests(), st.data())
def test_each_model_can_be_removed(text: str, data: st.DataObject) -> None:
    """Nothing but its own lines goes: the other models mean what they meant."""
    before = meant(text.encode())
    if before["models"]:
        name = data.draw(st.sampled_from(sorted(before["models"])))
        rest = {key: value for key, value in before["models"].items() if key != name}
        after = remove_entry(text.encode(), FILE, name)
        assert meant(after) == {**before, "models": rest}
