"""The YAML of CI services, held against the schemas that are published for them."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.e2e.project import REPOSITORY
from tests.servers.process import NotInstalled

KINDS = {
    "action.yml": "vendor.github-actions",
    ".github/workflows/release.yml": "vendor.github-workflows",
    "examples/github/models.yml": "vendor.github-workflows",
    "examples/gitlab/modelmake.gitlab-ci.yml": "vendor.gitlab-ci",
}
"""The schemas that check-jsonschema brings along, from SchemaStore and GitLab."""


def checked(schema: str, file: Path) -> subprocess.CompletedProcess[str]:
    """Hold a file against a schema."""
    if find_spec("check_jsonschema") is None:
        raise NotInstalled("check-jsonschema is not installed")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(file)]
    return subprocess.run(command, check=False, capture_output=True, text=True)


@pytest.mark.parametrize("name", KINDS)
def test_it_is_what_the_published_schema_wants(name: str) -> None:
    """Every key and value is one that the service knows."""
    run = checked(KINDS[name], REPOSITORY / name)
    assert run.returncode == 0, run.stdout


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("action.yml", "using: composite", "using: magic"),
        ("examples/github/models.yml", "runs-on:", "run-on:"),
        ("examples/gitlab/modelmake.gitlab-ci.yml", "when: always", "when: ever"),
    ],
)
def test_a_slip_would_be_found(tmp_path: Path, name: str, old: str, new: str) -> None:
    """The check above has teeth: a wrong key or value is refused."""
    text = (REPOSITORY / name).read_text(encoding="utf-8")
    assert old in text
    (tmp_path / "slip.yml").write_text(text.replace(old, new))
    assert checked(KINDS[name], tmp_path / "slip.yml").returncode == 1
