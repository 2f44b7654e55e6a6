"""`doit prune`: what no project needs goes, and nothing else, also while projects are synced."""

import json
import os
import shutil
import threading
from pathlib import Path

import pytest

from tests.e2e.content import bytes_of, pinned_toy, sha256, toy_content
from tests.e2e.project import Entry, Project, Run, finish
from tests.e2e.sharing import BIG, ONE, blob, cloned, declaring, entry
from tests.e2e.watching import wait_until
from tests.servers.faults import timing
from tests.servers.faulty import FaultyServer

NOTHING = "Nothing to prune.\n"
SMALL = toy_content("small.bin")


@pytest.fixture
def first(tmp_path: Path, store: Path, server: FaultyServer) -> Project:
    """Give a project whose model of two files is fetched."""
    project = declaring(tmp_path / "first", entry(server))
    assert project.doit().status == 0
    return project


def snapshot(*folders: Path) -> dict[str, bytes | None]:
    """Return every path below the folders with its bytes."""
    paths = [each for folder in folders for each in folder.rglob("*")]
    return {str(each): each.read_bytes() if each.is_file() else None for each in paths}


def drop(project: Project, server: FaultyServer) -> None:
    """Take big.bin out of a project's models.yaml and models.lock."""
    project.declare({"one": pinned_toy(server, ["small.bin"])})
    assert project.doit("lock").status == 0


def blobs(store: Path) -> set[Path]:
    """Return all blobs."""
    return {*store.glob("sha256/??/*")}


def test_what_locks_name_stays(first: Project, store: Path) -> None:
    """Nothing is removed, and that is said; targets that were deleted are named all the same."""
    shutil.rmtree(first.target("one", "big.bin").parent)
    before = snapshot(store)
    runs = [first.doit("prune", "--dry-run"), first.doit("prune")]

    assert [(run.status, run.stdout, run.stderr) for run in runs] == [(0, NOTHING, "")] * 2
    assert snapshot(store) == before
    assert first.doit(MODELMAKE_OFFLINE="1").status == 0


def test_what_no_lock_names_goes(first: Project, store: Path, server: FaultyServer) -> None:
    """A dry run names it and changes nothing; the run removes it; the target stays."""
    drop(first, server)
    before = snapshot(store, first.folder)
    dry = first.doit("prune", "--dry-run")
    assert before.items() <= snapshot(store, first.folder).items()
    run = first.doit("prune")

    assert (dry.status, run.status) == (0, 0), dry.text + run.text
    assert (
        f"would remove {blob(store, BIG)} (0 B): no models.lock names it; this frees nothing"
        in (dry.stdout)
    )
    assert "would remove 1 blob (0 B)" in dry.stdout
    assert "removed 1 blob (0 B)" in run.stdout
    assert blobs(store) == {blob(store, SMALL)}
    assert first.target("one", "big.bin").read_bytes() == BIG
    assert first.doit("prune").stdout == NOTHING
    assert sha256(BIG) not in (store / "records").read_text()


def test_what_is_freed_is_told(first: Project, store: Path, server: FaultyServer) -> None:
    """A blob that is nobody's target frees its bytes."""
    drop(first, server)
    first.target("one", "big.bin").unlink()
    run = first.doit("prune")

    assert run.stdout == "removed 1 blob (6.3 MB); freed 6.3 MB\n"


def test_what_another_project_names_stays(
    first: Project, store: Path, server: FaultyServer, tmp_path: Path
) -> None:
    """Whichever of them prunes; until that project is deleted, which is told."""
    second = cloned(first, tmp_path / "second")
    assert second.doit().status == 0
    drop(first, server)
    assert first.doit("prune").stdout == NOTHING
    shutil.rmtree(second.folder)
    dry = first.doit("prune", "--dry-run")
    run = first.doit("prune")

    assert f"would forget {second.lock}, which no longer exists" in dry.stdout
    assert f"forgot {second.lock}, which no longer exists" in run.stdout
    assert blobs(store) == {blob(store, SMALL)}
    assert len(list((store / "projects").iterdir())) == 1


def test_a_project_without_a_lock_keeps_nothing(
    first: Project, store: Path, tmp_path: Path
) -> None:
    """It is told, and remembered: it may lock again."""
    other = Project(tmp_path / "other")
    other.declare({})
    first.lock.unlink()
    run = other.doit("prune")

    assert run.status == 0, run.text
    assert f"{first.lock} does not exist: nothing is kept" in run.stderr
    assert blobs(store) == set()
    assert first.target("one", "big.bin").read_bytes() == BIG


def torn(first: Project, store: Path) -> None:
    """Leave a merge in a lock."""
    first.lock.write_text("<<<<<<< ours\n")


def noted_elsewhere(first: Project, store: Path) -> None:
    """Say that the project was seen on another machine, and take it away."""
    _change_note(store, machine="another")
    shutil.rmtree(first.folder)


def unmounted(first: Project, store: Path) -> None:
    """Say that the project is on a disk of its own, and take it away."""
    _change_note(store, mount=str(first.folder.parent))
    shutil.rmtree(first.folder)


def torn_note(first: Project, store: Path) -> None:
    """Tear what is noted of a project."""
    (note,) = (store / "projects").iterdir()
    note.write_text("{")


def _change_note(store: Path, **fields: str) -> None:
    (note,) = (store / "projects").iterdir()
    note.write_text(json.dumps({**json.loads(note.read_text()), **fields}))


