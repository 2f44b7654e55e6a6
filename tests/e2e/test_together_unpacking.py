"""What `doit` does of an archive and its files before it begins, and how often."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.project import Project
from tests.e2e.test_preflight import small_disk
from tests.servers.together.server import TogetherServer
from tests.together.projects import JOB, bot, downloads, usual_checkpoints


@pytest.fixture
def together(project: Project) -> Iterator[TogetherServer]:
    """Give the fake, and the project with its unpacked adapter locked and the files gone."""
    with TogetherServer() as server:
        server.add_job(JOB, checkpoints=usual_checkpoints())
        project.variables |= {"TOGETHER_API_KEY": server.key, "TOGETHER_BASE_URL": server.url}
        project.declare({"bot": bot(type="adapter", extract=True)})
        assert project.doit().status == 0
        shutil.rmtree(project.folder / "models")
        yield server


def test_a_stale_lock_stops_an_archive_too(project: Project, together: TogetherServer) -> None:
    """MODELMAKE_LOCKED and a lock that is stale for another model: nothing is asked for."""
    other = {"source": "http", "files": [{"url": "http://127.0.0.1:9/a.bin", "sha256": "c" * 64}]}
    project.declare({"bot": bot(type="adapter", extract=True), "other": other})
    asked = downloads(together)
    run = project.doit(MODELMAKE_LOCKED="1")

    assert run.status == 1
    assert "models.lock is stale" in run.stderr
    assert downloads(together) == asked


def test_an_archive_that_does_not_fit_is_not_begun(
    project: Project, together: TogetherServer, tmp_path: Path
) -> None:
    """The figures are told once, before its first byte, whichever task comes first."""
    asked = downloads(together)
    run = project.doit(**small_disk(tmp_path / "site", 100))

    assert run.status == 1
    assert run.stderr.count("Not enough room") == 1
    assert "1 failed" in run.stdout
    assert downloads(together) == asked
