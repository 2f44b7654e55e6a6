"""The GitLab snippet: its own scripts, run with a local server and a cache of our own."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.ci.gitlab import Cache, job
from tests.ci.machine import Machine
from tests.e2e.content import bytes_of, pinned_toy, sha256
from tests.e2e.project import Project
from tests.servers.faults import statuses, timing
from tests.servers.faulty import FaultyServer

Make = Callable[..., Machine]


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    """Give a runner's cache that holds nothing yet."""
    return Cache(tmp_path / "cache")


def test_the_first_job_fetches_and_the_others_take_it(
    machine: Make, cache: Cache, server: FaultyServer
) -> None:
    """All that the test job does with the models is to hash them: it asks nobody."""
    first = machine()
    assert cache.run(first, "models").status == 0
    assert first.pip_calls == ["pip install modelmake"]
    before = len(server.requests)
    run = cache.run(machine(), "test")
    assert run.status == 0, run.text
    assert "2 verified in place" in run.stdout
    assert "Ran 1 test" in run.stderr
    assert len(server.requests) == before


def test_a_stale_lock_ends_the_job(
    project: Project, machine: Make, cache: Cache, server: FaultyServer
) -> None:
    """Where models.yaml was changed and models.lock was not, nothing is fetched."""
    project.declare({"one": pinned_toy(server, ["a.bin", "new.bin"])})
    before = len(server.requests)
    run = cache.run(machine(), "models")
    assert run.status == 1
    assert "models.lock is stale" in run.stderr
    assert len(server.requests) == before


def test_what_a_broken_run_has_is_kept(
    project: Project, machine: Make, cache: Cache, server: FaultyServer
) -> None:
    """The partial of a job that failed is in the cache, and the next one goes on from there."""
    body = bytes_of("large", 3_000_000)
    server.put("/large.bin", body)
    file = {"url": server.url("/large.bin"), "path": "large.bin", "sha256": sha256(body)}
    project.declare({"large": {"source": "http", "files": [file]}})
    assert project.doit("lock").status == 0
    server.script("/large.bin", timing.drop_after(2_000_000), statuses.status(404))
    assert cache.run(machine(), "models").status == 1
    run = cache.run(machine(), "models")
    assert run.status == 0, run.text
    assert "resuming at " in run.stderr


def test_the_jobs_share_one_cache() -> None:
    """Key and paths of both jobs are the same, and only the first one writes."""
    models, test = job("models")["cache"], job("test")["cache"]
    assert (models["key"], models["paths"]) == (test["key"], test["paths"])
    assert (models["policy"], test["policy"]) == ("pull-push", "pull")
