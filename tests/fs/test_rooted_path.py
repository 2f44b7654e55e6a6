"""Whatever a path says, and whatever links lie about: nothing outside the root is reached."""

import contextlib
import errno
import os
import stat
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pytest

from downloader.errors import StoreError
from downloader.fs import rooted_path
from downloader.fs.rooted_path import (
    APPEND,
    NEW_FILE,
    READ,
    REPLACE,
    RootedPath,
    close_idle_folders,
    open_to_read,
)

HOSTILE = [
    "/etc/passwd",
    "..",
    "../x",
    "a/../../x",
    "a/..",
    ".",
    "a//b",
    "a/",
    "/",
    "a\0b",
    "a/./b",
]

CHANGES: dict[str, Callable[[RootedPath], object]] = {
    "open": lambda path: path.open(os.O_RDWR | os.O_CREAT).close(),
    "new": lambda path: path.open(NEW_FILE).close(),
    "read": RootedPath.read_bytes,
    "read if there": RootedPath.read_if_there,
    "open to read": open_to_read,
    "write": lambda path: path.open(REPLACE).close(),
    "append": lambda path: path.open(APPEND).close(),
    "look": RootedPath.lstat,
    "make the folder": RootedPath.make_folder,
    "make a new folder": RootedPath.make_new_folder,
    "remove": RootedPath.remove,
    "remove the folder": RootedPath.remove_folder,
    "remove all": lambda path: path.remove_tree(ignore_errors=False),
    "rename": lambda path: path.move_to(path.with_name("other")),
    "rename to": lambda path: RootedPath(path.root, "own").move_to(path),
    "link": lambda path: path.with_name("link").hardlink_to(path),
    "link to": lambda path: path.with_name("link").hardlink_to(RootedPath(path.root, "own")),
    "protect": lambda path: path.protect(0o400),
    "touch": RootedPath.mark_changed,
    "sync": lambda path: path.parent.sync_folder(),
    "list": lambda path: path.parent.names(),
    "enter": RootedPath.entered,
}


