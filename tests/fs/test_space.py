"""Whether everything fits, asked before it moves (row D3)."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from msgspec import structs
from msgspec.structs import replace

from downloader.artifact import Artifact
from downloader.errors import NotFound, StoreError
from downloader.fs import space
from downloader.fs.rooted_path import RootedPath
from downloader.fs.space import DiskBudget, free_bytes
from downloader.settings import Settings
from downloader.targets.engine import Engine
from downloader.transfer.fetch import Fetcher
from tests.projects import http, lock, project
from tests.servers.faulty import FaultyServer
from tests.transfer.desk import BODY, Desk, however_known, pinned, sha256, unpinned

SIZE = len(BODY)


class Disk:
    """A disk that has as many bytes as a test says; bytes written to it count in `written`."""

    def __init__(self, size: int) -> None:
        self.size, self.written = size, 0

    def free(self, _folder: Path) -> int:
        """Return what is free of it."""
        return self.size - self.written


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    """Give the disk that every folder is on."""
    made = Disk(1000)
    monkeypatch.setattr(space, "free_bytes", made.free)
    return made


def test_what_fits_to_the_byte_is_let_pass(disk: Disk, tmp_path: Path) -> None:
    """A run may fill the disk, and one byte more is refused with all the figures."""
    DiskBudget().plan([(tmp_path / "a", 600), (tmp_path / "b", 400)])
    with pytest.raises(StoreError) as caught:
        DiskBudget().plan([(tmp_path / "a", 600), (tmp_path / "b", 401)])
    said = str(caught.value)
    assert "has still to write 1.0 kB (1,001 bytes)" in said
    assert "has 1.0 kB (1,000 bytes) free" in said
    assert str(tmp_path) in said
    assert "MODELMAKE_PREFLIGHT=0" in caught.value.hint


def test_files_that_move_count_together(disk: Disk, tmp_path: Path) -> None:
    """Two files that fit one by one, and not together, are not both begun."""
    budget = DiskBudget()
    budget.claim(tmp_path / "a", lambda: 600)
    with pytest.raises(StoreError, match="1,200 bytes"):
        budget.claim(tmp_path / "b", lambda: 600)
    budget.claim(tmp_path / "c", lambda: 400)


def test_what_is_written_is_needed_no_more(disk: Disk, tmp_path: Path) -> None:
    """A file on its way counts with what is missing of it now, as the disk does."""
    budget, left = DiskBudget(), [600]
    budget.claim(tmp_path / "a", lambda: left[0])
    left[0], disk.written = 100, 500
    budget.claim(tmp_path / "b", lambda: 400)


def test_a_plan_is_replaced_by_the_files_own_claim(disk: Disk, tmp_path: Path) -> None:
    """No file counts twice, and one that failed counts no more."""
    budget = DiskBudget()
    budget.plan([(tmp_path / "a", 600), (tmp_path / "b", 400)])
    budget.claim(tmp_path / "a", lambda: 600)
    budget.release(tmp_path / "a")
    budget.claim(tmp_path / "c", lambda: 600)
    budget.release(tmp_path / "b")
    budget.claim(tmp_path / "d", lambda: 400)


def test_a_refused_file_claims_nothing(disk: Disk, tmp_path: Path) -> None:
    """One file that is too large does not take the room of the others."""
    budget = DiskBudget()
    with pytest.raises(StoreError):
        budget.claim(tmp_path / "a", lambda: 1001)
    with pytest.raises(StoreError):
        budget.plan([(tmp_path / "b", 1001)])
    budget.claim(tmp_path / "c", lambda: 1000)


def test_what_a_partial_holds_is_not_needed_again(disk: Disk, tmp_path: Path) -> None:
    """The blocks of a partial count, and its holes do not."""
    partial = tmp_path / "a.part"
    with partial.open("wb") as file:
        file.write(os.urandom(8192))
        file.truncate(1 << 20)
        os.fsync(file.fileno())
    held = partial.stat().st_blocks * 512
    assert 8192 <= held < 1 << 19
    DiskBudget().plan([(partial, held + 1000)])
    with pytest.raises(StoreError):
        DiskBudget().plan([(partial, held + 1001)])


def test_disks_are_counted_apart(
    disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What goes to one disk takes no room on another."""
    monkeypatch.setattr(space, "disk_of", lambda folder: (len(folder.parts), folder))
    budget = DiskBudget()
    budget.plan([(tmp_path / "a", 600), (tmp_path / "b" / "c", 600)])
    with pytest.raises(StoreError, match="1,200 bytes"):
        budget.claim(tmp_path / "b" / "d", lambda: 600)
    budget.release(tmp_path / "b" / "c")
    budget.claim(tmp_path / "e", lambda: 400)
    budget.claim(tmp_path / "b" / "d", lambda: 1000)


def test_it_can_be_turned_off(disk: Disk, tmp_path: Path) -> None:
    """Nothing is refused then."""
    budget = DiskBudget(is_watched=False)
    budget.plan([(tmp_path / "a", 2000)])
    budget.claim(tmp_path / "b", lambda: 2000)
    budget.release(tmp_path / "b")


