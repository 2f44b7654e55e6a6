"""Blobs and targets that were changed in place: noticed, named, mended in every project."""

import os
from pathlib import Path

import pytest

from downloader.fs.rooted_path import RootedPath
from downloader.store.blobs import Records
from tests.e2e.content import toy_content
from tests.e2e.project import Project
from tests.e2e.sharing import BIG, blob, bodies, cloned, declaring, edit, entry
from tests.servers.faulty import FaultyServer


@pytest.fixture
def two(tmp_path: Path, store: Path, server: FaultyServer) -> tuple[Project, Project]:
    """Give two projects that share the files of a model."""
    first = declaring(tmp_path / "first", entry(server))
    assert first.doit().status == 0
    second = cloned(first, tmp_path / "second")
    assert second.doit().status == 0
    return first, second


def small(project: Project) -> Path:
    """Return the small file of a project."""
    return project.target("one", "small.bin")


def assert_mended(project: Project) -> None:
    """Check the files, by reading them."""
    assert small(project).read_bytes() == toy_content("small.bin")
    assert project.target("one", "big.bin").read_bytes() == BIG
    assert project.doit("verify").status == 0


@pytest.mark.sampled(keep=2)
@pytest.mark.parametrize("is_unseen", [False, True], ids=["", "time-put-back"])
def test_a_changed_blob_is_never_linked(
    two: tuple[Project, Project], store: Path, server: FaultyServer, tmp_path: Path, is_unseen: bool
) -> None:
    """It is read first, set aside, named with all who share it, and fetched; they are mended."""
    wrong = edit(small(two[0]), is_unseen=is_unseen)
    third = cloned(two[0], tmp_path / "third")
    run = third.doit()

    assert run.status == 0, run.text
    assert bodies(server).count("/toy/small.bin") == 2
    assert bodies(server).count("/toy/big.bin") == 1
    (aside,) = (store / "quarantine").iterdir()
    assert aside.read_bytes() == wrong
    (told,) = [line for line in run.error_lines if "stored copy was changed" in line]
    for each in two:
        assert str(small(each)) in told
    assert str(aside) in told
    assert_mended(third)
    for each in two:
        assert each.doit().status == 0
        assert_mended(each)
        assert small(each).samefile(small(third))
    assert bodies(server).count("/toy/small.bin") == 2


@pytest.mark.parametrize("command", [("verify", "--repair"), ()], ids=["verify --repair", "doit"])
def test_a_target_that_is_damaged_through_a_link_is_mended_in_both(
    two: tuple[Project, Project], server: FaultyServer, command: tuple[str, ...]
) -> None:
    """The first one fetches, since the blob is the same file; the other links that.

    It names the other only: its own file is about to be repaired.
    """
    edit(small(two[1]))
    runs = [each.doit(*command) for each in two]

    assert [run.status for run in runs] == [0, 0], [run.text for run in runs]
    assert f"Also changed: {small(two[1])}. Run `doit` there" in runs[0].stderr
    assert bodies(server).count("/toy/small.bin") == 2
    for each in two:
        assert_mended(each)


def test_a_repair_reads_a_blob_that_looks_right(
    two: tuple[Project, Project], store: Path, server: FaultyServer
) -> None:
    """Bits that rot change no time; the target that proved wrong is the same file."""
    edit(small(two[0]))
    found = blob(store, toy_content("small.bin"))
    Records(RootedPath.of(store / "records")).note(found.name, found.stat())
    run = two[1].doit("verify", "--repair")

    assert run.status == 0, run.text
    assert bodies(server).count("/toy/small.bin") == 2
    assert_mended(two[1])


def test_a_target_replaced_in_one_project_changes_no_other(
    two: tuple[Project, Project], server: FaultyServer
) -> None:
    """A new file in a target's place is not the shared one: it goes, and a link comes."""
    small(two[0]).unlink()
    small(two[0]).write_bytes(b"y" * 1000)
    assert two[0].doit().status == 0

    assert bodies(server).count("/toy/small.bin") == 1
    for each in two:
        assert_mended(each)


def put_other_bytes(path: Path) -> None:
    """Replace a blob by a file of the same size."""
    size = path.stat().st_size
    path.unlink()
    path.write_bytes(b"z" * size)


def put_symlink(path: Path) -> None:
    """Replace a blob by a symlink to other bytes of the same size."""
    elsewhere = path.parents[3] / "elsewhere"
    elsewhere.write_bytes(b"z" * path.stat().st_size)
    path.unlink()
    path.symlink_to(elsewhere)


def put_folder(path: Path) -> None:
    """Replace a blob by a folder."""
    path.unlink()
    path.mkdir()


def put_fifo(path: Path) -> None:
    """Replace a blob by a FIFO, which would keep a reader waiting."""
    path.unlink()
    os.mkfifo(path)


@pytest.mark.sampled(keep=4)
@pytest.mark.parametrize("put", [put_other_bytes, put_symlink, put_folder, put_fifo])
def test_a_hostile_blob_is_not_linked(
    two: tuple[Project, Project], store: Path, server: FaultyServer, tmp_path: Path, put: object
) -> None:
    """Whatever stands in a blob's place: the bytes are fetched, and the store has them again."""
    assert callable(put)
    put(blob(store, BIG))
    third = cloned(two[0], tmp_path / "third")
    run = third.doit()

    assert run.status == 0, run.text
    assert bodies(server).count("/toy/big.bin") == 2
    assert_mended(third)
    assert blob(store, BIG).samefile(third.target("one", "big.bin"))


def test_a_symlinked_folder_of_blobs_is_told_and_not_used(
    two: tuple[Project, Project], store: Path, server: FaultyServer, tmp_path: Path
) -> None:
    """Nothing is read or written behind it; the run fetches."""
    shard = blob(store, BIG).parent
    outside = tmp_path / "outside"
    shard.rename(outside)
    shard.symlink_to(outside)
    before = sorted(outside.iterdir())
    third = cloned(two[0], tmp_path / "third")
    run = third.doit()

    assert run.status == 0, run.text
    assert run.stderr.count("The shared store is not used") == 1
    assert "is a symlink" in run.stderr
    assert sorted(outside.iterdir()) == before
    assert third.target("one", "big.bin").stat().st_nlink == 1
    assert_mended(third)


def test_a_symlinked_store_is_used(server: FaultyServer, tmp_path: Path) -> None:
    """People put it on a larger disk so."""
    (tmp_path / "larger").mkdir()
    (tmp_path / "store").symlink_to("larger")
    where = {"MODELMAKE_STORE": str(tmp_path / "store")}
    first = declaring(tmp_path / "first", entry(server), **where)
    assert first.doit().status == 0
    second = cloned(first, tmp_path / "second", **where)
    assert second.doit().status == 0

    assert bodies(server).count("/toy/big.bin") == 1
    assert_mended(second)
