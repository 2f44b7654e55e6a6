"""A run that does not fit on the disk is refused before its first byte (row D3)."""

from pathlib import Path

import pytest

import downloader
from downloader.errors import StoreError
from tests.e2e.content import pinned_toy, toy
from tests.e2e.project import Project
from tests.e2e.watching import injected
from tests.servers.faulty import FaultyServer

FILES = ["a.bin", "b.bin", "c.bin"]


def small_disk(folder: Path, free_bytes: int) -> dict[str, str]:
    """Return the variables that make every disk say that it has so many bytes free."""
    code = f"""
        import os, types
        said = types.SimpleNamespace(f_blocks=10**9, f_bavail={free_bytes}, f_frsize=1)
        os.statvfs = lambda _: said
    """
    return injected(folder, code)


def bodies(server: FaultyServer) -> list[str]:
    """Return the paths of whole files that were asked for."""
    return [seen.path for seen in server.requests if "Range" not in seen.headers]


def test_files_that_do_not_fit_together_are_not_begun(
    project: Project, server: FaultyServer, tmp_path: Path
) -> None:
    """Each of three files fits, and all together do not: told once, and nothing is fetched."""
    project.declare({"one": toy(server, FILES)})
    disk = small_disk(tmp_path / "site", 2_999)
    run = project.doit(**disk)
    assert run.status == 1
    assert (
        run.stderr.count("Not enough room: this run has still to write 3.0 kB (3,000 bytes)") == 1
    )
    assert "MODELMAKE_PREFLIGHT=0" in run.stderr
    assert "1 failed, 2 not started" in run.stdout
    assert bodies(server) == []
    assert project.doit("fetch:one/a.bin", "fetch:one/b.bin", **disk).status == 0
    assert project.doit(**small_disk(tmp_path / "exact", 1_000)).status == 0


def test_what_is_not_selected_needs_no_room(
    project: Project, server: FaultyServer, tmp_path: Path
) -> None:
    """A large optional model keeps no small one out, and needs room when it is asked for."""
    entry = toy(server, ["big.bin"], optional=True)
    server.put("/toy/big.bin", bytes(100_000))
    project.declare({"one": toy(server, FILES), "huge": entry})
    disk = small_disk(tmp_path / "site", 3_000)
    assert project.doit("fetch:huge", **disk).status == 1
    assert project.doit(**disk).status == 0
    assert not project.target("huge", "big.bin").exists()


def test_files_that_are_right_already_need_no_room(
    project: Project, server: FaultyServer, tmp_path: Path
) -> None:
    """Without receipts they are read again, on a disk that is full."""
    project.declare({"one": pinned_toy(server, FILES)})
    assert project.doit().status == 0
    project.receipts("one").unlink()
    run = project.doit(**small_disk(tmp_path / "site", 0))
    assert run.status == 0
    assert "3 verified in place" in run.stdout


def test_it_can_be_turned_off(project: Project, server: FaultyServer, tmp_path: Path) -> None:
    """Where a disk is wrong about itself, the run can be made all the same."""
    project.declare({"one": toy(server, FILES)})
    run = project.doit(MODELMAKE_PREFLIGHT="0", **small_disk(tmp_path / "site", 0))
    assert run.status == 0


def test_from_python_it_is_the_same(
    project: Project, server: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`downloader.sync` raises before the first byte."""
    project.declare({"one": toy(server, FILES)})
    monkeypatch.setattr("downloader.fs.space.free_bytes", lambda _folder: 2_999)
    with pytest.raises(StoreError, match="3,000 bytes"):
        downloader.sync(folder=project.folder)
    assert bodies(server) == []


def test_peers_that_cannot_be_met_are_one_error(project: Project, server: FaultyServer) -> None:
    """It is about the run, and so it is not told of each file."""
    project.declare({"one": toy(server, ["a.bin", "b.bin"])})
    run = project.doit(MODELMAKE_PEERS="nonsense")
    assert run.status == 2
    assert run.stderr.count("MODELMAKE_PEERS has 'nonsense'") == 1
