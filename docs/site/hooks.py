"""What mkdocs does beyond its own rules: plain links to the checkout, and a reference of keys."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

SCHEMA = Path(__file__).parents[1] / "models.schema.json"
INTRODUCTION = """# All keys of models.yaml

This page is made from the types that check models.yaml. [models.yaml](manifest.md) explains the
keys with examples.
"""
TYPES = {
    "any": "any value",
    "boolean": "true or false",
    "integer": "whole number",
    "object": "keys and values",
    "string": "text",
}


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the reference of keys."""
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    text = "\n".join(reference(schema["definitions"]))
    files.append(File.generated(config, "keys.md", content=text))
    return files


def on_page_markdown(markdown: str, *, page: Page, **_: object) -> str:
    """Return the page with links to files outside docs/ as plain text: the site lacks them."""
    up = page.file.src_uri.count("/") + 1
    return re.sub(rf"\[([^\]]+)\]\((?:\.\./){{{up}}}[^)]*\)", r"\1", markdown)


def reference(definitions: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of the page: keys of every model, of each source, and of what they hold.

    Args:
        definitions: Of the JSON schema.
    """
    entries = {
        kind["properties"]["source"]["const"]: kind["properties"]
        for kind in definitions.values()
        if "const" in kind.get("properties", {}).get("source", {})
    }
    first, *others = entries.values()
    common = [key for key in first if all(first[key] == other.get(key) for other in others)]
    yield INTRODUCTION
    yield from table("Keys of every model", {key: first[key] for key in common})
    for source, properties in entries.items():
        own = {key: value for key, value in properties.items() if key not in common}
        yield from table(f"Keys of `source: {source}`", own)
    for name, kind in definitions.items():
        if "const" not in kind["properties"].get("source", {}):
            yield from table(f"Keys of {name}", kind["properties"])


def table(heading: str, properties: dict[str, Any]) -> Iterator[str]:
    """Yield a section with a row for each key."""
    yield f"## {heading}\n\n| key | type | default | meaning |\n|---|---|---|---|"
    for key, value in properties.items():
        has_default = value.get("default") not in (None, [])
        default = f"`{json.dumps(value['default'])}`" if has_default else ""
        meaning = value.get("description", "").partition("\n")[0]
        yield f"| `{key}` | {type_of(value)} | {default} | {meaning} |"
    yield ""


def type_of(value: dict[str, Any]) -> str:
    """Return what a value may be, in a few words."""
    match value:
        case {"const": const}:
            text = f"`{const}`"
        case {"enum": values}:
            text = ", ".join(f"`{each}`" for each in values)
        case {"anyOf": kinds}:
            named = (type_of(kind) for kind in kinds if kind != {"type": "null"})
            text = " or ".join(dict.fromkeys(named))
        case {"$ref": ref}:
            name = ref.rpartition("/")[2]
            text = f"[{name}](#keys-of-{name.lower()})"
        case {"type": "array", "items": items}:
            text = f"list of {type_of(items)}"
        case {"pattern": pattern} if "://" in pattern:
            text = "URL"
        case _:
            text = TYPES[value.get("type", "any")]
    return text
