"""A store that is full, read-only or no store: told once, and the run goes well."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.project import Project
from tests.e2e.sharing import BIG, blob, bodies, cloned, declaring, entry
from tests.servers.faulty import FaultyServer

PAGES = 4096


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Give a function that mounts a small disk; who may not mount skips."""
    mounted: list[Path] = []

    def mount(size_bytes: int) -> Path:
        folder = tmp_path / "disk"
        folder.mkdir()
        options = f"size={size_bytes},nr_inodes=200"
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        if os.geteuid() or subprocess.run(command, check=False, capture_output=True).returncode:
            pytest.skip("no disk may be mounted here")
        mounted.append(folder)
        return folder

    yield mount
    for each in mounted:
        subprocess.run(["umount", str(each)], check=True)


def assert_right(project: Project) -> None:
    """Check the large file, and that a further run has nothing to do."""
    assert project.target("one", "big.bin").read_bytes() == BIG
    assert project.doit().stdout == "Nothing to do.\n"


def test_a_full_disk_of_the_store_is_told_once(
    server: FaultyServer, tmp_path: Path, disk: Callable[[int], Path]
) -> None:
    """Nothing can be noted in it; the files are fetched, and the status is 0."""
    full = disk(16 * PAGES)
    (full / "filling").write_bytes(bytes(16 * PAGES))
    project = declaring(tmp_path / "p", entry(server), MODELMAKE_STORE=str(full / "store"))
    run = project.doit()

    assert run.status == 0, run.text
    assert run.stderr.count("Nothing more is put into the shared store") == 1
    assert "No space left on device" in run.stderr
    assert "MODELMAKE_STORE" in run.stderr
    assert_right(project)


def test_a_disk_that_fills_up_while_blobs_are_copied_keeps_the_files(
    server: FaultyServer, tmp_path: Path, disk: Callable[[int], Path]
) -> None:
    """With `link: copy` on a disk that has room for one of the two: no half is left."""
    folder = disk(10 << 20)
    where = {"MODELMAKE_STORE": str(folder / "store")}
    project = declaring(folder / "p", entry(server, link="copy"), **where)
    run = project.doit()

    assert run.status == 0, run.text
    assert run.stderr.count("Nothing more is put into the shared store") == 1
    assert not blob(folder / "store", BIG).exists()
    assert list((folder / "store").rglob("*.new")) == []
    assert_right(project)


def test_a_read_only_store_is_still_read(
    server: FaultyServer, tmp_path: Path, disk: Callable[[int], Path]
) -> None:
    """What it has is copied from it, and nothing is written; told once."""
    folder = disk(32 << 20)
    store = {"MODELMAKE_STORE": str(folder / "store")}
    first = declaring(folder / "first", entry(server), **store)
    assert first.doit().status == 0
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    second = cloned(first, tmp_path / "second", **store)
    asked = len(server.requests)
    run = second.doit()

    assert run.status == 0, run.text
    assert run.stderr.count("the shared store") == 1
    assert "Read-only file system" in run.stderr
    assert len(server.requests) == asked
    assert_right(second)


def a_file(place: Path) -> str:
    """Put a file in the store's place."""
    place.write_text("mine")
    return "Not a directory"


def no_parent(place: Path) -> str:
    """Put a file above the store's place."""
    place.parent.joinpath("wall").write_text("mine")
    return "Not a directory"


def newer(place: Path) -> str:
    """Put a store of a newer version there."""
    place.mkdir()
    (place / "format").write_text("2\n")
    return "newer modelmake"


@pytest.mark.parametrize("spoil", [a_file, no_parent, newer])
def test_what_is_no_store_is_told_once(
    server: FaultyServer, tmp_path: Path, spoil: Callable[[Path], str]
) -> None:
    """And not touched; the run goes on without one."""
    place = tmp_path / "store"
    why = spoil(place)
    before = sorted(tmp_path.rglob("*"))
    name = tmp_path / "wall" / "store" if spoil is no_parent else place
    project = declaring(tmp_path / "p", entry(server), MODELMAKE_STORE=str(name))
    run = project.doit()

    assert run.status == 0, run.text
    assert run.stderr.count("The shared store is not used") == 1
    assert why in run.stderr
    here = project.folder
    assert sorted(e for e in tmp_path.rglob("*") if not e.is_relative_to(here)) == before
    assert_right(project)


def test_records_and_claims_that_are_folders_cost_nothing_but_reading(
    store: Path, server: FaultyServer, tmp_path: Path
) -> None:
    """What stands in the place of a file of the store's own is told once; all files are right."""
    for name in ("records", "claims"):
        (store / name).mkdir(parents=True)
    first = declaring(tmp_path / "first", entry(server))
    run = first.doit()
    second = cloned(first, tmp_path / "second")
    again = second.doit()

    assert (run.status, again.status) == (0, 0), run.text + again.text
    assert run.stderr.count("the shared store") == 1
    assert_right(first)
    assert_right(second)


def test_a_store_that_vanishes_meanwhile_costs_nothing(
    store: Path, server: FaultyServer, tmp_path: Path
) -> None:
    """Somebody empties the cache while a project is fetched."""
    first = declaring(tmp_path / "first", entry(server))
    assert first.doit().status == 0
    shutil.rmtree(store / "sha256")
    (store / "sha256").write_text("no folder")
    second = cloned(first, tmp_path / "second")
    run = second.doit()

    assert run.status == 0, run.text
    assert bodies(server).count("/toy/big.bin") == 2
    assert_right(second)
