"""docs/ builds as a site, and its reference of keys is made from the types."""

import json
import runpy
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.e2e.project import REPOSITORY
from tests.servers.process import NotInstalled

SCHEMA = json.loads((REPOSITORY / "docs/models.schema.json").read_text(encoding="utf-8"))


@pytest.fixture(autouse=True)
def _needs_mkdocs() -> None:
    if not find_spec("mkdocs"):
        raise NotInstalled("mkdocs is not installed: pip install '.[docs]'")


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    """A link or an anchor that leads nowhere ends it, as does a page that no menu has."""
    words = ["build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", *words],
        cwd=REPOSITORY,
        check=False,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert (tmp_path / "site/search/search_index.json").is_file()


@pytest.mark.parametrize("name", SCHEMA["definitions"])
def test_the_reference_has_every_key_of_every_type(name: str) -> None:
    """With its meaning, as the schema has it."""
    lines = "\n".join(
        runpy.run_path(str(REPOSITORY / "docs/site/hooks.py"))["reference"](SCHEMA["definitions"])
    ).splitlines()
    for key, value in SCHEMA["definitions"][name]["properties"].items():
        meaning = value.get("description", "").partition("\n")[0]
        assert any(line.startswith(f"| `{key}` ") and meaning in line for line in lines), key
