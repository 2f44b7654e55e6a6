"""docs/ci.md is held against the code: each command and snippet in it is run."""

import re
from collections.abc import Callable

import pytest

from downloader.operations.cache_key import CachedModel, CacheKey
from tests.ci.github import action
from tests.ci.machine import Machine
from tests.docs.documents import blocks, first_cells, page
from tests.e2e.content import pinned_toy
from tests.e2e.project import REPOSITORY, Project
from tests.servers.faulty import FaultyServer

CI = page("ci.md")
LINES = [line for block in blocks(CI, "sh") for line in block.splitlines()]
RECIPE = "set +e\n" + "".join(blocks(CI, "bash"))
"""As a plain shell runs it: it ends at a failure because it says so itself."""
EXAMPLES = [
    "examples/github/models.yml",
    "examples/gitlab/modelmake.gitlab-ci.yml",
    "examples/docker/Dockerfile",
]

Make = Callable[..., Machine]


def section(heading: str) -> str:
    """Return the page's part below a heading."""
    return CI.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


@pytest.fixture
def project(server: FaultyServer, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Give a project with the models that the page names, locked and fetched."""
    made = Project(tmp_path_factory.mktemp("project"))
    made.declare({name: pinned_toy(server, [f"{name}.bin"]) for name in ("gpt2-124M", "bge-small")})
    assert made.doit().status == 0
    return made


def test_each_command_does_what_it_says(project: Project, machine: Make) -> None:
    """Run one after the other in a job, every command ends with 0."""
    runner = machine()
    assert len(LINES) >= 3
    for line in LINES:
        run = runner.bash(line, {})
        assert run.status == 0, (line, run.text)


def test_the_recipe_restores_what_it_saved(
    project: Project, machine: Make, server: FaultyServer
) -> None:
    """The second job finds all of it, reads no file again and asks nobody."""
    (project.folder / "cache").mkdir()
    variables = {"CACHE": str(project.folder / "cache")}
    before = len(server.requests)
    first, second = (machine().bash(RECIPE, variables) for _ in range(2))
    assert "2 fetched" in first.stdout, first.text
    assert (second.status, second.stdout) == (0, "Nothing to do.\n"), second.text
    assert len(server.requests) == before + 2
    (saved,) = (project.folder / "cache").iterdir()
    assert f"{saved.stem}\n" == project.doit("ci-key").stdout


def test_the_recipe_ends_where_there_is_no_key(project: Project, machine: Make) -> None:
    """Without a lock nothing is saved under an empty name, and the job fails."""
    runner = machine()
    (runner.checkout / "models.lock").unlink()
    run = runner.bash(RECIPE, {"CACHE": str(runner.checkout.parent)})
    assert run.status == 1
    assert not list(runner.checkout.parent.glob("*.tar"))


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_page_leads_to_each_example(name: str) -> None:
    """What people copy is a file that other tests load and run."""
    assert (REPOSITORY / name).is_file()
    assert f"[{name}](../{name})" in CI


def test_the_steps_of_the_page_are_those_of_the_workflow() -> None:
    """Each line of the page's YAML is a line of the complete workflow."""
    workflow = (REPOSITORY / EXAMPLES[0]).read_text(encoding="utf-8").splitlines()
    (steps,) = blocks(CI, "yaml")
    assert steps
    assert set(steps.splitlines()) <= set(workflow)


def test_the_page_shows_no_other_file() -> None:
    """Each block of the page is one that a test of this module knows."""
    languages = re.findall(r"^```(\S+)$", CI, re.MULTILINE)
    assert set(languages) == {"sh", "bash", "yaml"}


def test_the_inputs_and_outputs_of_the_action_are_told() -> None:
    """The tables have exactly what action.yml has."""
    told = {cell.strip("`") for cell in first_cells(section("GitHub"))} - {"input or output", "---"}
    assert told == {*action()["inputs"], *action()["outputs"]}


def test_every_field_of_the_json_is_told() -> None:
    """The table has each field of the document, and no other."""
    told = set(re.findall(r"`([\w\[\].]+)`", " ".join(first_cells(section("The key")))))
    models = {f"models[].{field}" for field in CachedModel.__struct_encode_fields__}
    assert told == models | set(CacheKey.__struct_encode_fields__) - {"models"}


@pytest.mark.parametrize(
    ("command", "status"),
    [("doit", 0), ("rm models.lock; doit ci-key", 1), ("echo x > models.yaml; doit", 2),
     ("doit nope", 3)],
)  # fmt: skip
def test_the_exit_statuses_are_those_of_the_table(
    project: Project, machine: Make, command: str, status: int
) -> None:
    """Each status that the page tells is the one that a run ends with."""
    assert str(status) in first_cells(page("commands.md").partition("## Exit status")[2])
    assert machine().bash(command, {}).status == status
