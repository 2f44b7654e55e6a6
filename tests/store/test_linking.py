"""A second name for bytes: reflink, hard link or copy, whole or not at all."""

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from downloader.errors import StoreError
from downloader.fs import link as linking
from downloader.fs import open_file
from downloader.fs.link import WAYS, How, SourceUnreadable, link
from downloader.fs.rooted_path import RootedPath, close_idle_folders
from tests.projects import sha256
from tests.store.blobs import CONTENT, DIGEST, copied, refusing


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Give a file to link."""
    path = tmp_path / "source"
    path.write_bytes(CONTENT)
    return path


def others(folder: Path) -> list[str]:
    """Return what lies beside the source."""
    return sorted(each.name for each in folder.iterdir() if each.name != "source")


@pytest.mark.parametrize("how", ["auto", "reflink"])
def test_a_reflink_is_a_file_of_its_own(
    source: Path, monkeypatch: pytest.MonkeyPatch, how: How
) -> None:
    """Where the disk can, the blocks are shared and nothing else is."""
    monkeypatch.setattr(linking, "_clone", copied)
    new = source.with_name("new")

    assert link(source, RootedPath.of(new), WAYS[how], DIGEST) == "reflink"
    assert new.read_bytes() == CONTENT
    assert not new.samefile(source)
    assert others(source.parent) == ["new"]


@pytest.mark.parametrize(("how", "made"), [("auto", "hardlink"), ("reflink", "copy")])
def test_a_disk_without_reflinks_is_asked_once(
    source: Path, monkeypatch: pytest.MonkeyPatch, how: How, made: str
) -> None:
    """The next way is taken, for each further file at once."""
    asked = []

    def no_clone(source: int, new: int) -> None:
        asked.append(new)
        raise OSError(errno.EOPNOTSUPP, "no")

    monkeypatch.setattr(linking, "_clone", no_clone)

    for name in ("a", "b"):
        assert link(source, RootedPath.of(source.with_name(name)), WAYS[how], DIGEST) == made
    assert len(asked) == 1
    assert others(source.parent) == ["a", "b"]


def test_a_hard_link_is_the_same_file(source: Path) -> None:
    """It takes no room."""
    new = source.with_name("new")

    assert link(source, RootedPath.of(new), WAYS["hardlink"], DIGEST) == "hardlink"
    assert new.samefile(source)


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP])
def test_what_cannot_be_linked_is_copied(
    source: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Another disk, a rule against it, too many links, a disk without them."""
    monkeypatch.setattr(os, "link", refusing(number))
    new = source.with_name("new")

    assert link(source, RootedPath.of(new), WAYS["auto"], DIGEST) == "copy"
    assert new.read_bytes() == CONTENT
    assert not new.samefile(source)


def test_a_disk_that_refuses_for_good_is_not_asked_again(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault of the disk is told, and no other way is tried."""
    monkeypatch.setattr(os, "link", refusing(errno.EIO))

    with pytest.raises(StoreError, match="Input/output"):
        link(source, RootedPath.of(source.with_name("new")), WAYS["hardlink"], DIGEST)
    assert others(source.parent) == []


def test_a_copy_of_other_bytes_does_not_stay(source: Path) -> None:
    """It is read again, and compared with what the bytes should be."""
    with pytest.raises(SourceUnreadable, match="other bytes"):
        link(source, RootedPath.of(source.with_name("new")), WAYS["copy"], "0" * 64)
    assert others(source.parent) == []


def test_a_full_disk_leaves_nothing_of_a_copy(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was written before the disk was full is removed."""
    seen = []

    def full(descriptor: int, data: memoryview, offset: int) -> int:
        os.pwrite(descriptor, data[:100], offset)
        seen.extend(others(source.parent))
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(open_file, "_pwrite", full)

    with pytest.raises(StoreError, match="No space"):
        link(source, RootedPath.of(source.with_name("new")), WAYS["copy"], DIGEST)
    assert len(seen) == 1
    assert seen != ["new"], "a half is never seen under the name"
    assert others(source.parent) == []


@pytest.mark.parametrize("how", ["reflink", "hardlink", "copy"])
def test_a_source_that_is_gone_is_no_fault_of_the_place(source: Path, how: How) -> None:
    """It was pruned meanwhile: who asked fetches."""
    source.unlink()

    with pytest.raises(SourceUnreadable):
        link(source, RootedPath.of(source.with_name("new")), WAYS[how], DIGEST)
    assert others(source.parent) == []


def test_a_source_that_cannot_be_read_is_no_fault_of_the_place(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broken block of the store's disk is told as such."""
    monkeypatch.setattr(open_file, "_preadv", refusing(errno.EIO))

    with pytest.raises(SourceUnreadable, match=r"source cannot be used: Input/output"):
        link(source, RootedPath.of(source.with_name("new")), WAYS["copy"], DIGEST)
    assert others(source.parent) == []


@pytest.mark.parametrize("how", ["reflink", "copy"])
def test_a_symlink_is_not_followed(source: Path, how: How) -> None:
    """Where the source is swapped for a symlink, nothing comes of what it leads to."""
    source.rename(source.with_name("elsewhere"))
    source.symlink_to("elsewhere")

    with pytest.raises(SourceUnreadable):
        link(source, RootedPath.of(source.with_name("new")), WAYS[how], DIGEST)


def test_a_name_that_is_taken_stays_as_it_is(source: Path) -> None:
    """Who was quicker has it."""
    new = source.with_name("new")
    new.write_bytes(b"another")

    with pytest.raises(StoreError, match="File exists"):
        link(source, RootedPath.of(new), WAYS["hardlink"], DIGEST)
    assert new.read_bytes() == b"another"


@pytest.fixture(params=["btrfs", "xfs"])
def reflinking(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """Give a folder on a disk that has reflinks; who may not mount one skips."""
    maker = shutil.which(f"mkfs.{request.param}")
    if maker is None or os.geteuid():
        pytest.skip(f"needs root and mkfs.{request.param}")
    image, folder = tmp_path / "image", tmp_path / "disk"
    with image.open("wb") as file:
        file.truncate(320 << 20)
    subprocess.run([maker, "-q", str(image)], check=True, capture_output=True)
    folder.mkdir()
    mounting = ["mount", "-o", "loop", str(image), str(folder)]
    if subprocess.run(mounting, check=False, capture_output=True).returncode:
        pytest.skip(f"{request.param} may not be mounted here")
    yield folder
    close_idle_folders()
    subprocess.run(["umount", str(folder)], check=True)


def used_bytes(folder: Path) -> int:
    """Return how many bytes of a disk are taken."""
    os.sync()
    return shutil.disk_usage(folder).used


def test_a_true_reflink_takes_no_room(reflinking: Path) -> None:
    """On btrfs and XFS a second file of 32 MiB takes next to nothing, and keeps its bytes."""
    content = os.urandom(32 << 20)
    source, new = reflinking / "source", reflinking / "new"
    source.write_bytes(content)
    before = used_bytes(reflinking)

    assert link(source, RootedPath.of(new), WAYS["auto"], sha256(content)) == "reflink"
    assert used_bytes(reflinking) - before < 4 << 20
    source.write_bytes(b"changed")
    assert new.read_bytes() == content
