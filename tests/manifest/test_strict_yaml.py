"""Strict YAML: plain data with line numbers, and every trap refused in time."""

import json
import re
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from downloader.errors import ManifestError
from downloader.manifest._strict_yaml import load
from tests.examples import examples

MIB = 1 << 20


def data(text: str | bytes) -> Any:
    return load(text.encode() if isinstance(text, str) else text, "m.yaml").data


def error(text: str | bytes) -> ManifestError:
    with pytest.raises(ManifestError) as caught:
        data(text)
    return caught.value


@pytest.mark.parametrize(
    ("scalar", "value"),
    [
        ("null", None), ("~", None), ("", None), ("true", True), ("false", False),
        ("True", True), ("TRUE", True), ("False", False), ("FALSE", False),
        ("0", 0), ("-7", -7), ("124", 124), ("1" * 64, int("1" * 64)),
        ("1.5", 1.5), ("-0.25", -0.25),
        *((text, text) for text in (
            "no", "yes", "on", "off", "tRUE", "Null", "NULL", "y", "n", "0777", "0o17",
            "0x1f", "12:30", "12:30:45", "2026-01-01", "2026-01-01T00:00:00Z", "1e10", "1.0e10",
            ".5", "5.", "+1", "1_000", ".inf", "-.inf", ".nan", "=", "124M", "0" + "1" * 63,
            "\u0661", "9" * 5000,
        )),
        ('"null"', "null"), ("'1'", "1"), ('"true"', "true"), ('"~"', "~"), ('""', ""),
    ],
)  # fmt: skip
def test_a_scalar_means_what_it_looks_like(scalar: str, value: object) -> None:
    """Only null, true, false and decimal numbers are not text; nothing is silently re-formatted."""
    got = data(f"a: {scalar}\n")["a"]
    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize("text", ["\ufeffa: 1\r\nb:\r\n  - x\r\n", "---\na: 1\nb: [x]\n...\n"])
def test_a_byte_order_mark_crlf_and_document_marks_are_fine(text: str) -> None:
    """What editors on Windows write, and the usual `---`, change nothing."""
    assert data(text) == {"a": 1, "b": ["x"]}


REFUSED = [
    ("a: !!python/object/apply:os.system [x]", 1, "a: tags"),
    ("a: !!str x", 1, "a: tags"),
    ("x: 1\na: !thing\n  b: 1", 2, "a: tags"),
    ("a: ! x", 1, "a: tags"),
    ("!!map {a: 1}", 1, "tags"),
    ("!!str a: 1", 1, "tags"),
    ("a: !no!such x", 1, "undefined tag handle"),
    ("a: &x 1", 1, "a: anchors"),
    ("a: [1]\nb: *a", 2, "b: anchors"),
    ("&a [*a]", 1, "anchors"),
    ("&k a: 1", 1, "anchors"),
    ("a: 1\nb:\n  <<: {c: 1}", 3, "b: merge keys"),
    ("a: 1\nb: 2\na: 3", 3, "a: duplicate key, on lines 1 and 3"),
    ('a: 1\n"a": 3', 2, "a: duplicate key, on lines 1 and 2"),
    ("m:\n  f:\n  - {u: 1}\n  - {u: 1,\n     'u': 2}", 5, "m.f[1].u: duplicate key"),
    ("m: {1: x}", 1, "m: a key must be text"),
    ("null: x", 1, "a key must be text"),
    ("? [a, b]\n: x", 1, "a key must be text"),
    ("[{{a: 1}: 2}]", 1, "[0]: a key must be text"),
    ("a: 1\n---\nb: 2", 2, "a second document"),
    ("a: 1\n--- \n", 2, "a second document"),
    ("a:\n\t- 1", 2, "a tab"),
    ("a: 1\nb:\t2", 2, "a tab"),
    ("%YAML 1.1\n---\na: 1", 1, "directive"),
    ("a: 1\n# \0", 2, "'\\x00'"),
    ('a: "\\0"', 1, "a: the text holds a control"),
    ('a: "x\\ny"', 1, "a: the text holds a control"),
    ("a: |\n  x\n", 1, "a: the text holds a control"),
    ("a: 1\n# x\x85b: 2", 2, "'\\x85'"),
    ("a: 1 # x\u2028b: 2", 1, "'\\u2028'"),
    ("a: 1\rb: 2", 1, "'\\r'"),
    ("a: \x1b[2J", 1, "'\\x1b'"),
    ("a: x\ufeff", 1, "'\\ufeff'"),
    ("a: 1\nb: [1, 2", 2, "not valid YAML"),
    ("a: b: c", 1, "not valid YAML"),
    ("a: 'x", 1, "not valid YAML"),
    (b"a: 1\nb: \xff", 2, "this is not UTF-8"),
    (b"a: \xed\xa0\x80", 1, "this is not UTF-8"),
    ("a: 1".encode("utf-16"), 1, "UTF-16"),
    ("a: 1".encode("utf-16-le"), 1, "'\\x00'"),
    ("a: 1".encode("utf-32-be"), 1, "'\\x00'"),
    ("", 1, "the file is empty"),
    ("# only a comment\n\n", 1, "the file is empty"),
    ("---\n...\n", 1, "the file is empty"),
    ("~", 1, "the file is empty"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "what"), REFUSED)