@pytest.mark.sampled(keep=4)
@pytest.mark.parametrize("hide", [torn, noted_elsewhere, unmounted, torn_note])
def test_no_blob_goes_while_a_project_is_out_of_sight(
    first: Project, store: Path, tmp_path: Path, hide: object
) -> None:
    """Nobody can tell what it needs; the error names it and what to do; all else is pruned."""
    other = Project(tmp_path / "other")
    other.declare({})
    assert callable(hide)
    hide(first, store)
    old = store / "quarantine" / "old"
    old.parent.mkdir()
    old.touch()
    dry, run = other.doit("prune", "--dry-run"), other.doit("prune", "--older-than=0")

    assert (dry.status, run.status) == (1, 1), run.text
    assert "obody can tell" in dry.stderr
    assert "emove" in dry.stderr
    assert blob(store, BIG).exists()
    assert not old.exists()


def test_a_project_that_was_never_remembered_counts_where_prune_runs(
    store: Path, server: FaultyServer, tmp_path: Path
) -> None:
    """Its own lock is read."""
    first = declaring(tmp_path / "first", entry(server))
    assert first.doit().status == 0
    shutil.rmtree(store / "projects")

    assert first.doit("prune").stdout == NOTHING
    assert blob(store, BIG).exists()


def test_partials_of_entries_that_are_no_more_go(
    first: Project, store: Path, server: FaultyServer
) -> None:
    """Also those of a model that was removed as a whole; one that may be gone on with stays."""
    server.put("/slow/c.bin", bytes_of("c", 3 << 20))
    slow = {"url": server.url("/slow/c.bin"), "sha256": sha256(bytes_of("c", 3 << 20))}
    models: dict[str, Entry] = {"one": pinned_toy(server, ["small.bin"])}
    models["slow"] = {"source": "http", "files": [slow]}
    first.declare(models)
    assert first.doit("lock").status == 0
    server.always("/slow/c.bin", timing.stall_after(2 << 20))
    partials = first.target("slow", ".modelmake/partials")
    process = first.start("fetch:slow")
    wait_until(lambda: any(each.stat().st_size == 2 << 20 for each in partials.glob("*.part")))
    (partial,) = partials.glob("*.part")

    assert "partial" not in first.doit("prune", "--older-than=0").stdout
    assert partial.exists()
    process.kill()
    finish(process)
    assert "partial" not in first.doit("prune").stdout
    del models["slow"]
    first.declare(models)
    first.target("one", "small.bin").unlink()
    assert first.doit().status == 0
    run = first.doit("prune")
    assert "1 partial (2.1 MB)" in run.stdout, run.text
    assert not partial.exists()


def test_what_runs_set_aside_goes_after_a_week(first: Project, store: Path) -> None:
    """Or after as many days as are asked for."""
    aside = first.target("one", ".modelmake/quarantine/a.bin-0123")
    aside.parent.mkdir()
    aside.write_bytes(b"wrong")
    assert first.doit("prune").stdout == NOTHING
    os.utime(aside, (0, 0))
    assert "1 quarantined file (5 B)" in first.doit("prune", "--dry-run", "--older-than=9").stdout
    assert first.doit("prune", "--older-than", "99999").stdout == NOTHING
    assert first.doit("prune").stdout == "removed 1 quarantined file (5 B); freed 5 B\n"


@pytest.mark.parametrize("days", ["-1", "soon", "inf", "nan", "1e99"])
def test_an_age_that_is_none_is_refused(first: Project, days: str) -> None:
    """In one sentence, before anything is looked at."""
    run = first.doit("prune", f"--older-than={days}")

    assert run.status == 2
    assert f"--older-than is '{days}'; it must be a number of days." in run.stderr
    assert "Traceback" not in run.text


def test_without_a_store_the_own_folders_are_pruned(server: FaultyServer, tmp_path: Path) -> None:
    """MODELMAKE_STORE=off: what this project left, and nothing else."""
    project = declaring(tmp_path / "p", entry(server), MODELMAKE_STORE="off")
    assert project.doit().status == 0
    left = project.target("one", ".modelmake/partials/gone-0123.part")
    left.write_bytes(b"12345")
    run = project.doit("prune")

    assert (run.status, run.stdout) == (0, "removed 1 partial (5 B); freed 5 B\n"), run.text


@pytest.mark.sweep
def test_prune_beside_runs_that_sync(store: Path, server: FaultyServer, tmp_path: Path) -> None:
    """Projects come, link, are dropped and deleted while another prunes all the time."""
    pruner = Project(tmp_path / "pruner", **ONE)
    pruner.declare({})
    model = entry(server)
    ended, runs, pruned = threading.Event(), list[Run](), list[Run]()

    def prune() -> None:
        while not ended.is_set():
            pruned.append(pruner.doit("prune", "--older-than=0"))

    thread = threading.Thread(target=prune)
    thread.start()
    try:
        for number in range(6):
            projects = [declaring(tmp_path / f"{number}-{n}", model) for n in range(2)]
            runs += [finish(each) for each in [project.start() for project in projects]]
            for project in projects:
                assert project.target("one", "big.bin").read_bytes() == BIG
                assert project.target("one", "small.bin").read_bytes() == SMALL
            # Half of a folder looks like another branch: prune then rightly touches nothing.
            shutil.rmtree(projects[number % 2].folder.rename(tmp_path / f"gone-{number}"))
            projects[1 - number % 2].lock.unlink(missing_ok=True)
    finally:
        ended.set()
        thread.join()

    assert [run.status for run in runs] == [0] * len(runs), [run.text for run in runs]
    assert not [run.text for run in runs if "store" in run.stderr]
    assert len(pruned) > 2
    assert {run.status for run in pruned} == {0}, [run.text for run in pruned if run.status]
    for each in blobs(store):
        assert sha256(each.read_bytes()) == each.name
