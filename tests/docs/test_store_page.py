"""docs/store.md is held against the code: its commands run, its first one removes nothing."""

from pathlib import Path

import pytest

from downloader.fs.link import WAYS
from downloader.tasks import _commands
from tests.docs.documents import blocks, commands, first_cells, page
from tests.e2e.project import Project

STORE = page("store.md")
COMMANDS = [words[1:] for words in commands(STORE)]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_command_of_the_page_runs(store: Path, project: Project, words: list[str]) -> None:
    """Each is understood, and ends well where there is nothing to do."""
    project.declare({})
    run = project.doit(*words)

    assert (run.status, run.stdout) == (0, "Nothing to prune.\n"), run.text


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Give a project of no models."""
    return Project(tmp_path / "project")


def test_the_first_prune_of_each_page_removes_nothing() -> None:
    """Whoever copies the first line they see loses nothing."""
    for name in ("commands.md", "store.md"):
        lines = [line for block in blocks(page(name), "sh") for line in block.splitlines()]
        first = next(line for line in lines if line.startswith("doit prune"))
        assert "--dry-run" in first, name


def test_every_way_to_link_is_told() -> None:
    """The table has each value of `link`."""
    assert {f"`{each}`" for each in WAYS} <= set(first_cells(STORE))


def test_the_usual_age_is_told() -> None:
    """Seven days, in the table and in `doit help prune`."""
    assert f"`--older-than` days ({_commands.DAYS:.0f})" in STORE
