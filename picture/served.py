"""What the picture fetches: files of the demonstration, from the demonstration's own origin."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).resolve().parent.parent
DEMO = REPOSITORY / "demo"
DEMO_ADDRESS = "127.0.0.1:24124"
SHOWN = ("config.json", "model.safetensors", "tokenizer.json", "vocab.txt")
"""Of the thirteen files of the second model: the large ones, and what a reader looks for."""


@contextmanager
def serving(folder: Path, *, is_small: bool) -> Iterator[None]:
    """Make a project of a folder, and serve what it wants while the context is open.

    Args:
        folder: Where the project goes.
        is_small: Leave the second model out, whose package not everybody has.
    """
    sys.path.insert(0, str(DEMO))  # the demonstration's modules name each other so
    try:
        content, origin = import_module("content"), import_module("origin")
    finally:
        sys.path.remove(str(DEMO))
    routes = content.gpt2_routes() if is_small else content.routes()
    with origin.Origin(routes) as server:
        text = yaml.safe_dump(wanted(server.url, is_small=is_small), sort_keys=False)
        (folder / "models.yaml").write_text(text, encoding="utf-8")
        shutil.copy(REPOSITORY / "dodo.py", folder)
        yield


def wanted(address: str, *, is_small: bool) -> dict[str, Any]:
    """Return the demonstration's manifest, with the origin elsewhere and fewer files."""
    text = (DEMO / "models.yaml").read_text(encoding="utf-8")
    manifest: dict[str, Any] = yaml.safe_load(text.replace(f"http://{DEMO_ADDRESS}", address))
    models = manifest["models"]
    entry = models.pop("all-minilm-l6-v2")
    if not is_small:
        files = [each for each in entry["files"] if each["url"].endswith(_paths(SHOWN))]
        models["all-minilm-l6-v2"] = {**entry, "files": files}
    return manifest


def _paths(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"/all-MiniLM-L6-v2/{name}" for name in names)
