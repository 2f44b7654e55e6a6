"""Where bytes wait for their verification: names, locks, modes, and what stands in the way."""

import os
import stat
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from downloader.errors import StoreError
from downloader.fs.locks import partial_name
from downloader.network.ranges import Range
from downloader.transfer._journal import Binding, binding_for
from downloader.transfer.partial import Checkpoints
from downloader.urls import Location
from tests.servers.faults import timing
from tests.transfer.desk import BODY, OLD, PATH, Desk, pinned

if TYPE_CHECKING:
    from downloader.fs.open_file import OpenFile
    from downloader.transfer._journal import Journal

SECONDS = 20.0


@given(st.text(min_size=1, max_size=300).filter(lambda text: "\0" not in text))
def test_a_partials_name_fits_every_file_system(path: str) -> None:
    """However long the path, the names of partial and journal stay short, and in one folder."""
    name = partial_name(path.encode("utf-8", "replace").decode())
    assert len(name.encode()) < 100
    assert "/" not in name
    assert name.endswith(".part")


def test_paths_of_one_name_have_partials_of_their_own() -> None:
    """Two files called alike in two folders do not share a partial."""
    assert partial_name("a/model.bin") != partial_name("b/model.bin")


def test_a_name_of_255_bytes_is_placed(desk: Desk) -> None:
    """The longest name a file may have leaves room for all that is made beside it."""
    name = "ü" * 125 + "e.bin"
    assert len(name.encode()) == 255
    target = desk.folder / "out" / name
    desk.server.script(PATH, timing.drop_after(1000))
    desk.run(desk.job(pinned(path=name), target=target))
    assert target.read_bytes() == BODY


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o000])
def test_modes_follow_the_umask(desk: Desk, mask: int) -> None:
    """The file is as readable as the user's other new files, and never executable."""
    before = os.umask(mask)
    try:
        desk.fetch()
    finally:
        os.umask(before)
    assert stat.S_IMODE(desk.target.stat().st_mode) == 0o666 & ~mask
    assert stat.S_IMODE(desk.target.parent.stat().st_mode) == 0o777 & ~mask


def test_an_old_file_is_replaced(desk: Desk) -> None:
    """The new file takes the name of the old one, and no link to the old content changes."""
    desk.target.parent.mkdir()
    desk.target.write_bytes(OLD)
    other_name = desk.folder / "hardlink"
    other_name.hardlink_to(desk.target)
    desk.fetch()
    assert other_name.read_bytes() == OLD


@pytest.mark.parametrize("there", [True, False], ids=["live", "broken"])
def test_a_symlink_at_the_target_is_replaced_not_followed(desk: Desk, there: bool) -> None:
    """What the link led to stays as it is; nothing is made where it led."""
    led_to = desk.folder / "precious"
    if there:
        led_to.write_bytes(OLD)
    desk.target.parent.mkdir()
    desk.target.symlink_to(led_to)
    desk.fetch()
    assert not desk.target.is_symlink()
    assert led_to.read_bytes() == OLD if there else not led_to.exists()


def make_folder(path: Path) -> None:
    (path / "inside").mkdir(parents=True)


@pytest.mark.parametrize(
    ("make", "what"),
    [(make_folder, "a folder"), (os.mkfifo, "no regular file")],
    ids=["folder", "FIFO"],
)
def test_what_is_no_file_is_not_replaced(desk: Desk, make: object, what: str) -> None:
    """A folder or FIFO at the target is an error, at once and without opening it."""
    desk.target.parent.mkdir()
    assert callable(make)
    make(desk.target)
    before = desk.target.lstat()
    with pytest.raises(StoreError, match=what) as caught:
        desk.run(desk.job())
    assert str(desk.target) in str(caught.value)
    assert os.path.samestat(desk.target.lstat(), before)


def test_a_device_is_not_replaced(desk: Desk) -> None:
    """A device at the target stays one."""
    with pytest.raises(StoreError, match="no regular file"):
        desk.run(desk.job(target=Path("/dev/null")))
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


def test_a_file_in_the_folders_place_is_an_error(desk: Desk) -> None:
    """Where the target's folder cannot be made, the error names it."""
    (desk.folder / "out").write_bytes(OLD)
    with pytest.raises(StoreError, match=r"out/model\.bin: Not a directory") as caught:
        desk.run(desk.job())
    assert (desk.folder / "out").read_bytes() == OLD
    assert not isinstance(caught.value, OSError)


def test_a_refused_target_keeps_the_bytes(desk: Desk) -> None:
    """When what is in the way is moved, the complete partial is placed without a request."""
    make_folder(desk.target)
    with pytest.raises(StoreError):
        desk.run(desk.job())
    desk.target.rename(desk.folder / "away")
    desk.fetch()
    assert len(desk.seen) == 1


def test_a_symlink_in_the_partials_place_is_not_written_through(desk: Desk) -> None:
    """Whoever plants a link where the partial will be gets nothing written behind it."""
    precious = desk.folder / "precious"
    precious.write_bytes(OLD)
    partial = desk.workspace / "partials" / partial_name("model.bin")
    partial.parent.mkdir(parents=True)
    partial.symlink_to(precious)
    with pytest.raises(StoreError, match="Cannot open"):
        desk.run(desk.job())
    assert precious.read_bytes() == OLD
    assert not desk.target.exists()


def test_a_partial_that_was_swapped_is_not_placed(desk: Desk) -> None:
    """Bytes that were hashed, and no others, get the final name."""
    desk.leave_partial(100_000)
    impostor = desk.folder / "impostor"
    impostor.write_bytes(bytes(len(BODY)))

    def swap(_: object, reply: object) -> object:
        impostor.replace(desk.partial)
        return reply

    desk.server.always(PATH, swap)  # type: ignore[arg-type]
    error = desk.refuses(StoreError)
    assert "was replaced by somebody" in str(error)


class SlowFile:
    """A file whose first sync waits until it may end."""

    def __init__(self) -> None:
        self.began, self.may_end = threading.Event(), threading.Event()
        self.syncs = 0

    def sync_data(self) -> None:
        """See OpenFile."""
        self.syncs += 1
        if self.syncs == 1:
            self.began.set()
            assert self.may_end.wait(SECONDS)


class Notes:
    """A journal that keeps what it is told."""

    def __init__(self) -> None:
        self.lines = list[list[Range]]()

    def note(self, _binding: Binding, ranges: Sequence[Range]) -> None:
        """See Journal."""
        self.lines.append(list(ranges))


def test_who_waits_for_another_note_finds_it_made_or_makes_the_newest() -> None:
    """Each of many connections wants to note what it knew: the journal must not go back."""
    file, journal = SlowFile(), Notes()
    checkpoints = Checkpoints(cast("OpenFile", file), cast("Journal", journal))
    artifact = msgspec.structs.replace(pinned(), size=100 << 20)
    binding = binding_for(artifact, Location(url="http://127.0.0.1/"))
    there = [Range(0, 2 << 20)]
    due = threading.Thread(target=checkpoints.add_due, args=(binding, lambda: there))
    due.start()
    assert file.began.wait(SECONDS)
    asked = threading.Semaphore(0)

    def now() -> list[Range]:
        asked.release()
        return there

    others = [threading.Thread(target=checkpoints.add_due, args=(binding, now)) for _ in range(8)]
    for each in others:
        each.start()
    there = [Range(0, 40 << 20)]
    file.may_end.set()
    for each in (due, *others):
        each.join(SECONDS)
    assert journal.lines == [[Range(0, 2 << 20)], [Range(0, 40 << 20)]]
    assert file.syncs == 2
    assert asked.acquire(timeout=SECONDS)
