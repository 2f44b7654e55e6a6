"""The JSON Schema of models.yaml says what the manifest's types say, no more and no less."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from downloader.__main__ import MODELS_YAML
from downloader.errors import ManifestError
from downloader.manifest import _strict_yaml, schema
from downloader.project.project import Project
from downloader.settings import Settings
from tests.docs.documents import blocks
from tests.e2e.project import REPOSITORY
from tests.manifest.test_manifest import ACCEPTED, EXAMPLE
from tests.manifest.test_manifest_faults import AT_THE_TOP, IN_A_FILE, IN_A_MODEL
from tests.manifest.texts import GPT2, files, model

DOCUMENTS = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
MANIFESTS = [
    *(path for path in REPOSITORY.glob("*/**/models.yaml") if "site-packages" not in path.parts),
    REPOSITORY / "models.yaml",
]
VALID = [
    EXAMPLE,
    MODELS_YAML,
    "version: 1\ndefaults:\nmodels: {}",
    "version: 1\ndefaults: {source: openai-gpt2}\nmodels: {a: {size: 124M}}",
    *map(model, ACCEPTED),
    *(path.read_text(encoding="utf-8") for path in MANIFESTS),
    *(
        each
        for path in DOCUMENTS
        if path.name != "adding-a-source.md"  # its source is in a copy alone: test_docs_adding.py
        for each in blocks(path.read_text(encoding="utf-8"), "yaml")
        if "source:" in each  # others are of CI services
    ),
]
FAULTS = [
    *AT_THE_TOP,
    *((model(body), message) for body, message in IN_A_MODEL),
    *((files(*lines), message) for lines, message in IN_A_FILE),
]
BEYOND_TYPES = re.compile(
    r"safe|is not a placeholder|(?<!complete )(?<!https )URL|https?://|: http$|has a step|"
    r"expected either|is greater"
)
"""What the messages say of faults that no type can see: of paths, most of URLs, and two keys."""

VALIDATOR = Draft7Validator(schema.schema())


def faults_seen(text: str) -> list[str]:
    """Return what the schema has against a manifest."""
    data: Any = _strict_yaml.load(text.encode(), "models.yaml").data
    return [error.message for error in VALIDATOR.iter_errors(data)]


def test_the_committed_schema_is_the_generated_one() -> None:
    """docs/models.schema.json is `python -m downloader schema`: write it anew when this fails."""
    committed = (REPOSITORY / "docs/models.schema.json").read_text(encoding="utf-8")

    assert committed == schema.text()


def test_the_schema_is_one() -> None:
    """It is valid draft 7 and says nothing beside a `$ref`, which draft 7 would not read."""
    Draft7Validator.check_schema(schema.schema())

    def look(node: Any) -> None:
        if isinstance(node, dict):
            assert "$ref" not in node or len(node) == 1, node
        for each in node.values() if isinstance(node, dict) else node:
            if isinstance(each, (dict, list)):
                look(each)

    look(schema.schema())


@pytest.mark.parametrize("text", VALID)
def test_every_manifest_that_loads_is_valid(text: str) -> None:
    """The schema takes each example in the documents, the demonstration and the tests."""
    assert faults_seen(text) == []


@pytest.mark.parametrize(("text", "message"), FAULTS)
def test_every_fault_that_types_can_see_is_found(text: str, message: str) -> None:
    """A wrong key, word, type or pattern is refused; paths and combinations are not."""
    try:
        found = faults_seen(text)
    except ManifestError:
        assert "not valid YAML" in message
        return

    assert bool(found) is not bool(BEYOND_TYPES.search(message)), found


def test_every_key_is_explained() -> None:
    """Each key has a description: editors show it."""
    definitions = schema.schema()["definitions"]

    assert definitions["TogetherEntry"]["properties"]["job"]["description"].startswith("The fine-")
    for name, each in definitions.items():
        for key, value in each["properties"].items():
            assert value.get("description"), f"{name}.{key}"


def test_patterns_are_those_of_every_language() -> None:
    """No pattern holds what Python alone understands."""
    patterns = re.findall(r'"pattern": "(.*)"', schema.text())

    assert len(patterns) >= 4
    assert not [each for each in map(json.loads, (f'"{p}"' for p in patterns)) if "(?a)" in each]
    assert not [each for each in patterns if r"\Z" in each or r"\w" in each]


def declared(folder: Path, text: str) -> Path:
    """Load a models.yaml, and return where its schema would be."""
    (folder / "models.yaml").write_text(text, encoding="utf-8")
    try:
        assert Project(folder / "models.yaml", Settings()).declared
    except ManifestError:
        assert "nope" in text
    return folder / schema.FILE


@pytest.mark.parametrize("fault", ["", "    nope: 1\n"])
def test_a_manifest_that_names_the_schema_gets_it(tmp_path: Path, fault: str) -> None:
    """The first command in a fresh clone writes what the line names, also where a key is wrong."""
    found = declared(tmp_path, f"{schema.LINE}\n{model(GPT2)}{fault}")

    assert found.read_text(encoding="utf-8") == schema.text()


def test_a_manifest_that_names_no_schema_gets_none(tmp_path: Path) -> None:
    """Nothing is written that nobody reads."""
    assert not declared(tmp_path, model(GPT2)).exists()


def test_a_disk_that_takes_no_schema_stops_nothing(tmp_path: Path) -> None:
    """The schema is for editors alone."""
    (tmp_path / schema.FILE).mkdir(parents=True)

    assert declared(tmp_path, f"{schema.LINE}\n{model(GPT2)}").is_dir()
