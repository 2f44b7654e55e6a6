"""What every test of the whole program gets."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.e2e.content import pinned_toy, put_all, small_gpt2, toy
from tests.e2e.project import Project
from tests.e2e.together.projects import JOB, usual_checkpoints
from tests.servers.faulty import FaultyServer
from tests.servers.object_stores import SeaweedFS
from tests.servers.process import NotInstalled
from tests.servers.together.server import TogetherServer


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Give a project with dodo.py and no models.yaml yet."""
    return Project(tmp_path / "project")


@pytest.fixture
def fetched(project: Project, server: FaultyServer) -> Project:
    """Give a project with a GPT-2, a model pinned by its manifest and one pinned on first use."""
    put_all(server.put, "/m/355M", small_gpt2())
    project.variables["OPENAI_GPT2_BASE_URL"] = server.url("/m")
    project.declare(
        {
            "gpt2-355M": {"source": "openai-gpt2", "size": "355M"},
            "one": pinned_toy(server, ["a.bin"]),
            "two": toy(server, ["sub/b.bin"]),
        }
    )
    run = project.doit()
    assert run.status == 0, run.text
    return project


@pytest.fixture
def together(project: Project) -> Iterator[TogetherServer]:
    """Give the fake with the usual job, named in the project's environment."""
    with TogetherServer() as server:
        server.add_job(JOB, checkpoints=usual_checkpoints())
        project.variables |= {"TOGETHER_API_KEY": server.key, "TOGETHER_BASE_URL": server.url}
        yield server


@pytest.fixture(scope="session")
def seaweed() -> Iterator[SeaweedFS]:
    """Give a SeaweedFS for all tests of this worker; each has a prefix of its own."""
    with SeaweedFS() as running:
        yield running


@pytest.fixture
def needs_extra() -> None:
    """Skip without obstore, the extra `object-store`."""
    if find_spec("obstore") is None:
        raise NotInstalled("obstore is not installed (pip install 'modelmake[object-store]')")
