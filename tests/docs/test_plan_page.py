"""docs/plan.md is held against the code: commands, fields, actions."""

import json
import re
import shlex
from pathlib import Path
from typing import Any, get_args

import msgspec

from downloader.operations.plan import Action, Extraneous, Plan, PlannedFile, PlannedModel, Volume
from tests.docs.documents import blocks, first_cells, page
from tests.e2e.content import pinned_toy
from tests.e2e.project import Project
from tests.servers.faulty import FaultyServer

PAGE = page("plan.md")
LISTED = {"models[].": PlannedModel, "models[].files[].": PlannedFile, "volumes[].": Volume}


def test_the_example_is_a_plan() -> None:
    """It has every field, and its sums are what the code makes of it."""
    (example,) = blocks(PAGE, "json")
    document: dict[str, Any] = json.loads(example)
    plan = msgspec.convert(document, Plan)
    assert json.loads(plan.dump()) == document


def test_every_field_is_told() -> None:
    """And no other one."""
    (table,) = PAGE.split("| field | meaning |")[1:]
    told = set(re.findall(r"`([\w.\[\]]+)`", " ".join(first_cells(table))))
    top = set(json.loads(blocks(PAGE, "json")[0]))
    fields = {
        f"{prefix}{field}"
        for prefix, kind in LISTED.items()
        for field in kind.__struct_encode_fields__
    }
    assert told == (top | fields | {"models[].extraneous[]"}) - {
        "models",
        "volumes",
        "models[].files",
        "models[].extraneous",
    }
    assert Extraneous.__struct_encode_fields__ == ("path", "size")


def test_every_action_is_told() -> None:
    """A row for each."""
    assert {f"`{each}`" for each in get_args(Action)} <= set(first_cells(PAGE))


def test_its_commands_work(tmp_path: Path, server: FaultyServer) -> None:
    """Each command of the page, in a project with such a model."""
    project = Project(tmp_path / "project")
    project.declare({"gpt2-1558M": pinned_toy(server, ["a.bin"])})
    (block,) = blocks(PAGE, "sh")
    told = [shlex.split(line, comments=True) for line in block.splitlines()]
    assert len(told) == 3
    for program, *words in told:
        assert (program, words[0]) == ("doit", "plan")
        assert project.doit(*words).status == 0
