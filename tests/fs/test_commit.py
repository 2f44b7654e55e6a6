"""The last step, and who may come in between (rows D2, D4, D8)."""

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from downloader.errors import Interrupted, Stop, StoreError
from downloader.fs import commit, open_file, rooted_path
from downloader.fs.commit import Commit
from downloader.fs.open_file import OpenFile
from downloader.fs.rooted_path import READ, RootedPath
from tests.transfer.desk import BODY, OLD, PATH, Desk, pinned, sha256

Replace = Callable[..., None]


@pytest.fixture
def acts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Give the list of what is done with files, in order."""
    noted: list[str] = []

    def watch(name: str, say: Callable[..., str]) -> None:
        call = getattr(os, name)

        def watched(*args: Any, **named: Any) -> Any:
            noted.append(say(*args))
            return call(*args, **named)

        monkeypatch.setattr(os, name, watched)

    def synced(descriptor: int) -> str:
        return "sync folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "sync file"

    watch("fsync", synced)
    watch("replace", lambda _source, target: f"rename to {Path(target).name}")
    monkeypatch.setattr(OpenFile, "write_at", written(noted))
    return noted


def written(noted: list[str]) -> Callable[..., None]:
    write_at = OpenFile.write_at

    def write(file: OpenFile, data: memoryview, offset: int) -> None:
        noted.append("write")
        write_at(file, data, offset)

    return write


def test_the_order_survives_a_power_cut(desk: Desk, acts: list[str]) -> None:
    """All bytes, then their fsync, the rename, the folder's fsync, and then the receipt."""
    job = replace(desk.job(), placed=lambda *_: acts.append("receipt"))
    desk.run(job)
    end = acts[acts.index("sync file") :]
    assert acts[0] == "write"
    assert end == ["sync file", "rename to model.bin", "sync folder", "receipt"]


def other_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every rename out of the partials' folder one to another file system."""
    replace = os.replace

    def refuse(source: Path, target: Path, **named: Any) -> None:
        if Path(source).suffix == ".part":
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        replace(source, target, **named)

    monkeypatch.setattr(os, "replace", refuse)


def test_another_file_system_gets_a_copy(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, acts: list[str]
) -> None:
    """Copied beside the target, synced, and renamed there; nothing is left anywhere."""
    other_disk(monkeypatch)
    desk.fetch()
    assert [act.partition(".")[0] for act in acts[acts.index("sync file") + 1 :]] == [
        "write",
        "sync file",
        "rename to model",
        "sync folder",
    ]
    assert desk.partials == []
    assert list(desk.target.parent.iterdir()) == [desk.target]
    assert stat.S_IMODE(desk.target.stat().st_mode) == 0o666 & ~umask()


def umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_copy_can_be_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large file takes minutes: Ctrl-C ends it, and nothing is left beside the target."""
    other_disk(monkeypatch)
    source = RootedPath.of(tmp_path / "model.part")
    source.path.write_bytes(BODY)
    (tmp_path / "to").mkdir()
    stop = Stop()
    stop.set()
    with source.open(READ) as file, pytest.raises(Interrupted):
        Commit(RootedPath(tmp_path, "to/model")).take(file, "0" * 64, stop.check)
    assert list((tmp_path / "to").iterdir()) == []
    assert source.path.read_bytes() == BODY


@pytest.mark.parametrize("fault", ["other bytes", "full disk"])
def test_a_copy_that_goes_wrong_is_removed(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """The copy is read again before it gets the name; the partial stays and is placed later."""
    pwrite = os.pwrite

    def write(descriptor: int, data: memoryview, offset: int) -> int:
        is_copy = ".new" in Path(f"/proc/self/fd/{descriptor}").readlink().name
        if is_copy and fault == "full disk":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return pwrite(descriptor, bytes(len(data)) if is_copy else data, offset)

    with monkeypatch.context() as faulty:
        other_disk(faulty)
        faulty.setattr(open_file, "_pwrite", write)
        error = desk.refuses(StoreError)
    assert "has other bytes" in str(error) or "No space left" in str(error)
    assert list(desk.target.parent.iterdir()) == [desk.target]
    desk.fetch()
    assert len(desk.seen) == 1


@pytest.mark.parametrize("is_there", [True, False], ids=["a file there", "nothing there"])
def test_a_partial_swapped_before_the_rename_is_not_placed(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, acts: list[str], *, is_there: bool
) -> None:
    """What is hashed is what is renamed: a file of the partial's name is not enough."""
    check = commit.check_target

    def swap(target: RootedPath) -> bool:
        for partial in desk.workspace.glob("partials/*.part"):
            partial.unlink()
            partial.write_bytes(bytes(len(BODY)))
        return check(target)

    monkeypatch.setattr(commit, "check_target", swap)
    desk.target.parent.mkdir()
    if is_there:
        desk.target.write_bytes(OLD)
    with pytest.raises(StoreError, match="was replaced by somebody"):
        desk.run(desk.job())
    assert desk.target.exists() == is_there
    assert "rename to model.bin" not in acts


