"""README is held against the code: commands run, snippets load, names and variables exist."""

import ast
import importlib
import re
import shlex
from pathlib import Path

import pytest

from downloader import manifest
from tests.documents import PYPROJECT, README, blocks, modules
from tests.e2e.project import REPOSITORY, Project

LOOKED_UP = re.compile(r'env(?:iron)?(?:\.get\(|\[|, )"?([A-Z][A-Z0-9_]+)\b')
CONSTANT = re.compile(r'^([A-Z_]+) = "(\w+)"$', re.MULTILINE)
NO_SUCH_TASK = 3
PACKAGE_OF = {"lint-imports": "import-linter"}


def commands(text: str) -> list[list[str]]:
    """Return each command of the shell blocks as its words, comments left out."""
    lines = [line for block in blocks(text, "sh") for line in block.splitlines()]
    parts = [part for line in lines for part in line.partition("#")[0].split("&&")]
    return [words for part in parts if (words := shlex.split(part))]


COMMANDS = commands(README)
PLAIN_DOIT = [words[1:] for words in COMMANDS if words[0] == "doit" and "-f" not in words]


def named(words: list[str]) -> str:
    """Return a command as the id of a test."""
    return " ".join(words) or "doit"


@pytest.fixture
def shipped(tmp_path: Path) -> Project:
    """Give a project of the shipped dodo.py and models.yaml, which may not dial."""
    project = Project(tmp_path / "shipped", MODELMAKE_OFFLINE="1")
    project.write((REPOSITORY / "models.yaml").read_text(encoding="utf-8"))
    return project


@pytest.mark.parametrize("words", PLAIN_DOIT, ids=named)
def test_a_command_of_the_readme_is_understood_by_doit(shipped: Project, words: list[str]) -> None:
    """Every doit command in README names tasks, targets and flags that exist."""
    run = shipped.doit(*words)

    assert run.status in (0, 1), run.text
    assert "Traceback" not in run.text
    assert "No task matches" not in run.text


@pytest.mark.parametrize("words", [["fetch:nope"], ["models/nope"], ["lock", "--nope"]], ids=named)
def test_a_command_with_a_wrong_name_would_be_found(shipped: Project, words: list[str]) -> None:
    """The check above has teeth: doit refuses names and flags that do not exist."""
    assert shipped.doit(*words).status == NO_SUCH_TASK


def test_the_readme_tells_every_task(shipped: Project) -> None:
    """Each task that `doit list` shows without a model is in a command of README."""
    listed = shipped.doit("list", "-q").stdout.split()

    tasks = {name for name in listed if ":" not in name} - {"fetch"}
    assert tasks
    assert tasks <= {words[0] for words in PLAIN_DOIT if words}


def test_every_other_program_of_the_readme_is_one_of_this_project() -> None:
    """README's commands but doit's are pip, the test runner, the linters of the dev extra."""
    development = " ".join(PYPROJECT["project"]["optional-dependencies"]["dev"])

    programs = {words[0] for words in COMMANDS} - {"doit", "pip", "pytest"}
    assert programs
    for program in programs:
        assert PACKAGE_OF.get(program, program) in development


def test_what_the_readme_installs_exists() -> None:
    """Each `pip install` in README installs this checkout, with extras that pyproject.toml has."""
    installed = [words[2:] for words in COMMANDS if words[:2] == ["pip", "install"]]
    places = [word for words in installed for word in words if not word.startswith("-")]

    extras = PYPROJECT["project"]["optional-dependencies"]
    assert len(places) >= 3
    for place in places:
        found = re.fullmatch(r"\.(?:\[(\w+)\])?", place)
        assert found, place
        assert found[1] is None or found[1] in extras, place


def test_a_dodo_file_that_the_readme_names_exists() -> None:
    """Each `doit -f FILE` in README names a file of this checkout."""
    files = [words[words.index("-f") + 1] for words in COMMANDS if "-f" in words]

    assert files
    assert all((REPOSITORY / file).is_file() for file in files)


@pytest.mark.parametrize("text", blocks(README, "yaml"))
def test_a_manifest_of_the_readme_loads(text: str) -> None:
    """Every YAML snippet of README is a whole manifest that `manifest.load` takes."""
    assert manifest.load(text.encode()).models


@pytest.mark.parametrize("code", blocks(README, "python"))
def test_a_python_snippet_of_the_readme_compiles_and_imports(code: str) -> None:
    """Every Python snippet compiles, and each name it imports is there."""
    imports = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.ImportFrom)]

    assert imports
    for node in imports:
        module = importlib.import_module(str(node.module))
        assert all(hasattr(module, alias.name) for alias in node.names)


def test_the_dodo_file_of_the_readme_is_the_shipped_one() -> None:
    """The dodo.py that README shows says what the shipped one says, but for its docstring."""
    shipped = ast.parse((REPOSITORY / "dodo.py").read_text(encoding="utf-8")).body[1:]

    shown = [ast.parse(code).body for code in blocks(README, "python") if "DOIT_CONFIG" in code]
    assert [[ast.dump(each) for each in body] for body in shown] == [[ast.dump(e) for e in shipped]]


def test_the_readme_lists_exactly_the_variables_that_are_read() -> None:
    """README's table of environment variables is what the code asks the environment for."""
    section = README.partition("## Environment variables")[2].partition("\n## ")[0]
    told = set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE))

    assert told == variables_read()


def variables_read() -> set[str]:
    """Return each name that a module looks up in the environment."""
    found: set[str] = set()
    for module in modules():
        text = (REPOSITORY / "downloader" / module).read_text(encoding="utf-8")
        constants = dict(CONSTANT.findall(text))
        found |= {constants.get(name, name) for name in LOOKED_UP.findall(text)}
    return found
