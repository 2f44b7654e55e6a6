"""Small manifests for the tests of `downloader.manifest.manifest*`."""

import pytest

from downloader.errors import ManifestError
from downloader.manifest.manifest import load
from downloader.sources.interface import Entry

SHA = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
GPT2 = "source: openai-gpt2\nsize: 124M"
HTTP = "source: http\nfiles:\n  - url: https://example.org/model.bin"
TOGETHER = "source: together\njob: ft-0123abcd-0123"
HUGGING_FACE = "source: huggingface\nrepo: BAAI/bge-small-en-v1.5"
U = "url: https://e.org/f.bin"


def model(body: str, *, before: str = "", name: str = "m") -> str:
    """Return a manifest with one model; its first key stands on line 4."""
    lines = "".join(f"    {line}\n" for line in body.split("\n"))
    return f"version: 1\n{before}models:\n  {name}:\n{lines}"


def files(*lines: str) -> str:
    """Return a manifest with one http model; its first file stands on line 6."""
    return model("source: http\nfiles:\n  - " + "\n    ".join(lines))


def error(text: str) -> ManifestError:
    with pytest.raises(ManifestError) as caught:
        load(text.encode())
    return caught.value


def entry(body: str) -> Entry:
    return load(model(body).encode()).models["m"]
