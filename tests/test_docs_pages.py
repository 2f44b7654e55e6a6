"""The pages in docs/ are held against the code: formats, layers, modules, errors, links."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import get_args

import pytest

from downloader import errors, lockfile, manifest
from downloader.artifact import Artifact
from downloader.entries import AnyEntry, HttpFile
from downloader.receipts import Receipt
from tests.documents import PYPROJECT, blocks, first_cells, modules, page
from tests.e2e.project import REPOSITORY

FORMATS = page("formats.md")
ARCHITECTURE = page("architecture.md")
DOCUMENTS = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
CONTRACTS = PYPROJECT["tool"]["importlinter"]["contracts"]
MODULE_FILE = re.compile(r"\b(?:[\w.]+/)*\w+\.py\b")
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize("text", blocks(FORMATS, "yaml"))
def test_a_manifest_of_the_formats_loads(text: str) -> None:
    """Every YAML snippet of docs/formats.md is a whole manifest that `manifest.load` takes."""
    assert manifest.load(text.encode()).models


def test_every_key_of_the_manifest_is_told() -> None:
    """docs/formats.md names each key of each entry class in a table's first column."""
    told = set(re.findall(r"`(?:files\[\]\.)?(\w+)`", " ".join(first_cells(FORMATS))))

    for kind in (*get_args(AnyEntry), HttpFile):
        assert set(kind.__struct_encode_fields__) <= told, kind


def test_every_field_of_the_lockfile_and_of_a_receipt_is_told() -> None:
    """docs/formats.md has each field in a table's first column."""
    cells = " ".join(first_cells(FORMATS))

    for field in Artifact.__struct_encode_fields__:
        assert f"`files[].{field}`" in cells
    for field in (
        *lockfile.LockedModel.__struct_encode_fields__,
        *Receipt.__struct_encode_fields__,
    ):
        assert re.search(rf"`{field}(\[\]\.path)?`", cells), field


def test_the_example_of_a_lockfile_is_one() -> None:
    """The lock in docs/formats.md is, byte for byte, what `dump` writes."""
    (example,) = [text for text in blocks(FORMATS, "json") if '"models"' in text]

    assert lockfile.dump(lockfile.load(example.encode())) == example.encode()


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


@pytest.mark.parametrize(("contract", "language"), [(0, "layers"), (1, "transfer-layers")])
def test_the_picture_of_the_layers_is_what_the_linter_checks(contract: int, language: str) -> None:
    """docs/architecture.md draws the layers of pyproject.toml, in order: copy them there."""
    layers = CONTRACTS[contract]["layers"]
    (picture,) = blocks(ARCHITECTURE, language)

    assert picture.splitlines() == [line.replace("downloader.", "") for line in layers]


def test_the_gates_for_doit_and_requests_are_told() -> None:
    """docs/architecture.md names each module that may import doit, requests, urllib3 or rich."""
    section = ARCHITECTURE.partition("Three more gates")[2].partition("\n## ")[0]

    ignored = [line for each in CONTRACTS for line in each.get("ignore_imports", ())]
    importers = {line.split(" ")[0].removeprefix("downloader.") for line in ignored}
    assert {f"{each.replace('.', '/')}.py" for each in importers} == set(
        MODULE_FILE.findall(section)
    )


def test_every_error_is_explained() -> None:
    """docs/errors.md has a row for each class of the tree, and for nothing else."""
    text = page("errors.md")
    told = set(re.findall(r"^\| `(\w+)`", text, re.MULTILINE))

    public = {name for name, kind in vars(errors).items() if isinstance(kind, type)}
    assert told == {name for name in public if issubclass(getattr(errors, name), Exception)}


def test_every_dependency_has_its_reason() -> None:
    """docs/dependencies.md has a row for each library of pyproject.toml."""
    text = page("dependencies.md")

    for requirement in PYPROJECT["project"]["dependencies"]:
        name = re.split(r"[<>=~\[]", requirement)[0]
        assert f"\n| {name} |" in text, name


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    """A relative link of a document leads to a file or folder of the checkout."""
    for target in LINK.findall(document.read_text(encoding="utf-8")):
        if not target.startswith("https://"):
            assert (document.parent / target).exists(), target