def test_a_partial_swapped_in_the_last_instant_does_not_stay(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between look and rename nothing can be closed: so it is looked at once more."""
    replace = os.replace

    def swap(source: str, target: str, **named: Any) -> None:
        (partial,) = desk.workspace.glob(f"partials/{source}")
        partial.unlink()
        partial.write_bytes(bytes(len(BODY)))
        replace(source, target, **named)

    monkeypatch.setattr(os, "replace", swap)
    with pytest.raises(StoreError, match="was replaced by somebody"):
        desk.run(desk.job())
    assert not desk.target.exists()


def test_a_small_file_swapped_before_the_rename_does_not_stay(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody knows its name, and it is looked at after the rename."""
    small, desk.is_alone = BODY[:20_000], True
    desk.server.put(PATH, small)
    desk.target.parent.mkdir()
    check = commit.check_target

    def swap(target: RootedPath) -> bool:
        for partial in desk.workspace.glob("partials/*.part"):
            partial.unlink()
            partial.write_bytes(bytes(len(small)))
        return check(target)

    monkeypatch.setattr(commit, "check_target", swap)
    with pytest.raises(StoreError, match="was replaced by somebody"):
        desk.run(desk.job(pinned(small)))
    assert not desk.target.exists()


@pytest.mark.parametrize("there", [True, False], ids=["folder there", "folder not there yet"])
def test_a_folder_that_became_a_symlink_is_refused(desk: Desk, there: bool) -> None:
    """Nobody can lead the file elsewhere while it is fetched."""
    elsewhere, folder = desk.folder / "elsewhere", desk.target.parent
    elsewhere.mkdir()
    if there:
        folder.mkdir()

    def lead_away(_: object, reply: object) -> object:
        if there:
            folder.rename(desk.folder / "moved")
        folder.symlink_to(elsewhere)
        return reply

    desk.server.always(PATH, lead_away)  # type: ignore[arg-type]
    with pytest.raises(StoreError):
        desk.run(desk.job())
    assert list(elsewhere.iterdir()) == []
    assert len(desk.partials) == 2, "the bytes are kept"
    assert not there or list((desk.folder / "moved").iterdir()) == []


def test_another_file_system_gets_no_copy_if_the_folder_was_replaced(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, acts: list[str]
) -> None:
    """A copy takes its time, and is made only where it can stay."""
    other_disk(monkeypatch)
    desk.target.parent.mkdir()

    def replace_folder(_: object, reply: object) -> object:
        desk.target.parent.rename(desk.folder / "moved")
        desk.target.parent.mkdir()
        return reply

    desk.server.always(PATH, replace_folder)  # type: ignore[arg-type]
    with pytest.raises(StoreError, match="was replaced by somebody"):
        desk.run(desk.job())
    assert not [act for act in acts if act.startswith("rename to model.bin")]
    assert list((desk.folder / "moved").iterdir()) == []
    assert len(desk.partials) == 2


def test_a_pipe_that_comes_meanwhile_is_refused(desk: Desk) -> None:
    """Also if a look told when the fetch began that nothing stands there."""
    desk.target.parent.mkdir()

    def make_pipe(_: object, reply: object) -> object:
        os.mkfifo(desk.target)
        return reply

    desk.server.always(PATH, make_pipe)  # type: ignore[arg-type]
    with pytest.raises(StoreError, match="is no regular file"):
        desk.run(replace(desk.job(), is_fresh=True))
    assert stat.S_ISFIFO(desk.target.stat().st_mode)


def test_a_folder_that_was_a_symlink_before_is_used(desk: Desk) -> None:
    """Models often lie on a larger disk, by a symlink that the user made."""
    elsewhere = desk.folder / "elsewhere"
    elsewhere.mkdir()
    desk.target.parent.symlink_to(elsewhere)
    desk.fetch()
    assert (elsewhere / "model.bin").read_bytes() == BODY


def test_missing_folders_are_made(desk: Desk) -> None:
    """Several of them, with the user's modes."""
    target = desk.folder / "a" / "b" / "c" / "model.bin"
    desk.run(desk.job(target=target))
    assert sha256(target.read_bytes()) == pinned().sha256
    assert stat.S_IMODE(target.parent.stat().st_mode) == 0o777 & ~umask()


def test_without_folder_descriptors_it_goes_by_path(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows has none: files are placed, and another folder is refused, all the same."""
    monkeypatch.setattr(rooted_path, "HAS_FOLDER_DESCRIPTORS", False)
    desk.fetch()
    desk.target.write_bytes(OLD)

    def replace_folder(_: object, reply: object) -> object:
        desk.target.parent.rename(desk.folder / "moved")
        desk.target.parent.mkdir()
        desk.target.write_bytes(OLD)
        return reply

    desk.server.always(PATH, replace_folder)  # type: ignore[arg-type]
    assert "was replaced by somebody" in str(desk.refuses(StoreError))
