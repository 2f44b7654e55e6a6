"""docs/plan.md is held against the code: commands, fields, actions."""

import json
import re
import shlex
from pathlib import Path
from typing import get_args

from downloader.operations.plan import Action, Extraneous, Plan, PlannedFile, PlannedModel, Volume
from tests.docs.documents import blocks, first_cells, page
from tests.e2e.content import pinned_toy
from tests.e2e.project import Project
from tests.servers.faulty import FaultyServer

PAGE = page("plan.md")
LISTED = {"models[].": PlannedModel, "models[].files[].": PlannedFile, "volumes[].": Volume}


def test_every_field_is_told() -> None:
    """And no other one."""
    (table,) = PAGE.split("| field | meaning |")[1:]
    told = set(re.findall(r"`([\w.\[\]]+)`", " ".join(first_cells(table))))
    empty = Plan(lock="current", offline=False, refusal=None, models=(), volumes=())
    top = set(json.loads(empty.dump()))
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
