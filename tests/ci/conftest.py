"""A project that is locked and fetched nowhere yet, and machines that check it out."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.ci.machine import Machine
from tests.e2e.content import pinned_toy
from tests.e2e.project import Project
from tests.servers.faulty import FaultyServer


@pytest.fixture
def project(tmp_path: Path, server: FaultyServer) -> Project:
    """Give a project with two models, the second one optional, and the lock of both."""
    made = Project(tmp_path / "project")
    made.declare(
        {
            "one": pinned_toy(server, ["a.bin", "sub/b.bin"]),
            "spare": pinned_toy(server, ["c.bin"], optional=True),
        }
    )
    assert made.doit("lock").status == 0
    return made


@pytest.fixture
def machine(tmp_path: Path, project: Project) -> Callable[..., Machine]:
    """Give a function that makes a fresh machine with a checkout of the project."""
    homes = iter(range(100))

    def make(at: str = ".") -> Machine:
        return Machine(tmp_path / f"machine-{next(homes)}", project, at)

    return make
