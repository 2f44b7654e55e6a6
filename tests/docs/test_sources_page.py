"""docs/sources.md is held against the code: sources, examples, and where secrets are looked for."""

import re

import msgspec
import pytest

from downloader.manifest import manifest
from downloader.sources.interface import Entry
from downloader.sources.registry import SOURCES, entry_type
from tests.docs.documents import blocks, page
from tests.docs.test_commands_page import CONSTANT, LOOKED_UP
from tests.e2e.project import REPOSITORY

PAGE = page("sources.md")
NAMES = list(SOURCES)
FETCHED = [name for name in NAMES if entry_type(name).source is not Entry.source]
SAID = [
    "Authentication:",
    "Digest known in advance?",
    "Resumable?",
    "Pinned how?",
    "Changes upstream:",
    "Mirrors:",
]
MODULES = {
    "openai-gpt2": "sources/openai_gpt2.py",
    "http": "sources/_netrc.py",
    "together": "sources/together.py",
}


def section(name: str) -> str:
    """Return what the page says of a source."""
    return PAGE.partition(f"\n## `{name}`\n")[2].partition("\n## ")[0]


@pytest.mark.parametrize("name", NAMES)
def test_each_source_has_a_row(name: str) -> None:
    """A row begins with its name, as models.yaml has it."""
    assert f"\n| `{name}` |" in PAGE


@pytest.mark.parametrize("name", NAMES)
def test_each_source_has_its_smallest_entry(name: str) -> None:
    """It loads, is of that source, and has no key that may be left out, but `optional`."""
    (text,) = blocks(section(name), "yaml")
    (entry,) = manifest.load(text.encode()).models.values()

    assert entry.source_name == name
    needed = {e.name for e in msgspec.structs.fields(entry) if e.required}
    assert set(re.findall(r"^    (\w+):", text, re.MULTILINE)) - {"optional"} == needed | {"source"}


@pytest.mark.parametrize("name", FETCHED)
def test_each_source_answers_every_question(name: str) -> None:
    """In one order."""
    assert re.findall(r"^- \*\*(.*?)\*\*", section(name), re.MULTILINE) == SAID


def looked_up(module: str) -> set[str]:
    """Return each name that a module looks up in the environment."""
    text = (REPOSITORY / "downloader" / module).read_text(encoding="utf-8")
    constants = dict(CONSTANT.findall(text))
    return {constants.get(name, name) for name in LOOKED_UP.findall(text)}


@pytest.mark.parametrize("name", FETCHED)
def test_every_variable_that_a_source_asks_for_is_told(name: str) -> None:
    """In its own section: what its modules look up in the environment."""
    found = looked_up(MODULES[name])
    assert found
    for variable in found:
        assert f"`{variable}`" in section(name), variable
