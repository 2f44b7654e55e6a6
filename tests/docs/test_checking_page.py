"""docs/checking.md is held against the code."""

import re
from pathlib import Path

import pytest

from downloader.operations import verify
from downloader.targets import plan
from tests.docs.documents import commands, first_cells, named, page
from tests.e2e.project import REPOSITORY, Project

CHECKING = page("checking.md")


@pytest.mark.parametrize("words", [each[1:] for each in commands(CHECKING)], ids=named)
def test_its_commands_are_understood(tmp_path: Path, words: list[str]) -> None:
    """Each names tasks, models and flags that exist."""
    project = Project(tmp_path / "shipped", MODELMAKE_OFFLINE="1")
    project.write((REPOSITORY / "models.yaml").read_text(encoding="utf-8"))
    run = project.doit(*words)
    assert run.status in (0, 1), run.text
    assert "Traceback" not in run.text


def test_it_tells_every_group_of_verify() -> None:
    """The table has the groups in the order in which they are told."""
    told = [cell.strip("`") for cell in first_cells(CHECKING)]
    assert [each for each in told if each in verify.STATES] == list(verify.STATES)


def test_it_tells_rules_as_they_are_worded() -> None:
    """What `doit info` says of each rule that has one wording stands there."""
    for rule in (plan.NOT_HERE, plan.NOT_PINNED, plan.NEVER_VERIFIED):
        assert f"`{rule}`" in CHECKING
    assert re.search(
        r"`verified [\d-]+ [\d:]+ as sha256:…; size and time unchanged since`", CHECKING
    )
