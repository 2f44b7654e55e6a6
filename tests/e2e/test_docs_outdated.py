"""docs/outdated.md is held against the code: its commands, states and fields."""

import json
import re
import shlex

import pytest

from downloader.outlook import STATES, VERSION, File, Outlook, Side
from tests.documents import blocks, first_cells, page
from tests.e2e.content import toy
from tests.e2e.project import Project
from tests.servers.faulty import FaultyServer

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
    for kind in (Outlook, Side, File):
        assert set(kind.__struct_encode_fields__) <= told


def test_the_example_is_what_the_command_says(project: Project, server: FaultyServer) -> None:
    """The JSON on the page is the very document, made from a file that grew."""
    project.declare({"tokenizer": toy(server, ["merges.txt", "vocab.bpe"])})
    assert project.doit("lock").status == 0
    server.put("/toy/merges.txt", b"x" * 1700)
    (example,) = blocks(PAGE, "json")
    assert json.loads(project.doit("outdated", "--json").stdout) == json.loads(example)
    assert json.loads(example)["version"] == VERSION
