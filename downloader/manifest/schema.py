"""Make the JSON Schema of models.yaml from the entry types, so that editors complete keys.

Draft 7, which the YAML language server knows as a whole. A schema says what types can say: which
keys there are, what they hold and which are required. Safe paths, allowed URLs and what two keys
mean together are checked in manifest/manifest.py alone, and it is the stricter one.
"""

import inspect
import json
from typing import Any

import msgspec

from downloader.artifact import MODEL_NAME
from downloader.fs.files import PRIVATE_FOLDER
from downloader.fs.rooted_path import RootedPath
from downloader.manifest.manifest import VERSION
from downloader.sources.interface import Entry
from downloader.sources.registry import SOURCES, entry_types

FILE = f"{PRIVATE_FOLDER}/models.schema.json"
"""Where a project's copy is kept, relative to models.yaml; it may be deleted at any time."""
LINE = f"# yaml-language-server: $schema={FILE}"
"""The comment by which an editor finds it: the path is taken relative to the file it stands in."""

Schema = dict[str, Any]
_COMMON = "Defaults"


def text() -> str:
    """Return the schema as it is kept in files."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


def is_named_in(manifest: bytes) -> bool:
    """Whether a text of models.yaml sends editors to the project's copy."""
    return LINE.encode() in manifest.splitlines()


def schema() -> Schema:
    """Return the schema of a whole models.yaml."""
    kinds = entry_types()
    _, found = msgspec.json.schema_components(
        [*kinds.values(), Entry], ref_template="#/definitions/{name}"
    )
    definitions = {name: _portable(definition) for name, definition in found.items()}
    definitions[_COMMON] = _common(definitions.pop(Entry.__name__))
    for source, kind in kinds.items():
        definitions[kind.__name__]["required"].remove("source")
        definitions[kind.__name__].update(kind.schema)
        definitions[kind.__name__]["properties"]["source"] = {
            "const": source,
            "description": "Where the model comes from.",
        }
    return {**_document(), "definitions": definitions}


def _document() -> Schema:
    kinds = entry_types().values()
    models = {"anyOf": [{"$ref": f"#/definitions/{kind.__name__}"} for kind in kinds]}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "models.yaml",
        "description": "Which models we want; `doit` fetches what is missing or changed.",
        "type": "object",
        "properties": {
            "version": {"const": VERSION, "description": "Of the format; 1 if it is left out."},
            "defaults": {"anyOf": [{"$ref": f"#/definitions/{_COMMON}"}, {"type": "null"}]},
            "models": {
                "description": "Each model by its name.",
                "type": "object",
                "propertyNames": {"pattern": _pattern(f"^(?:{MODEL_NAME.pattern})$")},
                "additionalProperties": models,
            },
        },
        "required": ["models"],
        "additionalProperties": False,
        "anyOf": [  # `source` stands in the defaults, or in each model
            {"properties": {"defaults": {"required": ["source"]}}, "required": ["defaults"]},
            {"properties": {"models": {"additionalProperties": {"required": ["source"]}}}},
        ],
    }


def _common(entry: Schema) -> Schema:
    source = {"enum": sorted(SOURCES), "description": "Where models come from that say no other."}
    return {
        **entry,
        "title": "defaults",
        "description": "Keys for every model; a model's own key replaces one as a whole.",
        "properties": {**entry["properties"], "source": source},
        "required": [],
    }


def _portable(node: Any) -> Any:  # noqa: ANN401 - any JSON
    """Return the same on every Python: docstrings lose their indentation only from 3.13 on.

    Patterns become those of ECMA 262, which is what JSON Schema asks for.
    """
    if isinstance(node, dict):
        changed = {key: _portable(value) for key, value in node.items()}
        if isinstance(description := changed.get("description"), str):
            changed["description"] = inspect.cleandoc(description)
        if isinstance(pattern := changed.get("pattern"), str):
            changed["pattern"] = _pattern(pattern)
        return changed
    return [_portable(item) for item in node] if isinstance(node, list) else node


def _pattern(python: str) -> str:
    r"""Return a pattern as ECMA 262 has it: its `\w` is ASCII, its end of text is `$`."""
    plain = python.removeprefix("(?a)").replace(r"\Z", "$")
    return plain.replace(r"[\w", "[A-Za-z0-9_").replace(r"\w", "[A-Za-z0-9_]")


def write(path: RootedPath) -> None:
    """Write the schema.

    Raises:
        StoreError: The disk refused.
    """
    from downloader.fs.files import write_file  # noqa: PLC0415 - `text` alone needs none

    write_file(path, text().encode())
