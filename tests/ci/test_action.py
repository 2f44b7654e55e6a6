"""action.yml: its steps' own shell text, run with a local server and a cache of our own."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.ci.github import ActionRun, Cache, action, outputs_of
from tests.ci.machine import Machine
from tests.e2e.content import pinned_toy, toy
from tests.e2e.project import Project
from tests.servers.faults import statuses
from tests.servers.faulty import FaultyServer

PINNED = re.compile(r"actions/cache/(restore|save)@[0-9a-f]{40}")

Make = Callable[..., Machine]


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    """Give a repository's cache that holds nothing yet."""
    (tmp_path / "cache").mkdir()
    return Cache(tmp_path / "cache")


def asked(server: FaultyServer, since: int) -> set[str]:
    """Return the paths that were asked for."""
    return {seen.path for seen in server.requests[since:]}


def test_the_first_job_fetches_and_saves(
    project: Project, machine: Make, cache: Cache, server: FaultyServer
) -> None:
    """Nothing to restore: the models are fetched, and saved under the key of `doit ci-key`."""
    runner = machine()
    run = ActionRun(runner, cache)
    assert run.failed is None, run.failed
    key = project.doit("ci-key").stdout.strip()
    assert run.outputs == {"key": key, "cache-hit": "false"}
    assert cache.log == ["restore nothing", f"save {key}"]
    assert (runner.checkout / "models/one/sub/b.bin").is_file()
    assert not (runner.checkout / "models/spare").exists()


def test_the_second_job_restores_and_asks_nobody(
    project: Project, machine: Make, cache: Cache, server: FaultyServer
) -> None:
    """Another machine has all out of the cache: no request, nothing to do, nothing saved."""
    ActionRun(machine(), cache)
    before = len(server.requests)
    run = ActionRun(machine(), cache)
    assert run.failed is None, run.failed
    assert run.outputs["cache-hit"] == "true"
    assert run.runs["Sync"].stdout == "Nothing to do.\n"
    assert len(server.requests) == before
    assert len(cache.keys) == 1


def test_a_changed_model_takes_what_the_old_cache_has(
    project: Project, machine: Make, cache: Cache, server: FaultyServer
) -> None:
    """Another lock is another key: the prefix restores, only the new file moves, all is saved."""
    ActionRun(machine(), cache)
    project.declare({"one": pinned_toy(server, ["a.bin", "new.bin", "sub/b.bin"])})
    assert project.doit("lock").status == 0
    before = len(server.requests)
    run = ActionRun(machine(), cache)
    assert run.failed is None, run.failed
    assert run.outputs["cache-hit"] == "false"
    assert asked(server, before) == {"/toy/new.bin"}
    assert cache.log[2:] == [f"restore {cache.keys[0]}", f"save {run.outputs['key']}"]


@pytest.mark.parametrize("where", ["deep/er", "./deep/"])
def test_a_project_in_a_folder_with_another_manifest(
    project: Project, machine: Make, cache: Cache, where: str
) -> None:
    """What is cached is named from the workspace, wherever models.yaml lies."""
    runner = machine(where)
    folder = runner.checkout / where
    (folder / "sub").mkdir()
    for name in ("yaml", "lock"):
        (folder / f"models.{name}").rename(folder / "sub" / f"other.{name}")
    given = {"working-directory": where, "manifest": "sub/other.yaml"}
    run = ActionRun(runner, cache, **given)
    assert run.failed is None, run.failed
    assert (folder / "sub/models/one/a.bin").is_file()
    assert len(cache.keys) == 1


def test_models_by_name(project: Project, machine: Make, cache: Cache) -> None:
    """Named models, and they alone, are synced and make the key."""
    runner = machine()
    run = ActionRun(runner, cache, models="one  spare", python="python -X utf8")
    assert run.failed is None, run.failed
    assert (runner.checkout / "models/spare/c.bin").is_file()
    assert run.outputs["key"] == project.doit("ci-key", "spare", "one").stdout.strip()


def test_a_folder_with_signs_of_patterns(
    project: Project, machine: Make, cache: Cache, server: FaultyServer
) -> None:
    """The cache takes its paths as patterns: a folder that looks like one is itself."""
    project.declare({"one": pinned_toy(server, ["a.bin"], to="m[12]")})
    assert project.doit("lock").status == 0
    run = ActionRun(machine(), cache)
    assert run.failed is None, run.failed
    assert len(cache.keys) == 1


def test_a_failed_sync_saves_nothing(
    project: Project, machine: Make, cache: Cache, server: FaultyServer
) -> None:
    """GitHub's caches cannot be replaced, so half a model must never be in one."""
    server.always("/toy/a.bin", statuses.status(404))
    run = ActionRun(machine(), cache)
    assert run.failed is run.runs["Sync"]
    assert cache.keys == []
    assert run.outputs == {}


def test_an_unpinned_lock_ends_it_before_anything_is_restored(
    project: Project, machine: Make, cache: Cache, server: FaultyServer
) -> None:
    """No key is made of bytes that nobody vouches for."""
    project.lock.unlink()
    project.declare({"one": toy(server, ["a.bin"])})
    assert project.doit("lock").status == 0
    run = ActionRun(machine(), cache)
    assert run.failed is run.runs["Make the key"]
    assert "does not pin one/a.bin" in run.failed.stderr
    assert cache.log == []


@pytest.mark.parametrize(
    ("inputs", "file", "said"),
    [
        ({"python": "false"}, "dodo.py", "::error::modelmake is not installed for 'false'"),
        ({}, "", "::error::there is no dodo.py in "),
    ],
)
def test_what_is_missing_is_said(
    machine: Make, cache: Cache, inputs: dict[str, str], file: str, said: str
) -> None:
    """Without modelmake or dodo.py the first step ends it, with what to do."""
    runner = machine()
    if not file:
        (runner.checkout / "dodo.py").unlink()
    run = ActionRun(runner, cache, **inputs)
    assert run.failed is run.runs["Is modelmake installed?"]
    assert run.failed.stdout.startswith(said)


def test_an_input_is_never_run_as_code(machine: Make, cache: Cache) -> None:
    """A shell text holds no expression, so what a workflow passes on cannot be executed."""
    steps = action()["runs"]["steps"]
    assert not [step["name"] for step in steps if "${{" in step.get("run", "")]
    runner = machine()
    run = ActionRun(runner, cache, models='$(touch owned) "; touch owned; "')
    assert run.failed is run.runs["Make the key"]
    assert not (runner.checkout / "owned").exists()


def test_the_actions_it_uses_are_pinned() -> None:
    """Each is named by a whole commit, which nobody can move."""
    used = [step["uses"] for step in action()["runs"]["steps"] if "uses" in step]
    assert len(used) == 2
    assert all(PINNED.fullmatch(each) for each in used)


def test_outputs_are_read_as_github_reads_them() -> None:
    """The reader of these tests understands both forms."""
    assert outputs_of("a=1\nb<<END\nx\ny\nEND\nc=\n") == {"a": "1", "b": "x\ny", "c": ""}
