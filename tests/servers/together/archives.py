"""Real archives, as Together packs them: a tar of an adapter or of a model, under zstd or gzip.

The same arguments give the same bytes. Weights are noise, so that compression leaves their size.
"""

import gzip
import io
import json
import random
import struct
import tarfile
from collections.abc import Mapping
from functools import cache
from typing import Literal

import zstandard

Packing = Literal["zst", "gz"]
BASE_MODEL = "meta-llama/Llama-3.2-1B"
RANK = 8


@cache
def lora_archive(
    step: int, *, top: str = "", packing: Packing = "zst", weights_bytes: int = 4096
) -> bytes:
    """Return the archive of an adapter.

    Args:
        step: Makes the weights differ.
        top: The folder everything lies in; by default the files lie at the root. Both occur.
        packing: What is around the tar.
        weights_bytes: Size of the weights, rounded up to whole rows of the two matrices.
    """
    layer = "base_model.model.model.layers.0.self_attn.q_proj"
    names = [f"{layer}.lora_A.weight", f"{layer}.lora_B.weight"]
    files = {
        "adapter_config.json": as_json(
            {"peft_type": "LORA", "base_model_name_or_path": BASE_MODEL, "r": RANK}
        ),
        "adapter_model.safetensors": safetensors(names, step, weights_bytes),
        **tokenizer(),
    }
    return packed(files, top, packing)


@cache
def merged_archive(
    step: int, *, top: str = "", packing: Packing = "zst", weights_bytes: int = 4096
) -> bytes:
    """Return the archive of a whole model, in two shards: of merged LoRA, or of full training."""
    shards = {f"model-0000{number}-of-00002.safetensors": number for number in (1, 2)}
    weights = {
        name: safetensors([f"model.layers.{number}.weight"], step * 2 + number, weights_bytes // 2)
        for name, number in shards.items()
    }
    weight_map = {f"model.layers.{number}.weight": name for name, number in shards.items()}
    index = {"metadata": {"total_size": weights_bytes}, "weight_map": weight_map}
    files = {
        "config.json": as_json({"architectures": ["LlamaForCausalLM"], "model_type": "llama"}),
        "generation_config.json": as_json({"do_sample": True}),
        **weights,
        "model.safetensors.index.json": as_json(index),
        **tokenizer(),
    }
    return packed(files, top, packing)


def tokenizer() -> dict[str, bytes]:
    """Return the files of a small tokenizer."""
    return {
        "tokenizer.json": as_json({"version": "1.0", "model": {"type": "BPE", "vocab": {"a": 0}}}),
        "tokenizer_config.json": as_json({"tokenizer_class": "PreTrainedTokenizerFast"}),
        "special_tokens_map.json": as_json({"eos_token": "</s>"}),
    }


def as_json(content: object) -> bytes:
    """Return a file of JSON."""
    return json.dumps(content, indent=2).encode() + b"\n"


def safetensors(names: list[str], seed: int, size_bytes: int) -> bytes:
    """Return a safetensors file: length of the header (8 bytes, little-endian), JSON, data.

    Args:
        names: Its tensors, of equal size, float32 with RANK rows.
        seed: Of the noise they hold.
        size_bytes: Of all data, rounded up.
    """
    columns = -(-size_bytes // (4 * RANK * len(names)))
    each = 4 * RANK * columns
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    for number, name in enumerate(names):
        offsets = [number * each, (number + 1) * each]
        header[name] = {"dtype": "F32", "shape": [RANK, columns], "data_offsets": offsets}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # the data begins at a multiple of 8, as the format asks
    data = random.Random(seed).randbytes(each * len(names))
    return struct.pack("<Q", len(text)) + text + data


def packed(files: Mapping[str, bytes], top: str = "", packing: Packing = "zst") -> bytes:
    """Return an archive of these files, under a folder if one is named."""
    plain = tarred(files, top)
    if packing == "gz":
        return gzip.compress(plain, mtime=0)
    return zstandard.ZstdCompressor().compress(plain)


def tarred(files: Mapping[str, bytes], top: str = "") -> bytes:
    """Return a tar; the folder has an entry of its own, as `tar -cf x.tar folder` makes it."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as tar:
        if top:
            folder = tarfile.TarInfo(top)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(folder)
        for name, content in files.items():
            member = tarfile.TarInfo(f"{top}/{name}" if top else name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return target.getvalue()
