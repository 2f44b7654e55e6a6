"""docs/mirrors.md is held against the code: its commands run, and its manifests load."""

import re
import shlex
from itertools import chain
from pathlib import Path

import pytest

from downloader.manifest import manifest
from downloader.settings import Settings
from downloader.urls import is_published
from tests.docs.documents import blocks, page
from tests.e2e.content import pinned_toy, toy_content
from tests.e2e.project import Project
from tests.servers.faulty import FaultyServer

MIRRORS = page("mirrors.md")
PLACE = "/srv/models"
COLUMNS = 4
CELLS = [
    re.findall("`([^`]+)`", cell)
    for row in re.findall(r"^\| (?:a|an|Amazon|Google|Azure) .*\|$", MIRRORS, re.MULTILINE)
    if row.count("|") == COLUMNS + 1
    for cell in row.strip("| ").split("|")[2:]
]


def test_the_commands_fill_and_use_a_mirror(server: FaultyServer, tmp_path: Path) -> None:
    """Publish on one machine; the other needs no provider."""
    publish, read = (shlex.split(block) for block in blocks(MIRRORS, "sh"))
    place = str(tmp_path / "models")
    project = Project(tmp_path / "one")
    project.declare({"m": pinned_toy(server, ["a.bin"])})
    assert project.doit().status == 0
    words = [place if word == PLACE else word for word in publish[1:]]
    assert project.doit(*words).status == 0
    project.target("m", "a.bin").unlink()
    before = len(server.requests)

    name, _, value = read[0].partition("=")
    assert (value, read[1:]) == (PLACE, ["doit"])
    run = project.doit(**{name: place})

    assert run.status == 0, run.text
    assert project.target("m", "a.bin").read_bytes() == toy_content("a.bin")
    assert len(server.requests) == before


@pytest.mark.parametrize(
    ("text", "mode"), [*zip(blocks(MIRRORS, "yaml"), ["first", "only"], strict=True)]
)
def test_the_manifests_load(text: str, mode: str) -> None:
    """Each names the place of the commands."""
    (entry,) = manifest.load(text.encode()).models.values()
    assert (entry.copies, entry.mirror, entry.bases) == ((f"file://{PLACE}",), mode, ())


def test_the_table_of_places_is_understood() -> None:
    """What it has for the variable, and for `mirrors`, means a published copy."""
    of_variable, of_manifest = CELLS[0::2], CELLS[1::2]
    assert len(of_variable) == len(of_manifest) > 1
    for text in chain(*of_variable):
        assert Settings.from_environment({"MODELMAKE_MIRROR": text}).mirrors
    assert all(map(is_published, chain(*of_manifest)))
