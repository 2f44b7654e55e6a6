"""A bug of ours, put in from outside: told in two lines, with its place when debugging."""

from pathlib import Path

import pytest

from tests.e2e.content import toy
from tests.e2e.project import Project
from tests.e2e.watching import injected
from tests.servers.faulty import FaultyServer

IN_A_TASK = """
    import downloader.targets.state
    def broken(*_, **__):
        raise RuntimeError("the sky fell")
    downloader.targets.state.append_receipt = broken
"""
WHILE_LOADING = """
    import downloader.targets.plan
    def broken(*_, **__):
        raise RuntimeError("the sky fell")
    downloader.targets.plan.decide = broken
"""


@pytest.fixture(params=[IN_A_TASK, WHILE_LOADING], ids=["task", "loading"])
def broken(
    request: pytest.FixtureRequest, project: Project, server: FaultyServer, tmp_path: Path
) -> Project:
    """Give a project whose doit has a bug."""
    project.declare({"one": toy(server, ["a.bin"])})
    project.variables |= injected(tmp_path / "watch", request.param)
    return project


def test_it_is_told_without_a_traceback(broken: Project) -> None:
    """It is called what it is, with its last line and how to learn more."""
    run = broken.doit()
    assert run.status == 2
    assert "an error in modelmake itself: RuntimeError: the sky fell" in run.stderr
    assert "Set MODELMAKE_DEBUG=1 to see where." in run.stderr
    assert "Traceback" not in run.text


def test_debugging_shows_the_traceback(broken: Project) -> None:
    """With MODELMAKE_DEBUG the place in the code stands there."""
    run = broken.doit(MODELMAKE_DEBUG="1")
    assert run.status in (2, 3)
    assert "Traceback (most recent call last)" in run.stderr
    assert "in broken" in run.stderr