@pytest.mark.parametrize(("blocks", "available"), [(0, 0), (0, 5), (5, 6), (5, -1)], ids=str)
def test_a_disk_that_lies_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blocks: int, available: int
) -> None:
    """No blocks at all, or more free ones than there are, mean nothing."""
    answer = SimpleNamespace(f_blocks=blocks, f_bavail=available, f_frsize=1)
    monkeypatch.setattr(space, "_statvfs", lambda _folder: answer)
    assert free_bytes(tmp_path) is None
    DiskBudget().claim(tmp_path / "a", lambda: 1 << 60)


def test_a_disk_that_does_not_answer_is_not_asked_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where free space cannot be had, nothing is refused; each look asks once."""
    asked = []

    def refuse(folder: Path) -> None:
        asked.append(folder)
        raise OSError

    monkeypatch.setattr(space, "_statvfs", refuse)
    budget = DiskBudget()
    budget.plan([(tmp_path / name, 1 << 60) for name in ("a", "b", "c")])
    assert asked == [tmp_path]
    budget.claim(tmp_path / "d", lambda: 1 << 60)
    assert asked == [tmp_path] * 2


def test_windows_is_asked_in_its_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without statvfs, shutil knows."""
    monkeypatch.setattr(space, "_statvfs", None)
    monkeypatch.setattr("shutil.disk_usage", lambda _folder: SimpleNamespace(free=7))
    assert free_bytes(tmp_path) == 7


def test_a_known_size_is_refused_before_the_server_is_asked(desk: Desk, disk: Disk) -> None:
    """Where the lock tells the size, no request is made."""
    disk.size = SIZE - 1
    error = desk.refuses(StoreError)
    assert "Not enough room" in str(error)
    assert desk.seen == []
    assert desk.partials == []


def test_an_unknown_size_is_refused_by_the_first_reply(desk: Desk, disk: Disk) -> None:
    """As soon as the server tells it, before a byte is written; and nothing is tried again."""
    disk.size = SIZE - 1
    desk.refuses(StoreError, unpinned())
    assert desk.asked == [None]
    assert desk.partials == []


@however_known
def test_what_is_there_lowers_what_is_needed(desk: Desk, disk: Disk, artifact: Artifact) -> None:
    """A partial is finished on a disk that has room for the rest only."""
    disk.size = SIZE
    desk.leave_partial(100_000, artifact)
    disk.written = 100_000
    desk.fetch(artifact)


def test_a_file_that_came_meanwhile_needs_no_room(desk: Desk, disk: Disk) -> None:
    """What another process put there is taken also on a full disk."""
    disk.size = 0
    desk.target.parent.mkdir()
    desk.target.write_bytes(BODY)
    job = replace(desk.job(), found=lambda: pinned().sha256)
    assert not desk.run(job).is_new


def test_the_setting_reaches_the_fetch(desk: Desk, disk: Disk) -> None:
    """MODELMAKE_PREFLIGHT=0 lets the disk itself decide."""
    disk.size = 0
    desk.settings = structs.replace(desk.settings, is_preflight=False)
    desk.fetch()


def test_a_failed_file_leaves_its_room(desk: Desk, disk: Disk) -> None:
    """A file that cannot be had does not keep another one out, planned or begun."""
    disk.size = SIZE
    gone = pinned(path="gone/model.bin")
    with desk.transport() as transport:
        fetcher = Fetcher(transport)
        fetcher.plan([(RootedPath.of(desk.workspace), gone)])
        with pytest.raises(StoreError, match="Not enough room"):
            fetcher.fetch(desk.job())
        with pytest.raises(NotFound):
            fetcher.fetch(desk.job(gone, desk.location("/gone.bin")))
        fetcher.plan([(RootedPath.of(desk.workspace), gone)])
        with pytest.raises(StoreError, match="is a folder"):
            fetcher.fetch(desk.job(gone, target=desk.folder))
        fetcher.fetch(desk.job())


@pytest.mark.parametrize(
    ("value", "is_on"), [("0", False), ("off", False), ("1", True), ("", True)]
)
def test_the_variable(value: str, is_on: bool) -> None:
    """It is on unless said otherwise; an empty variable says nothing."""
    assert Settings.from_environment({"MODELMAKE_PREFLIGHT": value}).is_preflight is is_on
    assert Settings.from_environment({}).is_preflight


def test_a_plan_leaves_what_moves_alone(disk: Disk, tmp_path: Path) -> None:
    """Its own claim shrinks with what is written; a planned one would not."""
    budget, left = DiskBudget(), [600]
    budget.claim(tmp_path / "a", lambda: left[0])
    budget.plan([(tmp_path / "a", 600), (tmp_path / "b", 300)])
    left[0], disk.written = 0, 600
    budget.claim(tmp_path / "b", lambda: 400)


def test_a_planned_file_that_is_there_leaves_its_room(
    disk: Disk, tmp_path: Path, server: FaultyServer
) -> None:
    """What another process put there meanwhile keeps no other file out."""
    for name in ("a", "b"):
        server.put(f"/{name}", BODY[:400])
    entry = http(*({"url": server.url(f"/{n}"), "sha256": sha256(BODY[:400])} for n in ("a", "b")))
    lock(tmp_path, {"m": entry})
    syncer = Engine(project(tmp_path))
    syncer.plan([("m", "a"), ("m", "b")])
    (tmp_path / "models/m").mkdir(parents=True)
    (tmp_path / "models/m/a").write_bytes(BODY[:400])
    disk.written = 600
    syncer.sync("m", "a")
    syncer.sync("m", "b")
    syncer.close()
