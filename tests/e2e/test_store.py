"""The same bytes for several projects, names and runs: fetched once, on the disk once."""

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.content import sha256, toy_content
from tests.e2e.project import Project, Run, finish
from tests.e2e.sharing import (
    BIG,
    FILES,
    ONE,
    blob,
    bodies,
    cloned,
    declaring,
    entry,
    used_bytes,
)
from tests.e2e.together.projects import JOB, bot
from tests.e2e.watching import wait_until, without_dialling
from tests.servers.faults import timing
from tests.servers.faulty import FaultyServer
from tests.servers.together.archives import lora_archive
from tests.servers.together.server import TogetherServer

RUNS = 8
SHM = Path("/dev/shm")


@pytest.fixture
def first(tmp_path: Path, store: Path, server: FaultyServer) -> Project:
    """Give a project whose model is fetched."""
    project = declaring(tmp_path / "first", entry(server))
    run = project.doit()
    assert run.status == 0, run.text
    return project


def linked(run: Run) -> list[str]:
    """Return what a run says that it linked."""
    return [line for line in run.error_lines if line.startswith("linked ")]


def assert_right(project: Project) -> None:
    """Check the files, and that a further run has nothing to do."""
    assert project.target("one", "big.bin").read_bytes() == BIG
    assert project.target("one", "small.bin").read_bytes() == toy_content("small.bin")
    assert project.doit().stdout == "Nothing to do.\n"


def test_a_second_project_moves_and_takes_nothing(
    first: Project, store: Path, server: FaultyServer, tmp_path: Path
) -> None:
    """Not one request; on the disk its lock and receipts only; and the run says so."""
    before, taken = len(server.requests), used_bytes(tmp_path)
    second = cloned(first, tmp_path / "second")
    taken_by_clone = used_bytes(tmp_path)
    run = second.doit()

    assert run.status == 0, run.text
    assert len(linked(run)) == 2
    assert len(server.requests) == before
    assert used_bytes(tmp_path) - taken_by_clone < 100_000 < taken
    assert second.target("one", "big.bin").samefile(first.target("one", "big.bin"))
    assert_right(second)
    assert_right(first)


def test_a_second_project_dials_nobody(first: Project, tmp_path: Path) -> None:
    """With MODELMAKE_OFFLINE=1, and where every attempt to connect ends the program."""
    second = cloned(first, tmp_path / "second")
    site = without_dialling(tmp_path / "site")
    run = second.doit(MODELMAKE_OFFLINE="1", **site)

    assert run.status == 0, run.text
    assert_right(second)


@pytest.mark.parametrize("link", ["auto", "hardlink", "reflink", "copy"])
def test_the_entry_says_how_targets_are_made(
    store: Path, server: FaultyServer, tmp_path: Path, link: str
) -> None:
    """A copy, or a reflink where the disk has none, is a file of its own, writable."""
    first = declaring(tmp_path / "first", entry(server, link=link))
    assert first.doit().status == 0
    second = cloned(first, tmp_path / "second")
    asked = len(server.requests)
    assert second.doit().status == 0

    is_shared = second.target("one", "big.bin").samefile(blob(store, BIG))
    is_writable = bool(second.target("one", "big.bin").stat().st_mode & stat.S_IWUSR)
    assert is_shared is not is_writable
    assert is_shared in ({True, False} if link == "auto" else {link == "hardlink"})
    assert len(server.requests) == asked
    assert_right(second)


def test_the_same_bytes_under_several_names_are_fetched_once(
    store: Path, server: FaultyServer, tmp_path: Path
) -> None:
    """In one run, and in models of their own."""
    models = {}
    for name in ("one", "two", "three"):
        server.put(f"/{name}/{name}.bin", BIG)
        file = {"url": server.url(f"/{name}/{name}.bin"), "sha256": sha256(BIG)}
        models[name] = {"source": "http", "files": [file]}
    project = Project(tmp_path / "project", **ONE)
    project.declare(models)
    run = project.doit()

    assert run.status == 0, run.text
    assert "1 fetched" in run.stdout
    assert len(linked(run)) == 2
    assert len(bodies(server)) == 1
    assert all(project.target(name, f"{name}.bin").read_bytes() == BIG for name in models)


def test_what_was_pinned_on_first_use_is_shared(
    store: Path, server: FaultyServer, tmp_path: Path
) -> None:
    """A lock that a project wrote pins for the next one what the store has."""
    model = entry(server)
    for file in model["files"]:
        del file["sha256"]
    first = declaring(tmp_path / "first", model)
    assert first.doit().status == 0
    second = cloned(first, tmp_path / "second")
    before = len(server.requests)
    assert second.doit().status == 0

    assert len(server.requests) == before
    assert_right(second)


def test_eight_projects_at_once_fetch_once(
    store: Path, server: FaultyServer, tmp_path: Path
) -> None:
    """Each file is asked for once, and its bytes sent once."""
    projects = [declaring(tmp_path / f"{n}", entry(server)) for n in range(RUNS)]
    runs = [finish(each) for each in [project.start() for project in projects]]

    assert [run.status for run in runs] == [0] * RUNS, [run.text for run in runs]
    assert bodies(server) == ["/toy/big.bin", "/toy/small.bin"]
    assert sum(seen.body_bytes_sent for seen in server.requests) < 1.01 * (len(BIG) + 1000)
    for project in projects:
        assert_right(project)


