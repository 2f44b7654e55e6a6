"""docs/outdated.md is held against the code: its commands, states and fields."""

import json
import re
import shlex
import struct
from collections.abc import Iterator

import pytest

from downloader.operations.outdated import STATES, VERSION, File, Outdated, Side
from tests.docs.documents import blocks, first_cells, page
from tests.e2e.content import CHECKPOINT, HPARAMS, gpt2, put_all, toy
from tests.e2e.project import Project
from tests.e2e.together.projects import JOB, bot
from tests.servers.faults import statuses
from tests.servers.faulty import FaultyServer
from tests.servers.together.archives import lora_archive
from tests.servers.together.server import TogetherServer

PAGE = page("outdated.md")
COMMANDS = [
    shlex.split(line, comments=True)[1:]
    for text in blocks(PAGE, "sh")
    for line in text.splitlines()
]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_command_of_the_page_runs(
    project: Project, server: FaultyServer, words: list[str]
) -> None:
    """On a project that is locked, each ends well."""
    project.declare({"tokenizer": toy(server, ["merges.txt"])})
    assert project.doit("lock").status == 0
    run = project.doit(*words)
    assert run.status == 0, run.text


def test_every_state_has_its_row_in_order() -> None:
    """The table of states is the order in which a model's state is chosen."""
    rows = [cell.strip("`") for cell in first_cells(PAGE)]
    assert [row for row in rows if row in STATES] == list(STATES)


def test_every_field_of_the_document_is_told() -> None:
    """Each field of each object is in a first column."""
    told = set(re.findall(r"`(\w+)`", " ".join(first_cells(PAGE))))
    for kind in (Outdated, Side, File):
        assert set(kind.__struct_encode_fields__) <= told


def test_the_example_is_what_the_command_says(project: Project, server: FaultyServer) -> None:
    """The JSON on the page is the very document, made from a file that grew."""
    project.declare({"tokenizer": toy(server, ["merges.txt", "vocab.bpe"])})
    assert project.doit("lock").status == 0
    server.put("/toy/merges.txt", b"x" * 1700)
    (example,) = blocks(PAGE, "json")
    assert json.loads(project.doit("outdated", "--json").stdout) == json.loads(example)
    assert json.loads(example)["version"] == VERSION


def archive(step: int, size: int) -> bytes:
    """Return an adapter's archive of a size: padded with a skippable frame (RFC 8878, 3.1.2)."""
    found = lora_archive(step, weights_bytes=1024)
    padding = size - len(found) - 8
    return found + struct.pack("<II", 0x184D2A50, padding) + bytes(padding)


@pytest.fixture
def moved_on(
    project: Project, server: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Project]:
    """Give a project as the page has it: fetched, and then everything but GPT-2 moved on."""
    middle = archive(200, 4818)
    put_all(server.put, "/m/124M", {"checkpoint": CHECKPOINT, "hparams.json": HPARAMS})
    project.variables["OPENAI_GPT2_BASE_URL"] = server.url("/m")
    whisper = toy(server, ["model.bin", "a.json", "b.json"])
    with TogetherServer() as together:
        monkeypatch.setenv("TOGETHER_API_KEY", together.key)
        monkeypatch.setenv("TOGETHER_BASE_URL", together.url)
        job = together.add_job(JOB, output_name="support-bot", final_step=300)
        job.checkpoints = {100: {"adapter": archive(100, 4694)}, 200: {"adapter": middle}}
        project.declare(
            {
                "gpt2-124M": gpt2("124M", server.url("/m"), include=["checkpoint", "h*"]),
                "support-bot": bot(checkpoint={"last": 2}),
                "whisper": whisper,
            }
        )
        run = project.doit()
        assert run.status == 0, run.text
        final = archive(300, 4982)  # the last step is the final model
        job.checkpoints = {200: {"adapter": middle}, 300: {"merged": final}}
        server.always("/toy/model.bin", statuses.status(404))
        yield project


def test_what_the_page_shows_is_said(moved_on: Project, server: FaultyServer) -> None:
    """Word for word but for the server's address and the order of the models."""
    (outdated,) = blocks(PAGE, "text")
    seen = moved_on.doit("outdated")
    real = seen.stdout.replace(server.url("/toy"), "https://example.org/whisper")
    assert sorted(real.splitlines()) == sorted(outdated.splitlines()), seen.text
    taken = moved_on.doit("lock", "--upgrade", "support-bot")
    change = [line for line in outdated.splitlines() if "support-bot-checkpoint" in line]
    assert taken.stdout.splitlines()[1:] == change, taken.text
