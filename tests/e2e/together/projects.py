"""Small projects of one Together model, and what was asked of the fake for them."""

from pathlib import Path
from typing import Any

from tests.projects import Entry, declare, project
from tests.projects import sync as sync_all
from tests.servers.together.archives import lora_archive, merged_archive, packed
from tests.servers.together.server import TogetherServer

JOB = "ft-0123abcd-0123"
STEM = "acct--llama-3.2-1b-my-suffix-abc123"
"""What the fake's usual `model_output_name` gives."""
ADAPTER = {"adapter_config.json", "adapter_model.safetensors"}
TOKENIZER = {"special_tokens_map.json", "tokenizer.json", "tokenizer_config.json"}
LORA_FILES = ADAPTER | TOKENIZER
ARCHIVE = f"{STEM}-adapter.tar.zst"
DOWNLOAD = "/v1/finetune/download"
CHECKPOINTS = f"/v1/fine-tunes/{JOB}/checkpoints"
LOOK = f"/v1/fine-tunes/{JOB}"


def usual_checkpoints() -> Any:
    """Return an intermediate checkpoint of a LoRA job, and the final one in both forms."""
    return {
        10: {"adapter": lora_archive(10)},
        20: {"adapter": lora_archive(20), "merged": merged_archive(20)},
    }


def bot(**keys: Any) -> Entry:
    """Return an entry of the usual job."""
    return {"source": "together", "job": JOB, **keys}


def sync(folder: Path, **keys: Any) -> None:
    """Declare one model of the usual job, and bring it up to date as its own process would."""
    sync_all(folder, {"m": bot(**keys)})


def sync_adapter(folder: Path, **keys: Any) -> None:
    """Bring the unpacked adapter of the usual job up to date."""
    sync(folder, **{"type": "adapter", "extract": True, **keys})


def serve(together: TogetherServer, content: dict[str, bytes] | bytes, top: str = "") -> None:
    """Make the job's adapter an archive of these files."""
    archive = content if isinstance(content, bytes) else packed(content, top)
    together.job(JOB).checkpoints = {20: {"adapter": archive}}


def files(folder: Path, name: str = "m") -> set[str]:
    """Return what lies in a model's folder, without this program's own."""
    base = folder / "models" / name
    found = (each.relative_to(base).as_posix() for each in base.rglob("*") if each.is_file())
    return {each for each in found if not each.startswith(".modelmake/")}


def private_files(folder: Path, name: str = "m") -> set[str]:
    """Return what lies in the model's private folder."""
    base = folder / "models" / name / ".modelmake"
    return {each.relative_to(base).as_posix() for each in base.rglob("*") if each.is_file()}


def locked_archives(folder: Path, name: str = "m") -> list[Any]:
    """Return the archives in models.lock, whether their files are wanted or they themselves."""
    model = project(folder).lockfile.models[name]
    return [each for each in (*model.archives, *model.files) if each.checkpoint]


def downloads(together: TogetherServer) -> list[dict[str, str]]:
    """Return the query of each request for bytes so far."""
    return [dict(seen.query) for seen in together.requests if seen.path == DOWNLOAD]


def write_manifest(folder: Path, **keys: Any) -> None:
    """Declare one model of the usual job."""
    declare(folder, {"m": bot(**keys)})
