"""F7: what stands in the way, what the disk refuses, and a run that is stopped."""

import errno
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from downloader.archive.unpack import unpack, what_came
from downloader.errors import BadArchive, Interrupted, StoreError
from downloader.fs import open_file
from downloader.fs.rooted_path import RootedPath
from tests.archive.building import END, Looker, gz, header, member, pax, tar_of, tree, zst

FILES = {"a": b"A" * 3000, "d/b": random.Random(9).randbytes(3_000_000), "empty": b""}
PACKED = zst(tar_of(FILES))
CONFIG = "adapter_config.json"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Give an archive as it should be."""
    path = tmp_path / "in.tar.zst"
    path.write_bytes(PACKED)
    return path


@pytest.mark.parametrize("make", [Path.mkdir, Path.touch, lambda path: path.symlink_to("gone")])
def test_what_stands_at_the_folder_is_left_alone(
    tmp_path: Path, archive: Path, make: Callable[[Path], None]
) -> None:
    """A folder, file or link of that name is an error, and stays as it is."""
    make(tmp_path / "out")
    before = tree(tmp_path)

    with pytest.raises(StoreError, match="Cannot make the folder"):
        unpack(archive, RootedPath.of(tmp_path / "out"), Looker())
    assert tree(tmp_path) == before


def test_a_file_put_into_the_folder_meanwhile_is_not_written_to(
    tmp_path: Path, archive: Path
) -> None:
    """A link that somebody makes under a member's name is never followed."""
    (tmp_path / "canary").write_bytes(b"untouched")

    class Intruder(Looker):
        def check_stop(self) -> None:
            out = tmp_path / "out"
            if not (out / "a").is_symlink():
                (out / "a").symlink_to(tmp_path / "canary")

    with pytest.raises(StoreError, match=r"Cannot write .*File exists"):
        unpack(archive, RootedPath.of(tmp_path / "out"), Intruder())
    assert (tmp_path / "canary").read_bytes() == b"untouched"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("stop_after", [0, 1, 5, 10, 30])
def test_a_stopped_run_leaves_nothing(tmp_path: Path, archive: Path, stop_after: int) -> None:
    """Wherever the watch says stop: its own error comes through, and the folder is gone."""
    with pytest.raises(Interrupted):
        unpack(archive, RootedPath.of(tmp_path / "out"), Looker(stop_after))
    assert list(tmp_path.iterdir()) == [archive]


def test_a_stop_while_syncing_leaves_nothing(tmp_path: Path, archive: Path) -> None:
    """Up to the last file the run can be stopped."""
    looker = Looker()
    unpack(archive, RootedPath.of(tmp_path / "first"), looker)

    with pytest.raises(Interrupted):
        unpack(archive, RootedPath.of(tmp_path / "out"), Looker(looker.asked - 1))
    assert not (tmp_path / "out").exists()


def test_the_watch_is_asked_for_every_mebibyte(tmp_path: Path, archive: Path) -> None:
    """It need not wait long for a stop, nor to be told how far it is."""
    looker = Looker()
    unpack(archive, RootedPath.of(tmp_path / "out"), looker)
    assert max(looker.moved_bytes) <= 1 << 20
    assert looker.asked >= 3
    assert sum(looker.moved_bytes) == 3_003_000


@pytest.mark.parametrize("call", ["open", "fsync", "replace"])
def test_a_disk_that_refuses_leaves_nothing(
    tmp_path: Path, archive: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """At whatever step the disk is full, it is a StoreError, and the folder is gone."""
    archive.write_bytes(zst(tar_of({"m/a": b"A"})))
    spared = os.open if call == "open" else None

    def refuse(path: Any, *rest: Any, **named: Any) -> Any:
        if spared and not (path == "a" and "dir_fd" in named):
            return spared(path, *rest, **named)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, refuse)
    with pytest.raises(StoreError, match="No space left"):
        unpack(archive, RootedPath.of(tmp_path / "out"), Looker())
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == [archive]


