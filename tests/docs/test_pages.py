"""The pages in docs/ are held against the code: formats, layers, modules, errors, links."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from downloader.store import blobs
from downloader.store.blobs import Record
from downloader.store.projects import KnownProject
from downloader.targets.state import Receipt
from downloader.transfer import _journal
from tests.docs.documents import FENCE, PYPROJECT, blocks, first_cells, modules, page
from tests.e2e.project import REPOSITORY

FORMATS = page("formats.md")
ARCHITECTURE = page("architecture.md")
MOST_WORDS = 1_400
MOST_STEPS = 10
DOCUMENTS = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
CONTRACTS = PYPROJECT["tool"]["importlinter"]["contracts"]
MODULE_FILE = re.compile(r"\b(?:[\w.]+/)*\w+\.py\b")
LINK = re.compile(r"\]\(([^)#\s]*)(?:#([^)]*))?\)")


def test_every_field_of_a_receipt_is_told() -> None:
    """docs/formats.md has each field in a table's first column."""
    cells = " ".join(first_cells(FORMATS))
    for field in Receipt.__struct_encode_fields__:
        assert f"`{field}`" in cells, field


def test_everything_in_a_store_is_told() -> None:
    """docs/formats.md has each file and folder of a store, and each field of a record."""
    section = FORMATS.partition("## The shared store")[2].partition("\n## ")[0]
    told = set(re.findall(r"^\| `(\w[\w.]*)", section, re.MULTILINE))
    assert told == {*blobs.OWN, "format", "CACHEDIR.TAG", "claims"}
    for kind in (Record, KnownProject):
        for field in kind.__struct_encode_fields__:
            assert f"`{field}`" in section, field


def test_the_example_of_a_journal_is_one() -> None:
    """The program reads it, and would write its head and its last line in the same bytes."""
    (text,) = blocks(FORMATS, "text")
    found = _journal.load(text.encode())

    assert found is not None
    binding, ranges = found
    assert text.encode().startswith(_journal.dump_head(binding))
    assert text.encode().endswith(b"\n" + _journal.dump_ranges(ranges))


def test_the_example_of_a_receipt_is_one_line() -> None:
    """The receipt in docs/formats.md is one line that `receipts` reads."""
    (example,) = [text for text in blocks(FORMATS, "json") if "mtime_ns" in text]

    assert len(example.splitlines()) == 1
    assert set(json.loads(example)) <= set(Receipt.__struct_encode_fields__)


def test_every_module_that_the_architecture_names_exists() -> None:
    """A file name in docs/architecture.md is a module of downloader/ or a file of the checkout."""
    names = {name.removeprefix("../") for name in MODULE_FILE.findall(ARCHITECTURE)}

    assert names
    for name in names:
        assert (REPOSITORY / "downloader" / name).is_file() or (REPOSITORY / name).is_file(), name


def test_the_architecture_names_every_module() -> None:
    """Each module is in docs/architecture.md by its file, or by the name of its folder."""
    for module in modules():
        folder = module.rpartition("/")[0]
        is_covered = folder and f"`{folder}/`" in ARCHITECTURE
        assert module in MODULE_FILE.findall(ARCHITECTURE) or is_covered, module


def repeated(text: str) -> set[str]:
    """Return the modules that a text names more than once."""
    return {name for name, count in Counter(MODULE_FILE.findall(text)).items() if count > 1}


def test_the_architecture_says_each_thing_once() -> None:
    """No row, and no module, stands twice in its table, nor a module twice beside the way."""
    table = ARCHITECTURE.partition("## Where do I change")[2].partition("\n## ")[0]
    beside = ARCHITECTURE.partition("\nBeside the way:")[2].partition("\n## ")[0]
    rows = first_cells(table)

    assert len(rows) > 20
    assert len(rows) == len(set(rows))
    assert beside
    assert (repeated(table), repeated(beside)) == (set(), set())


def test_the_architecture_is_read_in_five_minutes() -> None:
    """It is one page, and one file's way has at most ten steps."""
    way = ARCHITECTURE.partition("## One file's way")[2].partition("\n## ")[0]

    assert len(ARCHITECTURE.split()) < MOST_WORDS
    assert 1 < len(re.findall(r"^\d+\. ", way, re.MULTILINE)) <= MOST_STEPS


def test_the_picture_of_the_layers_is_what_the_linter_checks() -> None:
    """docs/architecture.md draws the layers of pyproject.toml, in order: copy them there."""
    layers = CONTRACTS[0]["layers"]
    (picture,) = blocks(ARCHITECTURE, "layers")

    assert picture.splitlines() == [line.replace("downloader.", "") for line in layers]


def test_the_gates_for_doit_and_requests_are_told() -> None:
    """docs/architecture.md names each room or module that imports doit, requests or rich."""
    section = ARCHITECTURE.partition("Three more gates")[2].partition("\n## ")[0]

    ignored = [
        line
        for each in CONTRACTS
        for line in each.get("ignore_imports", ())
        if each["type"] == "forbidden"
    ]
    importers = {line.split(" ")[0].removeprefix("downloader.") for line in ignored}
    rooms = {each.removesuffix(".*") for each in importers}
    named = {each.replace(".", "/") + ("/" if "." not in each else ".py") for each in rooms}
    assert named == set(re.findall(r"`([\w/.]+)`", section))


def test_every_dependency_has_its_reason() -> None:
    """docs/dependencies.md has a row for each library of pyproject.toml."""
    text = page("dependencies.md")

    for requirement in PYPROJECT["project"]["dependencies"]:
        name = re.split(r"[<>=~\[]", requirement)[0]
        assert f"\n| {name} |" in text, name


def headings(text: str) -> set[str]:
    """Return the anchors of a document's headings, as GitHub makes them."""
    found = re.findall(r"^#+ (.*)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in found}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    """A relative link leads to a file or folder of the checkout, and its anchor to a heading."""
    text = document.read_text(encoding="utf-8")
    for target, anchor in LINK.findall(FENCE.sub("", text)):
        if target.startswith("https://"):
            continue
        place = document.parent / target if target else document
        assert place.exists(), target
        assert not anchor or anchor in headings(place.read_text(encoding="utf-8")), anchor
