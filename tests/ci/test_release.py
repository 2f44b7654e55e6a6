"""A release is one tag: the workflow that makes it, held against the page and the code."""

import os
import re
import subprocess
from typing import Any

import pytest
import yaml

from downloader import __version__
from tests.docs.documents import commands, page
from tests.e2e.project import REPOSITORY

WORKFLOW: dict[Any, Any] = yaml.safe_load(
    (REPOSITORY / ".github/workflows/release.yml").read_text(encoding="utf-8")
)
JOBS = WORKFLOW["jobs"]
STEPS = [step for job in JOBS.values() for step in job["steps"]]
PAGE = page("releasing.md")


@pytest.mark.parametrize(
    ("tag", "is_taken"), [(f"v{__version__}", True), (__version__, True), ("v9.9.9", False)]
)
def test_the_tag_has_to_be_the_version(tag: str, is_taken: bool) -> None:
    """The step that compares them passes for this version, and for no other."""
    (step,) = [step for step in STEPS if "TAG" in step.get("env", {})]
    done = subprocess.run(
        ["sh", "-c", step["run"]], cwd=REPOSITORY, env={**os.environ, "TAG": tag}, check=False
    )
    assert (done.returncode == 0) is is_taken


def test_only_the_job_that_publishes_may_say_who_it_is() -> None:
    """It runs after the checks, and builds nothing itself."""
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert "permissions" not in JOBS["build"]
    assert JOBS["publish"]["permissions"] == {"id-token": "write"}
    assert JOBS["publish"]["needs"] == "build"
    assert all("run" not in step for step in JOBS["publish"]["steps"])


def test_every_action_is_pinned() -> None:
    """By the whole digest of a commit, with the version beside it."""
    text = (REPOSITORY / ".github/workflows/release.yml").read_text(encoding="utf-8")
    used = re.findall(r"uses: (\S+)(.*)", text)
    assert len(used) == 5
    for action, comment in used:
        assert re.fullmatch(r"[\w/.-]+@[0-9a-f]{40}", action), action
        assert re.fullmatch(r" # v\d+\.\d+\.\d+", comment), action


def test_the_page_names_what_the_workflow_does() -> None:
    """The workflow's file, its environment, and the commands that are tried before a tag."""
    assert "`release.yml`" in PAGE
    assert f"the environment `{JOBS['publish']['environment']}`" in PAGE
    run = {line for step in STEPS for line in step.get("run", "").splitlines()}
    tried = {" ".join(words) for words in commands(PAGE)}
    assert {"python -m build", "twine check --strict dist/*"} <= run & tried
    assert f"git tag v{__version__}" in tried
    assert WORKFLOW[True]["push"]["tags"] == ["v*"]  # YAML 1.1 reads `on` so