def test_what_strict_yaml_leaves_out_is_refused_at_its_line(
    text: str | bytes, line: int, what: str
) -> None:
    """The message names file and line, the key path where there is one, and what is wrong."""
    message = str(error(text))
    assert message.startswith(f"m.yaml:{line}: ")
    assert what in message
    assert message.isprintable()


def test_an_empty_file_says_what_to_write() -> None:
    """Who starts with an empty file is told the first lines."""
    assert "Write at least `models:`" in error("").report()


def test_depth_and_size_are_accepted_up_to_their_limits() -> None:
    """The limits are what they say: 50 levels and 1 MiB."""
    assert data("[" * 50 + "]" * 50)
    assert "nested" in str(error("[" * (51) + "]" * (51)))
    full = b"a: 1 #".ljust(MIB, b"x")
    assert data(full) == {"a": 1}
    assert "1048577 bytes" in str(error(full + b"x"))


def test_a_key_path_is_answered_with_its_line_or_the_nearest_one() -> None:
    """Lines are those an editor shows; a missing key is looked for where it should stand."""
    text = (
        b"\n# x\nversion: 1\nmodels:\n  w:\n    files:\n      - url: a\n\n        path:\n         b"
    )
    document = load(text, "m.yaml")
    lines = {
        (): 3,
        ("version",): 3,
        ("models", "w"): 5,
        ("models", "w", "files"): 6,
        ("models", "w", "files", 0): 7,
        ("models", "w", "files", 0, "path"): 9,
        ("models", "w", "files", 0, "sha256"): 7,
        ("models", "w", "files", 3, "url"): 6,
        ("nothing", "here"): 3,
    }
    assert {keys: document.line(keys) for keys in lines} == lines


def test_an_error_at_a_key_path_is_worded_for_people() -> None:
    """File, line, key path with indices, what and hint; odd keys are escaped."""
    document = load('a:\n  "b\u202e": [1]\n'.encode(), "m.yaml")
    found = document.error(("a", "b\u202e", 0), "wrong", hint="Right it.")
    assert found.report() == "m.yaml:2: a.'b\\u202e'[0]: wrong\n  Right it."


TEXT = st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]))
FLOATS = st.decimals(-(10**6), 10**6, places=3).map(float).filter(lambda x: "e" not in repr(x))
LEAVES = st.none() | st.booleans() | st.integers() | FLOATS | TEXT
TREES = st.recursive(
    LEAVES, lambda tree: st.lists(tree, max_size=4) | st.dictionaries(TEXT, tree, max_size=4)
)


class _NoAliases(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - its base names it
        return True


@settings(deadline=None)
@given(st.dictionaries(TEXT, TREES, min_size=1))
def test_dumped_data_comes_back(tree: dict[str, object]) -> None:
    """What a YAML or a JSON writer wrote is read as the same data, of the same types."""
    for dumped in (
        yaml.dump(tree, Dumper=_NoAliases, allow_unicode=True, width=10**6),
        yaml.dump(tree, Dumper=_NoAliases, default_flow_style=True),
        json.dumps(tree, ensure_ascii=False),
    ):
        assert _typed(data(dumped)) == _typed(tree)


def _typed(tree: object) -> object:
    """Return the data with its types beside it: 1, 1.0 and True are equal in Python."""
    if isinstance(tree, dict):
        return {key: _typed(value) for key, value in tree.items()}
    return [_typed(value) for value in tree] if isinstance(tree, list) else (type(tree), tree)


@settings(deadline=None, max_examples=examples(300))
@given(st.binary() | st.text(st.sampled_from("ab:- \n[]{},&*!|>'\"%#?~<\t0.")).map(str.encode))
def test_any_bytes_give_data_or_a_located_error(text: bytes) -> None:
    """Nothing but ManifestError ever comes out, and it always names a line."""
    message = "m.yaml:1: "
    try:
        load(text, "m.yaml")
    except ManifestError as found:
        message = str(found)
    assert re.match(r"m\.yaml:[1-9][0-9]*: ", message)


def test_every_character_that_nobody_sees_is_refused() -> None:
    """Also in a comment: a quick look at the whole text passes over none of them."""
    controls = [*range(0x09), *range(0x0B, 0x20), *range(0x7F, 0xA0)]
    others = [0x2028, 0x2029, 0xFEFF, 0xFFFE, 0xFFFF]
    taken = []
    for character in map(chr, [*controls, *others]):
        try:
            load(f"a: b # x{character}y\n".encode(), "models.yaml")
        except ManifestError:
            continue
        taken.append(character)
    assert taken == []
