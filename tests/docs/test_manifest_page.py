"""docs/manifest.md is held against the types of models.yaml, key by key."""

import re
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

import msgspec
import pytest
import yaml

from downloader.manifest import manifest
from downloader.sources.http import HttpEntry, HttpFile
from downloader.sources.interface import Entry
from downloader.sources.openai_gpt2 import GPT2_NAMES
from downloader.sources.registry import SOURCES, entry_type, entry_types
from tests.docs.documents import blocks, page

PAGE = page("manifest.md")
REQUIRED = {
    "openai-gpt2": "size: 124M",
    "http": "files: [{url: https://example.org/a}]",
    "together": "job: ft-0123abcd-0123\n    extract: true",
    "huggingface": "repo: gpt2",
    "object-store": "url: s3://my-bucket/m/",
    "oci": "image: ghcr.io/team/model",
}
"""What an entry has beside the key that a row shows."""
OF_ONE_FILE = ("`url`", "`sha256`", "`path`")
"""Keys of a model with one file."""


class Row(NamedTuple):
    """One key, as its table tells it."""

    section: str
    key: str
    type: str
    default: str
    rule: str
    example: str

    @property
    def source(self) -> str:
        """The source whose key it is, any one for a common key."""
        return self.section if self.section in SOURCES else "openai-gpt2"


def rows() -> Iterator[Row]:
    """Yield every row of a table of keys, with what its heading names."""
    for part in PAGE.split("\n## ")[1:]:
        found = re.match(r"`source: ([\w-]+)`", part)
        section = found[1] if found else part.splitlines()[0]
        for line in re.findall(r"^\| `.*\|$", part, re.MULTILINE):
            yield Row(section, *(cell.strip() for cell in line.strip("|").split(" | ")))


ROWS = list(rows())
every_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.section}: {row.key}")


def type_of(row: Row) -> type[msgspec.Struct]:
    """Return the class whose field a row is about."""
    if row.key.startswith("`files[]."):
        return HttpFile
    return entry_type(row.section) if row.section in SOURCES else Entry


def field_of(row: Row) -> msgspec.structs.FieldInfo:
    """Return the field that a row is about."""
    name = row.key.strip("`").removeprefix("files[].")
    (found,) = (each for each in msgspec.structs.fields(type_of(row)) if each.encode_name == name)
    return found


def words(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def test_the_tables_have_every_key_and_no_other() -> None:
    """The common ones once, each source's own in its section."""
    told = {(row.section, key) for row in ROWS for key in words(row.key)}
    common = set(Entry.__struct_encode_fields__)
    own = {
        (source, field)
        for source, kind in entry_types().items()
        for field in set(kind.__struct_encode_fields__) - common
    }
    files = {("http", f"files[].{field}") for field in HttpFile.__struct_encode_fields__}
    every = {("Keys that every model may have", key) for key in (*common, "source")}

    assert len(ROWS) == len(told)
    assert told == own | files | every


@every_row
def test_its_default_is_that_of_the_type(row: Row) -> None:
    """`required`, `none`, or the very value."""
    if row.key == "`source`":
        assert row.default == "required"
        return
    field = field_of(row)
    assert (row.default == "required") is field.required
    if row.default == "none":
        assert field.default in (None, ())
    elif not field.required:
        assert yaml.safe_load(row.default.strip("`")) == field.default


@every_row
def test_its_type_is_that_of_the_type(row: Row) -> None:
    """Words are the words that are allowed, in their order; a list is a list, a yes a yes."""
    if row.key == "`source`":
        assert words(row.type) == sorted(SOURCES)
        return
    hint: Any = get_type_hints(type_of(row))[field_of(row).name]
    literals = [each for each in (hint, *get_args(hint)) if get_origin(each) is Literal]
    allowed = [str(word) for each in literals for word in get_args(each)]
    if row.key == "`size`":
        allowed = GPT2_NAMES
    if row.key == "`checkpoint`":
        assert words(row.type)[: len(allowed)] == allowed
    else:
        assert words(row.type) == allowed
        assert (row.type == "true, false") is (hint is bool)
        assert row.type.startswith("list") is (get_origin(hint) is tuple)


@every_row
def test_its_example_loads(row: Row) -> None:
    """It stands in an entry of that source, and does not say the default."""
    example = words(row.example)[0]
    key, value = next(iter(yaml.safe_load(example).items()))
    if row.key == "`source`":
        assert value in SOURCES
        return
    field = field_of(row)
    assert key == field.encode_name
    assert value != field.default
    loaded = manifest.load(with_key(row, example).encode()).models["m"]
    if isinstance(loaded, HttpEntry) and row.section == "http" and row.key != "`files`":
        assert getattr(loaded.listed[0], field.name) != field.default
    else:
        assert getattr(loaded, field.name) != field.default


def with_key(row: Row, example: str) -> str:
    """Return a manifest with a row's example in it."""
    head = f"version: 1\nmodels:\n  m:\n    source: {row.source}\n"
    if row.key.startswith("`files[]."):
        url = "" if row.key == "`files[].url`" else "url: https://example.org/a, "
        return f"{head}    files: [{{{url}{example}}}]\n"
    others = REQUIRED[row.source].split("\n    ")
    if row.key in OF_ONE_FILE:
        others = ["url: https://example.org/a"]
    if row.key == "`variant`":
        others = [*others, "format: gguf"]
    lines = [line for line in others if not example.startswith(line.partition(" ")[0])]
    return head + "".join(f"    {line}\n" for line in (*lines, example))


@pytest.mark.parametrize("text", blocks(PAGE, "yaml"))
def test_a_manifest_of_the_page_loads(text: str) -> None:
    """Each is a whole one."""
    assert manifest.load(text.encode()).models


def test_every_source_has_a_section() -> None:
    """Each of the table, and no other."""
    sections = re.findall(r"^## `source: ([\w-]+)`", PAGE, re.MULTILINE)
    assert sorted(sections) == sorted(SOURCES)
