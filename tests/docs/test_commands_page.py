"""docs/commands.md and environment.md are held against the code, and run."""

import re
from pathlib import Path

import pytest

from tests.docs.documents import blocks, commands, modules, page
from tests.docs.reader import Reader
from tests.e2e.project import REPOSITORY, Project
from tests.servers.faulty import FaultyServer

COMMANDS = commands(page("commands.md"))
LOOKED_UP = re.compile(r'env(?:iron)?(?:\.get\(|\[|, )"?([A-Z][A-Z0-9_]+)\b')
CONSTANT = re.compile(r'^([A-Z_]+) = "(\w+)"$', re.MULTILINE)


@pytest.mark.parametrize("text", blocks(page("commands.md"), "sh"))
def test_the_commands_run_one_after_the_other(
    tmp_path: Path, server: FaultyServer, store: Path, text: str
) -> None:
    """Each line of docs/commands.md, in one project, ends with exit status 0."""
    reader = Reader(tmp_path / "project", server)
    (reader.project.folder / "old-models").mkdir()
    for line in text.splitlines():
        if not line.startswith("doit serve"):  # it runs until it is stopped: test_fleet.py
            reader.follow(line)


def test_the_page_tells_every_task(tmp_path: Path) -> None:
    """Each task that `doit list` shows without a model is in a command of docs/commands.md."""
    project = Project(tmp_path)
    project.write((REPOSITORY / "models.yaml").read_text(encoding="utf-8"))
    listed = project.doit("list", "-q").stdout.split()

    tasks = {name for name in listed if ":" not in name} - {"fetch"}
    assert tasks
    assert tasks <= {words[1] for words in COMMANDS if len(words) > 1}


def test_the_page_lists_exactly_the_variables_that_are_read() -> None:
    """The table of docs/environment.md is what the code asks the environment for."""
    told = set(re.findall(r"^\| `(\w+)` \|", page("environment.md"), re.MULTILINE))

    assert told == variables_read()


def variables_read() -> set[str]:
    """Return each name that a module looks up in the environment."""
    found: set[str] = set()
    for module in modules():
        text = (REPOSITORY / "downloader" / module).read_text(encoding="utf-8")
        constants = dict(CONSTANT.findall(text))
        found |= {constants.get(name, name) for name in LOOKED_UP.findall(text)}
    return found
