"""The archives the fake of Together AI serves, read as other programs read them."""

import gzip
import io
import json
import tarfile
from typing import Any

import pytest
import zstandard

from tests.servers.together.archives import Packing, lora_archive, merged_archive, safetensors


def header_bytes(file: bytes) -> int:
    """Return the length of a safetensors header."""
    return int.from_bytes(file[:8], "little")


def header_of(file: bytes) -> dict[str, Any]:
    """Return the header of a safetensors file."""
    header: dict[str, Any] = json.loads(file[8 : 8 + header_bytes(file)])
    return header


def unpacked(archive: bytes, packing: Packing) -> dict[str, bytes]:
    """Return the files of an archive."""
    if packing == "gz":
        plain = gzip.decompress(archive)
    else:
        plain = zstandard.ZstdDecompressor().stream_reader(archive).read()
    with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
        members = [member for member in tar.getmembers() if member.isfile()]
        return {
            member.name: getattr(tar.extractfile(member), "read", bytes)() for member in members
        }


@pytest.mark.parametrize("packing", ["zst", "gz"])
@pytest.mark.parametrize("top", ["", "output"])
def test_adapter(packing: Packing, top: str) -> None:
    """A tar under its compression, with or without a folder, of the files PEFT reads."""
    archive = lora_archive(10, top=top, packing=packing)
    files = unpacked(archive, packing)
    assert {name.rpartition("/")[0] for name in files} == {top}
    bare = {name.rpartition("/")[2]: content for name, content in files.items()}
    assert json.loads(bare["adapter_config.json"])["peft_type"] == "LORA"
    assert {"adapter_model.safetensors", "tokenizer.json"} < set(bare)


def test_merged_model_has_an_index_of_its_shards() -> None:
    """Each weight of the index lies in the shard that it names."""
    files = unpacked(merged_archive(20), "zst")
    weight_map = json.loads(files["model.safetensors.index.json"])["weight_map"]
    assert len(weight_map) == 2
    for weight, shard in weight_map.items():
        assert weight in header_of(files[shard])


def test_safetensors_are_whole() -> None:
    """The header begins and ends where it says, and the data fill the file to its end."""
    file = safetensors(["a", "b"], 1, 1000)
    header = header_of(file)
    assert header["a"]["data_offsets"] == [0, 512]
    assert header["b"]["data_offsets"] == [512, 1024]
    rows, columns = header["a"]["shape"]
    assert (rows * columns * 4, len(file)) == (512, 8 + header_bytes(file) + 1024)
    assert header_bytes(file) % 8 == 0


def test_archives_differ_by_step_and_repeat() -> None:
    """Another step is other bytes of the size asked for; the same one is the same."""
    assert lora_archive(10) != lora_archive(20)
    assert len(lora_archive(10, weights_bytes=10**6)) > 10**6
    assert lora_archive(10) == lora_archive.__wrapped__(10)
