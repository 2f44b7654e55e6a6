"""What a system call answers, by operation: what may be passed over, and what is an error."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from downloader.errors import StoreError
from downloader.fs import link as linking
from downloader.fs import locks
from downloader.fs.files import write_file
from downloader.fs.link import WAYS, link
from downloader.fs.locks import LockWait, is_held, open_locked
from downloader.fs.rooted_path import RootedPath
from tests.transfer.desk import Desk, sha256

OPTIONAL = ["EINVAL", "ENOSYS", "ENOTSUP", "EOPNOTSUPP", "EBADF", "EACCES", "EPERM"]
"""What file systems answer that lack a call."""
BROKEN = ["EIO", "ENOSPC", "EDQUOT", "ESTALE"]


def fails(number: int) -> Callable[..., None]:
    """Return a system call that fails."""

    def call(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return call


def break_fsync(monkeypatch: pytest.MonkeyPatch, number: int, *, of_folders: bool) -> None:
    """Let fsync fail for folders alone, or for files alone."""
    sync = os.fsync

    def call(descriptor: int) -> None:
        is_folder = os.path.isdir(f"/proc/self/fd/{descriptor}")  # noqa: PTH112
        if is_folder == of_folders:
            fails(number)()
        sync(descriptor)

    monkeypatch.setattr("os.fsync", call)


OPTIONAL_ACTS: dict[str, tuple[str, str, Callable[[RootedPath], object]]] = {
    "sync a folder": ("fsync", "sync", lambda path: path.parent.sync_folder()),
    "protect": ("chmod", "change", lambda path: path.protect(0o400)),
    "mark changed": ("utime", "change", RootedPath.mark_changed),
}
"""By operation: the call, the word of its error, and how it is done."""
NEEDED_ACTS: dict[str, tuple[str, str, Callable[[RootedPath], object]]] = {
    "sync a file": ("fsync", "write", lambda path: path.open(os.O_RDWR).sync()),
    "list": ("listdir", "list", lambda path: path.parent.names()),
    "remove a tree": ("rmdir", "remove", lambda path: path.parent.remove_tree(ignore_errors=False)),
}


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RootedPath:
    """Give a file in a folder below a root, by a call that takes descriptors as the real one."""
    path = RootedPath(tmp_path, "folder/file")
    write_file(path, b"content")
    for name in ("chmod", "utime"):
        monkeypatch.setattr(os, "supports_fd", {*os.supports_fd, getattr(os, name)})
    return path


@pytest.mark.parametrize("name", OPTIONAL)
@pytest.mark.parametrize("act", OPTIONAL_ACTS)
def test_what_a_file_system_lacks_is_passed_over(
    file: RootedPath, monkeypatch: pytest.MonkeyPatch, act: str, name: str
) -> None:
    """A folder that cannot be synced, permissions and times that cannot be set, end no run."""
    called, _, do = OPTIONAL_ACTS[act]
    monkeypatch.setattr(os, called, fails(getattr(errno, name)))
    do(file)


@pytest.mark.parametrize(
    ("act", "name"),
    [(act, name) for act in OPTIONAL_ACTS for name in BROKEN]
    + [(act, name) for act in NEEDED_ACTS for name in (*BROKEN, *OPTIONAL)],
)
def test_what_a_disk_refuses_is_an_error(
    file: RootedPath, monkeypatch: pytest.MonkeyPatch, act: str, name: str
) -> None:
    """It names the file, the act and the reason; what is left of a tree is not passed over."""
    called, word, do = {**OPTIONAL_ACTS, **NEEDED_ACTS}[act]
    number = getattr(errno, name)
    monkeypatch.setattr(os, called, fails(number))
    with pytest.raises(StoreError, match=rf"Cannot {word} .*: {os.strerror(number)}") as caught:
        do(file)
    assert caught.value.errno == number


def test_a_tree_may_be_left_where_its_remains_do_no_harm(
    file: RootedPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless asked for, what cannot be removed stays; a folder that is not there has no names."""
    monkeypatch.setattr(os, "rmdir", fails(errno.EIO))
    file.parent.remove_tree()
    assert file.parent.names() == []
    assert (file.parent / "gone").names() == []


@pytest.mark.parametrize("name", OPTIONAL)
def test_a_file_is_fetched_where_folders_cannot_be_synced(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The whole way of a file, as on SMB, FUSE or 9p: it is in place, and nothing is kept back."""
    break_fsync(monkeypatch, getattr(errno, name), of_folders=True)
    desk.fetch()
    assert desk.partials == []


@pytest.mark.parametrize("name", [*OPTIONAL, "EIO"])
def test_data_that_cannot_be_synced_is_not_believed(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A failed fsync of the file itself counts: the old target still stands after it."""
    break_fsync(monkeypatch, getattr(errno, name), of_folders=False)
    assert desk.refuses(StoreError).errno == getattr(errno, name)


@pytest.mark.parametrize("name", [*OPTIONAL, "EXDEV", "EMLINK", "ENOTTY"])
def test_where_links_cannot_be_made_it_is_a_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Neither reflinks nor hard links: the next way is tried, whatever the refusal is called."""
    source, new = tmp_path / "source", RootedPath(tmp_path, "new")
    source.write_bytes(b"content")
    monkeypatch.setattr(linking, "_no_reflinks", set())
    monkeypatch.setattr(linking, "_clone", fails(getattr(errno, name)))
    monkeypatch.setattr(os, "link", fails(getattr(errno, name)))
    assert link(source, new, WAYS["auto"], sha256(b"content")) == "copy"
    assert new.read_bytes() == b"content"


@pytest.mark.parametrize("name", [*OPTIONAL, "ENOLCK", "EIO"])
def test_a_lock_that_fails_keeps_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Only the system's own word for a lock that is held is waited for; FUSE may say EACCES."""
    path = RootedPath(tmp_path, "m.part")
    monkeypatch.setattr("fcntl.flock", fails(getattr(errno, name)))
    monkeypatch.setattr(locks, "FIRST_DELAY_SECONDS", 3600.0)
    with open_locked(path, LockWait()) as file:
        assert file.path != path
    assert not is_held(path)