def test_a_killed_holder_is_followed_by_one(
    store: Path, server: FaultyServer, tmp_path: Path
) -> None:
    """Of seven that wait for a killed one, one fetches, and six link."""
    holder = declaring(tmp_path / "holder", entry(server))
    projects = [declaring(tmp_path / f"{n}", entry(server)) for n in range(RUNS - 1)]
    for each in (holder, *projects):
        assert each.doit("lock").status == 0
    server.script("/toy/big.bin", timing.stall_after(3 << 20))
    asked = len(server.requests)
    holding = holder.start("fetch:one/big.bin")
    partials = holder.target("one", ".modelmake/partials")
    wait_until(lambda: any(each.stat().st_size == 3 << 20 for each in partials.glob("*.part")))
    waiting = [project.start("fetch:one/big.bin") for project in projects]
    assert waiting[0].stderr is not None
    line = waiting[0].stderr.readline()
    holding.kill()
    finish(holding)
    runs = [finish(each) for each in waiting]

    assert "waiting for another process" in line
    assert [run.status for run in runs] == [0] * (RUNS - 1), [run.text for run in runs]
    assert len(server.requests) - asked == 2
    assert {each.target("one", "big.bin").stat().st_ino for each in projects} == {
        blob(store, BIG).stat().st_ino
    }


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """Give a folder on another file system than the test's."""
    if not SHM.is_dir() or SHM.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system")
    folder = SHM / f"modelmake-test-{os.getpid()}"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("link", ["hardlink", "copy"])
def test_a_store_on_another_disk_gets_nothing_and_gives_copies(
    server: FaultyServer, tmp_path: Path, elsewhere: Path, store: Path, link: str
) -> None:
    """What is fetched is on one disk only; what the store has already is copied from there."""
    far = declaring(elsewhere / "far", entry(server, link=link))
    assert far.doit().status == 0
    assert not blob(store, BIG).exists()
    assert far.target("one", "big.bin").stat().st_nlink == 1
    near = cloned(far, tmp_path / "near")
    assert near.doit().status == 0
    assert blob(store, BIG).samefile(near.target("one", "big.bin")) is (link == "hardlink")

    asked = len(server.requests)
    other = cloned(near, elsewhere / "other")
    run = other.doit()
    assert run.status == 0, run.text
    assert len(server.requests) == asked
    assert len(linked(run)) == 2
    assert other.target("one", "big.bin").stat().st_mode & stat.S_IWUSR
    assert_right(other)


def test_without_a_store_nothing_is_shared(
    store: Path, server: FaultyServer, tmp_path: Path
) -> None:
    """MODELMAKE_STORE=off: fetched twice, writable, and no folder is made."""
    first = declaring(tmp_path / "first", entry(server), MODELMAKE_STORE="off")
    assert first.doit().status == 0
    second = cloned(first, tmp_path / "second", MODELMAKE_STORE="off")
    assert second.doit().status == 0

    assert bodies(server).count("/toy/big.bin") == 2
    assert second.target("one", "big.bin").stat().st_nlink == 1
    assert not store.exists()


def test_a_removed_target_comes_back_from_the_store(first: Project, server: FaultyServer) -> None:
    """Who removes a file by mistake waits for nobody."""
    asked = len(server.requests)
    first.target("one", "big.bin").unlink()
    run = first.doit(MODELMAKE_OFFLINE="1")

    assert len(linked(run)) == 1, run.text
    assert len(server.requests) == asked
    assert_right(first)


def test_files_of_an_archive_that_is_not_kept_come_from_the_store(
    store: Path, tmp_path: Path
) -> None:
    """Without a request, without a key, and the archive is not asked for (row F8)."""
    with TogetherServer() as together:
        together.add_job(JOB, checkpoints={20: {"adapter": lora_archive(20)}})
        asking = {"TOGETHER_API_KEY": together.key, "TOGETHER_BASE_URL": together.url}
        model = bot(type="adapter", extract=True, keep_archive=False)
        first = declaring(tmp_path / "first", model, **asking)
        assert first.doit().status == 0
        asked = len(together.requests)
        shutil.rmtree(first.folder / "models")
        again = first.doit()
        second = cloned(first, tmp_path / "second", TOGETHER_BASE_URL=together.url)
        run = second.doit()

        assert (again.status, run.status) == (0, 0), again.text + run.text
        assert len(linked(again)) == 5
        assert len(linked(run)) == 5
        assert len(together.requests) == asked
        assert second.doit("verify").status == 0


def test_files_stay_right_when_the_store_is_deleted(
    first: Project, store: Path, server: FaultyServer, tmp_path: Path
) -> None:
    """What is in a project stays; a further one fetches, and fills the store again."""
    shutil.rmtree(store)
    assert_right(first)
    second = cloned(first, tmp_path / "second")
    assert second.doit().status == 0

    assert bodies(server).count("/toy/big.bin") == 2
    assert blob(store, BIG).exists()
    assert len(FILES) == len(list(store.glob("sha256/*/*")))
