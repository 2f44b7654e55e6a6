"""A disk that refuses, at any call (rows D1, D2): one clear error, and a later run that goes on."""

import errno
import itertools
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from downloader.errors import StoreError
from downloader.fs.rooted_path import close_idle_folders
from downloader.network.ranges import total
from downloader.transfer import _journal
from tests.transfer.child import command
from tests.transfer.desk import BODY, PATH, Desk, pinned

MIB = 1 << 20
LARGE = BODY * 12
"""Long enough for three checkpoints."""
NUMBERS = ("ENOSPC", "EDQUOT", "EROFS", "EIO", "EACCES", "EPERM", "ENAMETOOLONG", "EMFILE")

Inject = Callable[..., list[object]]


@pytest.fixture
def inject(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Inject:
    """Give a function that makes one of os fail, some times.

    `on` is how the path, or the open file's path, ends; what is outside the test's folder works.
    """
    desk.server.put(PATH, LARGE)
    desk.settings = structs.replace(desk.settings, connections=1)

    def inject(name: str, number: str, on: str = "", times: int = 1) -> list[object]:
        hit: list[object] = []
        call = getattr(os, name)

        def refuse(where: Any, *args: Any, **named: Any) -> Any:
            path = _path_of(where, named.get("dir_fd", named.get("src_dir_fd")))
            if len(hit) < times and str(desk.folder) in path and path.endswith(on):
                hit.append(where)
                code = getattr(errno, number)
                if name == "close":  # Linux closes it all the same
                    call(where)
                raise OSError(code, os.strerror(code))
            return call(where, *args, **named)

        monkeypatch.setattr(os, name, refuse)
        if name == "pwrite":
            monkeypatch.setattr("downloader.fs.open_file._pwrite", refuse)
        return hit

    return inject


def _path_of(where: object, folder: int | None) -> str:
    """Return the path of an open file, or of a name in an open folder."""
    if isinstance(where, int):
        return str(Path(f"/proc/self/fd/{where}").readlink())
    return str(where) if folder is None else f"{_path_of(folder, None)}/{where}"


CALLS = {
    "make the folder": ("mkdir", "partials"),
    "open the partial": ("open", ".part"),
    "empty the partial": ("ftruncate", ".part"),
    "write the partial": ("pwrite", ".part"),
    "sync at a checkpoint": ("fdatasync", ".part"),
    "sync the whole": ("fsync", ".part"),
    "open the target's folder": ("open", "/out"),
    "rename": ("replace", ".part"),
    "sync the target's folder": ("fsync", "/out"),
    "remove the journal": ("unlink", ".journal"),
    "close": ("close", "/out/model.bin"),
}


PASSED_OVER = {("sync the target's folder", "EACCES"), ("sync the target's folder", "EPERM")}
"""File systems without it say so: the file itself is synced."""


@pytest.mark.parametrize(
    ("call", "number"), sorted({*itertools.product(CALLS, NUMBERS)} - PASSED_OVER)
)
def test_a_refusal_is_one_clear_error(desk: Desk, inject: Inject, call: str, number: str) -> None:
    """Whatever call fails, and why: a StoreError of at most three lines, and no second try."""
    name, on = CALLS[call]
    desk.target.parent.mkdir()
    if name == "ftruncate":  # a fresh one need not be emptied
        job = desk.job(pinned(LARGE))
        job.partial.parent.path.mkdir(parents=True)
        job.partial.path.write_bytes(b"of no journal")
    hit = inject(name, number, on)
    with pytest.raises(StoreError) as caught:
        desk.run(desk.job(pinned(LARGE)))
    said = caught.value.report()
    assert hit
    assert os.strerror(getattr(errno, number)) in said
    assert str(desk.folder) in said
    assert caught.value.hint
    assert len(said.splitlines()) <= 3
    assert len(desk.seen) <= 1
    desk.fetch(pinned(LARGE))
    assert desk.partials == []


@pytest.mark.parametrize("number", ["ENOSPC", "EIO"])
@pytest.mark.parametrize("act", ["open", "write"])
def test_a_journal_that_cannot_be_written(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, number: str, act: str
) -> None:
    """It is named, and the next run goes on from the line before."""
    desk.server.put(PATH, LARGE)
    open_, write, code = os.open, os.write, getattr(errno, number)
    torn = set[int]()

    def opens(name: str, flags: int, *rest: Any, **named: Any) -> int:
        is_struck = str(name).endswith(".journal") and flags & os.O_APPEND
        if is_struck and act == "open":
            raise OSError(code, os.strerror(code))
        found = open_(name, flags, *rest, **named)
        torn.update([found] if is_struck else [])
        return found

    def writes(descriptor: int, data: memoryview) -> int:
        if descriptor not in torn:
            return write(descriptor, data)
        write(descriptor, data[: len(data) // 2])
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as faulty:
        faulty.setattr(os, "open", opens)
        faulty.setattr(os, "write", writes)
        with pytest.raises(StoreError, match=r"Cannot write .*\.journal"):
            desk.run(desk.job(pinned(LARGE)))
    assert MIB <= vouched(desk) < len(LARGE)
    desk.fetch(pinned(LARGE))
    assert desk.asked[1] is not None


def vouched(desk: Desk) -> int:
    found = _journal.load(desk.partial.with_suffix(".journal").read_bytes())
    assert found is not None
    return total(found[1])


def test_a_full_disk_is_told_with_figures(desk: Desk, inject: Inject) -> None:
    """What is missing of the file, and what is free on the disk."""
    inject("pwrite", "ENOSPC", ".part")
    with pytest.raises(StoreError, match="No space left on device") as caught:
        desk.run(desk.job(pinned(LARGE)))
    assert "It still needs 3.6 MB. " in caught.value.hint
    assert "B free." in caught.value.hint


def test_a_sync_that_failed_is_not_tried_again(desk: Desk, inject: Inject) -> None:
    """Linux says that all is well the second time: what came since the last checkpoint is lost."""
    synced = inject("fdatasync", "EIO", ".part", times=1)
    with pytest.raises(StoreError, match="Input/output error"):
        desk.run(desk.job(pinned(LARGE)))
    assert len(synced) == 1
    assert not desk.partial.with_suffix(".journal").exists()
    desk.fetch(pinned(LARGE))
    assert desk.asked == [None, None]


def test_a_last_sync_that_failed_vouches_for_nothing_new(desk: Desk, inject: Inject) -> None:
    """After EIO at the end only the checkpoints before it count, and nothing was placed."""
    inject("fsync", "EIO", ".part")
    with pytest.raises(StoreError, match="Input/output error"):
        desk.run(desk.job(pinned(LARGE)))
    assert not desk.target.exists()
    assert 3 * MIB <= vouched(desk) < len(LARGE)
    desk.fetch(pinned(LARGE))
    assert desk.asked[1] is not None


def test_a_partial_that_cannot_be_read_back(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bad sector under what an earlier run left is told, and not a traceback."""
    desk.leave_partial(100_000)

    preadv = os.preadv

    def refuse(descriptor: int, *rest: Any) -> int:
        if _path_of(descriptor, None).endswith(".part"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return preadv(descriptor, *rest)

    with monkeypatch.context() as faulty:
        faulty.setattr("downloader.fs.open_file._preadv", refuse)
        with pytest.raises(StoreError, match=r"Cannot read .*\.part: Input/output error"):
            desk.run(desk.job())
    desk.fetch()


def test_a_disk_that_takes_no_byte_and_says_nothing(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write of no bytes is an error, not a loop."""
    monkeypatch.setattr("downloader.fs.open_file._pwrite", lambda *_: 0)
    with pytest.raises(StoreError, match="Cannot write"):
        desk.run(desk.job())


def fetch_in_child(desk: Desk, code: str) -> "subprocess.CompletedProcess[str]":
    """Run a fetch in a process of its own, after some code that binds it."""
    arguments = command(desk.job(pinned(LARGE, sized=False)))[-1]
    imports = "import json\nfrom tests.transfer.child import main"
    script = f"{imports}\n{code}\nmain(json.loads({arguments!r}))"
    return subprocess.run(
        [sys.executable, "-c", script], check=False, capture_output=True, text=True
    )


def test_a_limit_on_the_size_of_files_is_told(desk: Desk) -> None:
    """A real refusal by the system (RLIMIT_FSIZE); with the limit gone it goes on."""
    desk.server.put(PATH, LARGE)
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({2 * MIB}, {2 * MIB}))"
    child = fetch_in_child(desk, limit)
    assert child.returncode == 1
    last = child.stderr.splitlines()[-1]
    assert "StoreError: Cannot write" in last
    assert "File too large" in last
    assert vouched(desk) >= MIB
    desk.fetch(pinned(LARGE))
    assert desk.asked[1] is not None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
def test_a_disk_that_is_really_full(desk: Desk) -> None:
    """A disk of 2 MiB: refused at once with the figures, or, told to try, by the disk itself."""
    desk.server.put(PATH, LARGE)
    desk.workspace.mkdir()
    options = ["-t", "tmpfs", "-o", "size=2m", "none", str(desk.workspace)]
    if subprocess.run(["mount", *options], check=False, capture_output=True).returncode:
        pytest.skip("mounting is forbidden here")
    try:
        error = desk.refuses(StoreError, pinned(LARGE))
        assert "Not enough room" in str(error)
        assert desk.seen == []
        desk.settings = structs.replace(desk.settings, is_preflight=False)
        error = desk.refuses(StoreError, pinned(LARGE))
        assert "No space left on device" in str(error)
        assert "still needs" in error.hint
        assert vouched(desk) >= MIB
        subprocess.run(["mount", "-o", "remount,size=8m", str(desk.workspace)], check=True)
        desk.fetch(pinned(LARGE))  # from one file system to another, too
        assert desk.asked[1] is not None
    finally:
        close_idle_folders()
        subprocess.run(["umount", str(desk.workspace)], check=True)
