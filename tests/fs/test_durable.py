"""Writing so that the old content or the new one is there, never a half."""

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from downloader.errors import StoreError
from downloader.fs.files import write_file
from downloader.fs.open_file import refused
from downloader.fs.rooted_path import RootedPath


def test_a_file_is_written_with_its_folders(tmp_path: Path) -> None:
    """Missing folders are made, and nothing but the file is left in them."""
    path = tmp_path / "a" / "b" / "file"
    write_file(RootedPath.of(path), b"new")
    assert path.read_bytes() == b"new"
    assert list(path.parent.iterdir()) == [path]


def test_a_file_is_replaced_and_not_written_over(tmp_path: Path) -> None:
    """Whoever has the old file open, or linked, keeps the old content."""
    path, link = tmp_path / "file", tmp_path / "link"
    path.write_bytes(b"old")
    link.hardlink_to(path)
    write_file(RootedPath.of(path), b"new")
    assert (path.read_bytes(), link.read_bytes()) == (b"new", b"old")


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_a_disk_that_refuses_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """At whatever step it fails, the old content stands, and no unfinished file beside it."""
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, refuse)
    with pytest.raises(StoreError, match=r"Cannot write .*file: No space left") as caught:
        write_file(RootedPath.of(path), b"new")
    assert "Free some space" in caught.value.hint
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_interruption_leaves_no_unfinished_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C between the steps passes on, and cleans up."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_file(RootedPath.of(tmp_path / "file"), b"new")
    assert list(tmp_path.iterdir()) == []


def test_the_order_survives_a_power_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The content is synced before the rename, and the folder after it."""
    acts: list[str] = []
    sync, replace = os.fsync, os.replace

    def noted_sync(descriptor: int) -> None:
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        acts.append("sync folder" if is_folder else "sync file")
        sync(descriptor)

    def noted_replace(name: str, new: str, **folders: int) -> None:
        acts.append("rename")
        replace(name, new, **folders)

    monkeypatch.setattr("os.fsync", noted_sync)
    monkeypatch.setattr("os.replace", noted_replace)
    write_file(RootedPath.of(tmp_path / "file"), b"new")
    assert acts == ["sync file", "rename", "sync folder"]


@pytest.mark.parametrize("letter", ["x", "字"])
def test_the_longest_name_can_be_written(tmp_path: Path, letter: str) -> None:
    """The unfinished file's name is not longer than a name may be: 255 bytes."""
    path = tmp_path / (letter * (255 // len(letter.encode())))
    write_file(RootedPath.of(path), b"new")
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_modes_follow_the_umask(tmp_path: Path, mask: int) -> None:
    """Files are as readable as the user's others."""
    before = os.umask(mask)
    try:
        write_file(RootedPath.of(tmp_path / "file"), b"new")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o666 & ~mask


def test_a_folder_that_is_there_is_fine(tmp_path: Path) -> None:
    """Making it twice is no error; a file in its place is one."""
    RootedPath.of(tmp_path / "a").make_folder()
    RootedPath.of(tmp_path / "a").make_folder()
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match="Cannot make the folder"):
        RootedPath.of(tmp_path / "file").make_folder()


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "Free some space"),
        (errno.EDQUOT, "quota"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "may not"),
        (errno.EPERM, "may not"),
        (errno.EIO, "reports a fault"),
        (errno.EMFILE, "ulimit -n"),
        (errno.ENAMETOOLONG, "shorter `to`"),
        (errno.EFBIG, "FAT32"),
        (errno.ELOOP, "symlink"),
        (errno.ENXIO, ""),
    ],
)
def test_what_the_disk_says_is_told_in_one_line(number: int, advice: str) -> None:
    """The error names the file, the act and the reason, and says what to do where that is known."""
    error = refused(OSError(number, os.strerror(number)), "write", Path("x/file"))
    assert str(error) == f"Cannot write x/file: {os.strerror(number)}."
    assert (error.errno, error.reason) == (number, os.strerror(number))
    assert advice in error.hint
    assert bool(error.hint) == bool(advice)


def test_a_full_disk_is_told_with_its_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How much is needed and how much is free stand in the hint, for the folder that is there."""
    monkeypatch.setattr("shutil.disk_usage", lambda _folder: SimpleNamespace(free=1_500_000))
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert refused(full, "write", tmp_path / "a" / "b", lambda: 8_100).hint.startswith(
        f"It still needs 8.1 kB. The disk of {tmp_path} has 1.5 MB free. Free some space"
    )


@pytest.mark.parametrize(
    ("disk", "is_named"),
    [((200, 0, 67), True), ((200, 1, 67), False), ((200, 0, 0), False), ((0, 0, 67), False)],
    ids=["no inode", "some inodes", "no byte either", "inodes are not counted"],
)
def test_a_disk_without_inodes_is_told_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, disk: tuple[int, int, int], is_named: bool
) -> None:
    """Free bytes are of no use then: files have to go, not bytes."""
    (inodes, left, blocks), million = disk, 1_000_000
    said = {"f_files": inodes, "f_favail": left, "f_ffree": left, "f_frsize": million}
    said |= {"f_blocks": 100, "f_bavail": blocks, "f_bfree": blocks}
    monkeypatch.setattr("os.statvfs", lambda _folder: SimpleNamespace(**said))
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    hint = refused(full, "write", tmp_path / "a").hint
    assert ("no inodes left" in hint) is is_named
    assert ("Free some space" in hint) is not is_named
    assert f"has {'67.0 MB' if blocks else '0 B'} free" in hint


def test_the_first_error_is_the_one_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When cleaning up fails too, that hides nothing."""

    def refuse(number: int) -> Callable[..., None]:
        def call(*_: object, **__: object) -> None:
            raise OSError(number, os.strerror(number))

        return call

    monkeypatch.setattr("os.fsync", refuse(errno.ENOSPC))
    monkeypatch.setattr("os.unlink", refuse(errno.EIO))
    with pytest.raises(StoreError, match="No space left"):
        write_file(RootedPath.of(tmp_path / "file"), b"new")


def test_an_error_without_words_is_named_by_its_kind() -> None:
    """An OSError that was raised by hand has no errno."""
    assert str(refused(OSError(), "write", Path("x"))) == "Cannot write x: OSError."


def test_a_folder_that_is_gone_cannot_be_synced(tmp_path: Path) -> None:
    """The caller learns of it as of any failed write."""
    with pytest.raises(StoreError, match="No such file"):
        RootedPath(tmp_path / "gone").sync_folder()


def test_a_write_that_takes_nothing_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A torn file never gets the name, whatever the system means by 0 bytes."""
    path, write = tmp_path / "file", os.write
    path.write_bytes(b"old")
    counts = [3, 0]
    monkeypatch.setattr(os, "write", lambda file, data: write(file, data[: counts.pop(0)]))
    with pytest.raises(StoreError, match="takes no more bytes"):
        write_file(RootedPath.of(path), b"0123456789")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
