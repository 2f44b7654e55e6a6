"""What the demonstration says at its end: plain lines, read from the synced files themselves."""

import json
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any


def lines(folder: Path, requests: int, body_bytes: int) -> Iterator[str]:
    """Yield the report of a run, a line at a time.

    Args:
        folder: Where models.lock and models/ are.
        requests: How many requests the origin answered in this run.
        body_bytes: How many bytes of bodies it sent.
    """
    lock = json.loads((folder / "models.lock").read_text(encoding="utf-8"))
    for name, model in lock["models"].items():
        target = folder / "models" / name
        sizes = [(target / file["path"]).stat().st_size for file in model["files"]]
        yield f"{target}: {len(sizes)} files, {sum(sizes):,} bytes"
    yield f"GPT-2's vocabulary has {tokens(folder / 'models/gpt2-124M/encoder.json'):,} tokens"
    yield _weights(folder / "models/all-minilm-l6-v2/model.safetensors")
    yield f"the origin served {requests:,} requests and {body_bytes:,} bytes in this run"
    if requests:
        yield "Run it again: all is up to date, so the origin will serve 0 requests and 0 bytes."
    else:
        yield "All was up to date: nothing was asked for. `doit -f demo/dodo.py clean` undoes it."


def tokens(encoder: Path) -> int:
    """Return how many tokens GPT-2's encoder.json names."""
    return len(json.loads(encoder.read_text(encoding="utf-8")))


def tensor_shapes(safetensors: Path) -> dict[str, list[int]]:
    """Return tensor name -> shape from the file's header; the weights are not read.

    The format: 8 bytes little-endian length, then that much JSON (safetensors' README, "Format").
    """
    with safetensors.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header: dict[str, Any] = json.loads(file.read(length))
    return {name: about["shape"] for name, about in header.items() if name != "__metadata__"}


def _weights(safetensors: Path) -> str:
    shapes = tensor_shapes(safetensors)
    parameters = sum(prod(shape) for shape in shapes.values())
    return f"{safetensors.name} holds {len(shapes)} tensors, {parameters:,} parameters"