needs_descriptors = pytest.mark.skipif(
    not rooted_path.HAS_FOLDER_DESCRIPTORS, reason="the system has no descriptors of folders"
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Give a root with a file in it, beside a folder that is nobody's business."""
    (tmp_path / "elsewhere" / "folder").mkdir(parents=True)
    (tmp_path / "elsewhere" / "file").write_bytes(b"precious")
    (tmp_path / "root" / "sub").mkdir(parents=True)
    (tmp_path / "root" / "own").write_bytes(b"ours")
    return tmp_path / "root"


def tree(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Return everything below a folder: mode, time of change and bytes."""
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        content = path.read_bytes() if stat.S_ISREG(status.st_mode) else b""
        found[str(path)] = (status.st_mode, status.st_mtime_ns, content)
    return found


@pytest.fixture(params=["by descriptor", "by path"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Go by descriptors of folders, and by paths as on Windows."""
    if request.param == "by path":
        monkeypatch.setattr(rooted_path, "HAS_FOLDER_DESCRIPTORS", False)
    return str(request.param)


@pytest.mark.parametrize("path", HOSTILE)
def test_a_path_that_is_not_below_is_refused(root: Path, path: str) -> None:
    """Before anything is touched, and with the odd characters escaped."""
    with pytest.raises(StoreError, match="is not a path below") as caught:
        RootedPath(root, path)
    assert "\0" not in str(caught.value)
    with pytest.raises(StoreError):
        RootedPath(root) / path
    with pytest.raises(StoreError):
        RootedPath(root, "own").with_name(path)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", ["file", "folder", "new"])
@pytest.mark.usefixtures("way")
def test_no_symlink_leads_out_of_the_root(root: Path, change: str, name: str) -> None:
    """Each operation refuses a folder that is a symlink to elsewhere, and changes nothing there."""
    (root / "out").symlink_to(root.parent / "elsewhere")
    before = tree(root.parent / "elsewhere")
    with pytest.raises(StoreError, match="leads out of"):
        CHANGES[change](RootedPath(root, f"out/{name}"))
    assert tree(root.parent / "elsewhere") == before


@pytest.mark.parametrize(
    "change",
    ["open", "read", "read if there", "open to read", "write", "append", "protect", "touch"],
)
def test_a_symlink_at_the_name_itself_is_not_followed(root: Path, change: str) -> None:
    """Its file is neither read nor written, nor is its mode or time changed."""
    (root / "file").symlink_to(root.parent / "elsewhere" / "file")
    before = tree(root.parent / "elsewhere")
    with pytest.raises(StoreError, match="symbolic link"):
        CHANGES[change](RootedPath(root, "file"))
    assert tree(root.parent / "elsewhere") == before


@pytest.mark.usefixtures("way")
def test_a_symlink_is_what_is_removed_and_renamed(root: Path) -> None:
    """Not the file or the folder that it leads to."""
    before = tree(root.parent / "elsewhere")
    for name, to in (("a", "file"), ("b", "folder"), ("c", "gone")):
        (root / name).symlink_to(root.parent / "elsewhere" / to)
        RootedPath(root, name).move_to(RootedPath(root, f"{name}2"))
        RootedPath(root, f"{name}2").remove()
        assert not os.path.lexists(root / f"{name}2")
    assert tree(root.parent / "elsewhere") == before


@pytest.mark.usefixtures("way")
def test_a_tree_is_removed_without_following_its_links(root: Path) -> None:
    """The links go, what they lead to stays."""
    (root / "sub" / "link").symlink_to(root.parent / "elsewhere")
    RootedPath(root, "sub").remove_tree()
    assert not (root / "sub").exists()
    assert (root.parent / "elsewhere" / "file").read_bytes() == b"precious"


@pytest.mark.usefixtures("way")
def test_a_symlink_that_stays_in_the_root_is_followed(root: Path) -> None:
    """By way of several, and to a folder whose own folders are still to be made."""
    (root / "one").symlink_to("two")
    (root / "two").symlink_to(root / "sub")
    path = RootedPath(root, "one/made/file")
    path.parent.make_folder()
    with path.open(NEW_FILE) as file:
        file.append(b"new")
    assert (root / "sub" / "made" / "file").read_bytes() == b"new"


@pytest.mark.usefixtures("way")
def test_the_root_itself_may_be_a_symlink(root: Path) -> None:
    """A user's large disk; it may even be made, with the folders above it."""
    (root.parent / "models").symlink_to(root)
    RootedPath(root.parent / "models", "sub/own").parent.make_folder()
    RootedPath(root.parent / "models", "own").move_to(RootedPath(root.parent / "models", "sub/own"))
    assert (root / "sub" / "own").read_bytes() == b"ours"
    RootedPath(root.parent / "a" / "b", "c/d").make_folder()
    assert (root.parent / "a" / "b" / "c" / "d").is_dir()


def test_a_folder_swapped_for_a_symlink_meanwhile_is_not_followed(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two looks somebody puts a link there: the open folder is the one that is used."""
    opened = os.open

    def swap(path: str, *rest: int, dir_fd: int | None = None) -> int:
        found = opened(path, *rest, dir_fd=dir_fd)
        if path == "sub":
            (root / "sub").rename(root / "moved")
            (root / "sub").symlink_to(root.parent / "elsewhere")
        return found

    monkeypatch.setattr(os, "open", swap)
    with RootedPath(root, "sub/file").open(REPLACE) as file:
        file.append(b"new")
    assert (root / "moved" / "file").read_bytes() == b"new"
    assert (root.parent / "elsewhere" / "file").read_bytes() == b"precious"


def opened_folders(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list to which the name of each folder is added that is opened from now on."""
    opened: list[str] = []
    real = os.open

    def seen(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if flags & os.O_DIRECTORY:
            opened.append(os.path.basename(path))  # noqa: PTH119 - a name or a path
        return real(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", seen)
    return opened


@needs_descriptors
def test_a_folder_is_opened_once_for_many_operations(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And again only if its path leads to another one, or to none for a while."""
    close_idle_folders()
    opened = opened_folders(monkeypatch)
    file = RootedPath(root, "sub/file")
    for _ in range(5):
        file.open(APPEND).close()
        file.lstat()
    assert opened == ["root", "sub"]

    (root / "sub").rename(root / "old")
    (root / "sub").mkdir()
    file.open(NEW_FILE).close()
    assert opened == ["root", "sub"] * 2
    assert (root / "sub" / "file").exists()


@needs_descriptors
def test_a_folder_that_is_used_often_stays_open(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many others are used once, as the folders of a store's blobs are."""
    close_idle_folders()
    file = RootedPath(root, "sub/file")
    file.open(NEW_FILE).close()
    opened = opened_folders(monkeypatch)
    for number in range(40):
        RootedPath(root, f"{number}").make_folder()
        file.lstat()
    assert "sub" not in opened


def open_folders() -> list[str]:
    """Return which folders this process has open below the one for temporary files."""
    numbers = Path("/proc/self/fd")
    found = [os.path.realpath(each) for each in numbers.iterdir()]
    return [each for each in found if "/sub" in each and os.path.isdir(each)]  # noqa: PTH112


@needs_descriptors
@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="nothing says what is open")  # noqa: PTH112
def test_few_folders_stay_open(root: Path) -> None:
    """However many there are; and none once they are closed."""
    close_idle_folders()
    for number in range(100):
        RootedPath(root, f"sub/{number}").make_folder()
        RootedPath(root, f"sub/{number}/file").open(NEW_FILE).close()
        assert len(open_folders()) <= 16
    close_idle_folders()
    assert not open_folders()


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("name", ["none", "none/file"])
def test_what_is_not_there_is_no_error(root: Path, name: str) -> None:
    """Neither the file nor its folder; what else is in the way is one."""
    path = RootedPath(root, name)
    assert (path.status(), path.open_if_there(READ), path.read_if_there()) == (None, None, None)
    for look in (RootedPath.status, RootedPath.read_if_there):
        with pytest.raises(StoreError, match="Not a directory"):
            look(RootedPath(root, "own/file"))


@needs_descriptors
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", ["file", "folder", "new"])
def test_a_held_folder_is_used_whatever_stands_in_its_place(
    root: Path, change: str, name: str
) -> None:
    """A symlink to elsewhere, put there meanwhile, leads no operation away."""
    (root / "sub" / "file").write_bytes(b"ours")
    (root / "sub" / "folder").mkdir()
    with RootedPath(root, f"sub/{name}").held() as path:
        assert path.leads_to_held()
        (root / "sub").rename(root / "moved")
        (root / "sub").symlink_to(root.parent / "elsewhere")
        before = tree(root.parent / "elsewhere")
        with contextlib.suppress(StoreError):
            CHANGES[change](path)
        assert tree(root.parent / "elsewhere") == before
        assert not path.leads_to_held()


@needs_descriptors
def test_a_held_folder_is_looked_at_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much is done in it; and it is closed when it is let go."""
    close_idle_folders()
    with RootedPath(root, "sub/file").held() as path:
        looks: list[Any] = []
        stat_, opened = os.stat, opened_folders(monkeypatch)

        def look(where: Any, **named: Any) -> os.stat_result:
            looks.append(where)
            return stat_(where, **named)

        monkeypatch.setattr(os, "stat", look)
        path.open(NEW_FILE).close()
        path.move_to(path.with_name("other"))
        path.with_name("other").lstat()
        path.parent.sync_folder()
        monkeypatch.undo()
        assert (looks, opened) == (["other"], [])
        close_idle_folders()
        assert open_folders()
    assert not open_folders()


@needs_descriptors
@pytest.mark.parametrize("seconds", [0.0, 1e9], ids=["long ago", "a moment ago"])
def test_a_look_of_a_moment_ago_can_do(
    root: Path, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    """Only for who asks for it, and only for a moment: then the folder is looked at again."""
    close_idle_folders()
    monkeypatch.setattr(rooted_path, "_MOMENT_SECONDS", seconds)
    path = RootedPath(root, "sub/file")
    path.held().let_go()
    (root / "sub").rename(root / "old")
    (root / "sub").mkdir()
    is_new = not seconds
    assert path.held(soon=True).leads_to_held() == is_new
    path.held(soon=True).open(NEW_FILE).close()
    assert (root / ("sub" if is_new else "old") / "file").exists()
    assert path.held().leads_to_held()


@pytest.mark.usefixtures("way")
def test_a_folder_is_entered_and_made_if_need_be(root: Path) -> None:
    """What is right below it is done in that folder."""
    for _ in range(2):
        with RootedPath(root, "sub/new").held() as path:
            file = path.entered() / "file"
        assert file.is_held == rooted_path.HAS_FOLDER_DESCRIPTORS
        assert not file.status()
    if file.is_held:
        (root / "sub" / "new").rename(root / "moved")
        (root / "sub" / "new").symlink_to(root.parent / "elsewhere")
    file.open(NEW_FILE).close()
    assert (root / ("moved" if file.is_held else "sub/new") / "file").exists()


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("to", ["elsewhere/folder", "root/sub"])
def test_a_symlink_is_not_entered(root: Path, to: str) -> None:
    """Even if it stays below the root: another folder would get the files."""
    (root / "link").symlink_to(root.parent / to)
    with pytest.raises(StoreError, match="Cannot make the folder"):
        RootedPath(root, "link").entered()


@pytest.mark.usefixtures("way")
def test_a_folder_that_is_not_there_can_be_made_to_be_held(root: Path) -> None:
    """With those above it; or it is an error, and none that hides what is wrong."""
    path = RootedPath(root, "a/b/file")
    if rooted_path.HAS_FOLDER_DESCRIPTORS:
        with pytest.raises(StoreError, match="No such file"):
            path.held()
    path.held(makes=True).open(NEW_FILE).close()
    assert (root / "a" / "b" / "file").exists()
    (root / "out").symlink_to(root.parent / "elsewhere")
    with pytest.raises(StoreError, match="leads out of"):
        RootedPath(root, "out/file").held(makes=True)


@needs_descriptors
@pytest.mark.parametrize("number", [0, errno.EIO], ids=["well", "with an error"])
def test_one_sync_does_for_all_who_wait_for_it(
    root: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Not for who asks while one is under way: its rename may have come too late for that one."""
    entered, go_on, synced = threading.Event(), threading.Event(), list[int]()
    failed = list[str]()

    def slow(descriptor: int) -> None:
        synced.append(descriptor)
        if len(synced) == 1:
            entered.set()
            assert go_on.wait(10)
        elif number:
            raise OSError(number, os.strerror(number))

    def sync(path: RootedPath) -> None:
        try:
            path.parent.sync_folder()
        except StoreError as error:
            failed.append(str(error))

    monkeypatch.setattr(os, "fsync", slow)
    with RootedPath(root, "sub/file").held() as path, ThreadPoolExecutor(9) as pool:
        first = pool.submit(sync, path)
        assert entered.wait(10)
        folder = path._folder
        assert folder is not None
        others = [pool.submit(sync, path) for _ in range(8)]
        while repr(folder._asked) != "count(11)":  # two for the first one
            assert not any(each.done() for each in others)
            time.sleep(0.001)
        go_on.set()
        wait([first, *others])
    assert len(synced) == 2
    assert len(failed) == 8 * bool(number)
