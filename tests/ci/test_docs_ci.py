"""docs/ci.md is held against the code: each command and snippet in it is run."""

import re
from collections.abc import Callable
from pathlib import Path

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
(EXAMPLE,) = blocks(CI, "json")
SHOWN = {
    "examples/github/models.yml": "yaml",
    "examples/gitlab/modelmake.gitlab-ci.yml": "yaml",
    "examples/docker/Dockerfile": "dockerfile",
}

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
    assert len(LINES) >= 7
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


@pytest.mark.parametrize(("name", "language"), SHOWN.items())
def test_the_page_shows_the_files_as_they_are(name: str, language: str) -> None:
    """What people copy from the page is what is tested as a file."""
    text = (REPOSITORY / name).read_text(encoding="utf-8")
    assert text in blocks(CI, language)


def test_the_page_shows_no_other_file() -> None:
    """Each block of the page is one that a test of this module, or of a file, knows."""
    known = {"sh", "bash", "json", *SHOWN.values()}
    languages = re.findall(r"^```(\S+)$", CI, re.MULTILINE)
    assert set(languages) == known
    assert len(blocks(CI, "yaml")) + len(blocks(CI, "dockerfile")) == len(SHOWN)


def test_the_inputs_and_outputs_of_the_action_are_told() -> None:
    """The tables have exactly what action.yml has."""
    told = {cell.strip("`") for cell in first_cells(section("GitHub"))} - {"input", "output", "---"}
    assert told == {*action()["inputs"], *action()["outputs"]}


def test_the_example_of_the_json_is_what_is_printed(tmp_path: Path) -> None:
    """The document on the page is, byte for byte, that of GPT-2 124M on any machine."""
    shipped = Project(tmp_path / "shipped")
    shipped.declare({"gpt2-124M": {"source": "openai-gpt2", "size": "124M"}})
    assert shipped.doit("lock").status == 0
    assert shipped.doit("ci-key", "--json").stdout == EXAMPLE


def test_every_field_of_the_json_is_told() -> None:
    """The table has each field of the document, and no other."""
    told = set(re.findall(r"^\| `([\w\[\].]+)` \|", section("The key"), re.MULTILINE))
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
    assert f"`{status}`" in first_cells(section("Exit status"))
    assert machine().bash(command, {}).status == status