def test_a_write_that_fails_names_the_file(
    tmp_path: Path, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message says which file there was no room for, and what to do."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(open_file, "_pwrite", refuse)
    with pytest.raises(StoreError, match=r"Cannot write .*out/a: No space left") as caught:
        unpack(archive, RootedPath.of(tmp_path / "out"), Looker())
    assert "Free some space" in caught.value.hint
    assert not (tmp_path / "out").exists()


def test_a_path_that_the_disk_finds_too_long_is_told_in_short(tmp_path: Path) -> None:
    """The message is one short line of ASCII, whatever the name; the folder is gone."""
    name = "/".join(["\u0100" * 120] * 17)  # 4,096 bytes, and the folder comes before it
    (tmp_path / "x").write_bytes(zst(pax(path=name) + member(b"x") + END))

    with pytest.raises(StoreError, match=r"out/\\u0100\\u0100") as caught:
        unpack(tmp_path / "x", RootedPath.of(tmp_path / "out"), Looker())
    assert len(str(caught.value)) < len(str(tmp_path)) + 300
    assert not (tmp_path / "out").exists()


def test_an_archive_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """It is a StoreError with its path, not one about the folder."""
    with pytest.raises(StoreError, match=r"Cannot read .*gone\.tar\.zst: No such file"):
        unpack(tmp_path / "gone.tar.zst", RootedPath.of(tmp_path / "out"), Looker())
    with pytest.raises(StoreError, match="Cannot read"):
        what_came(tmp_path / "gone.tar.zst", Looker())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="Windows does not sync folders")
def test_every_file_and_folder_is_synced_under_its_last_name(
    tmp_path: Path, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the whole archive was read, and after the top-level folder was left out."""
    archive.write_bytes(zst(tar_of({"m/d/a": b"A", "m/b": b"B", "m/e/": b""})))
    synced = set()
    sync = os.fsync

    def note(descriptor: int) -> None:
        synced.add(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    out = tmp_path / "out"
    unpack(archive, RootedPath.of(out), Looker())
    assert synced == {str(path) for path in (out, *out.rglob("*"))}


def test_nothing_is_synced_of_what_is_refused(
    tmp_path: Path, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bomb of many files costs no wait for the disk."""
    archive.write_bytes(PACKED[:-1])
    monkeypatch.setattr(os, "fsync", lambda _: pytest.fail("synced too early"))
    with pytest.raises(BadArchive):
        unpack(archive, RootedPath.of(tmp_path / "out"), Looker())


@pytest.mark.parametrize("pack", [zst, gz])
@pytest.mark.parametrize(
    ("names", "kind"),
    [
        ([CONFIG, "adapter_model.safetensors"], "adapter"),
        (["ft/adapter_model.safetensors", f"ft/{CONFIG}"], "adapter"),
        ([f"ft/checkpoint-10/{CONFIG}", "ft/config.json"], "model"),
        (["config.json", "model.safetensors"], "model"),
        ([f"{CONFIG}/x"], "model"),
        ([f"{CONFIG}/", "config.json"], "model"),
        ([f"my_{CONFIG}", "Adapter_config.json"], "model"),
    ],
)
def test_an_adapter_is_told_by_its_configuration(
    tmp_path: Path, pack: Callable[[bytes], bytes], names: list[str], kind: str
) -> None:
    """adapter_config.json, at the top or one folder down, means an adapter; else a model."""
    (tmp_path / "x").write_bytes(
        pack(tar_of({name: b"x" * 2000 * (name[-1] != "/") for name in names}))
    )
    before = tree(tmp_path)

    assert what_came(tmp_path / "x", Looker()) == kind
    assert tree(tmp_path) == before


def test_no_more_is_read_than_tells(tmp_path: Path) -> None:
    """What follows adapter_config.json is not looked at; a model is read to its end."""
    config = member(CONFIG.encode(), b"{}")
    path = tmp_path / "x"
    path.write_bytes(gz(config + b"\x01" * 512 + END))
    assert what_came(path, Looker()) == "adapter"
    for before in (header(b"l", kind=b"2"), b"\x01" * 512, b""):
        path.write_bytes(gz(before + config[: 512 * (before != b"")] + member(b"y")))
        with pytest.raises(BadArchive):
            what_came(path, Looker())
    with pytest.raises(Interrupted):
        what_came(path, Looker(0))
