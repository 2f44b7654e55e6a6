"""Which files of a folder are read, and which are taken for what."""

import hashlib
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from downloader.artifact import Artifact
from downloader.errors import Interrupted, StoreError
from downloader.operations import adopt
from downloader.operations.adopt import SHARED_FROM_BYTES, Search, files_at, is_cached
from downloader.targets.shared import FoundFile
from tests.projects import sha256
from tests.servers.hub.server import git_sha1

BYTES = b"weights"


def artifact(content: bytes = BYTES, *, path: str = "a.bin", size: bool = True) -> Artifact:
    return Artifact(path=path, size=len(content) if size else None, sha256=sha256(content))


def search(*wanted: Artifact, tell: Callable[[str], None] = print) -> Search:
    return Search(wanted, lambda: None, tell)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note the names of the files that a search opens."""
    names: list[str] = []
    real = os.open

    def noting(path: Path, *rest: int) -> int:
        names.append(Path(path).name)
        return real(path, *rest)

    monkeypatch.setattr(os, "open", noting)
    return names


def test_only_files_of_a_wanted_size_are_opened(tmp_path: Path, opened: list[str]) -> None:
    """The name does not matter, and neither does what else there is."""
    (tmp_path / "any").write_bytes(BYTES)
    (tmp_path / "a.bin").write_bytes(BYTES + b"!")

    assert search(artifact()).look(tmp_path)[sha256(BYTES)].path.name == "any"
    assert opened == ["any"]


def test_without_a_size_the_name_or_the_digest_decides(tmp_path: Path, opened: list[str]) -> None:
    """Files of the same name, or named by their digest as caches do, are opened."""
    for name in ("a.bin", "any", sha256(b"b")):
        (tmp_path / name).write_bytes(BYTES if name != sha256(b"b") else b"b")

    found = search(artifact(size=False), artifact(b"b", path="b", size=False)).look(tmp_path)

    assert found.keys() == {sha256(BYTES), sha256(b"b")}
    assert sorted(opened) == sorted(["a.bin", sha256(b"b")])


def test_a_file_of_many_names_is_read_once(tmp_path: Path, opened: list[str]) -> None:
    """Hard links and symlinks to one file are one file; a link's own name counts."""
    (tmp_path / "z").mkdir()
    (tmp_path / "z" / "etag").write_bytes(BYTES)
    (tmp_path / "again").hardlink_to(tmp_path / "z" / "etag")
    (tmp_path / "a.bin").symlink_to("z/etag")

    found = search(artifact(size=False)).look(tmp_path)

    assert not found[sha256(BYTES)].path.is_symlink()
    assert len(opened) == 1


def test_one_that_is_found_ends_the_search(
    tmp_path: Path, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of files of one size the one that a cache names by its digest is read first, and last."""
    monkeypatch.setattr(adopt, "cores", lambda: 1)
    for name in ("0", sha256(BYTES), "z"):
        (tmp_path / name).write_bytes(BYTES)

    search(artifact()).look(tmp_path)

    assert opened == [sha256(BYTES)]


def test_wrong_bytes_under_the_digest_are_not_believed(tmp_path: Path) -> None:
    """A blob is read, whatever it is called."""
    (tmp_path / sha256(BYTES)).write_bytes(b"WEIGHTS")

    assert search(artifact()).look(tmp_path) == {}


def test_gits_id_will_do_where_the_lock_has_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened: list[str]
) -> None:
    """A file in a cache that has it as its name is read first."""
    monkeypatch.setattr(adopt, "cores", lambda: 1)
    wanted = git_sha1(BYTES)
    for name in ("0", wanted, "z"):
        (tmp_path / name).write_bytes(BYTES)

    found = search(Artifact(path="a", size=len(BYTES), git_sha1=wanted)).look(tmp_path)

    assert found[f"git-sha1:{wanted}"].sha256 == sha256(BYTES)
    assert opened == [wanted]
    other = Artifact(path="a", size=len(BYTES), git_sha1=git_sha1(b"WEIGHTS"))
    assert search(other).look(tmp_path) == {}


def test_md5_will_do_where_the_lock_has_no_more(tmp_path: Path) -> None:
    """With the size it tells the file; the SHA-256 is told with it."""
    (tmp_path / "any").write_bytes(BYTES)
    md5 = hashlib.md5(BYTES).hexdigest()

    found = search(Artifact(path="a", size=len(BYTES), md5=md5)).look(tmp_path)

    assert found[f"md5:{md5}"].sha256 == sha256(BYTES)
    assert search(Artifact(path="a", md5=md5)).look(tmp_path) == {}


def test_a_file_that_changes_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not taken, and that is told."""
    (tmp_path / "any").write_bytes(BYTES)
    told: list[str] = []

    def writing(*rest: object) -> int:
        os.utime(tmp_path / "any", (1, 1))
        return len(BYTES)

    monkeypatch.setattr(adopt, "feed_all", writing)

    assert search(artifact(), tell=told.append).look(tmp_path) == {}
    assert "was changed while it was read" in told[-1]


def test_a_file_that_changes_before_it_is_linked(tmp_path: Path) -> None:
    """What was read must still be there in the end."""
    (tmp_path / "any").write_bytes(BYTES)
    (found,) = search(artifact()).look(tmp_path).values()
    found.check()
    os.utime(tmp_path / "any", (1, 1))
    with pytest.raises(StoreError, match="changed"):
        found.check()
    (tmp_path / "any").unlink()
    with pytest.raises(StoreError, match="changed"):
        found.check()


def test_a_stopped_run_reads_no_further(tmp_path: Path) -> None:
    """The watch ends it."""
    (tmp_path / "any").write_bytes(BYTES)

    def stop() -> None:
        raise Interrupted("Stopped.")

    with pytest.raises(Interrupted):
        Search([artifact()], stop, print).look(tmp_path)


def test_what_cannot_be_opened_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line, and the others are read."""
    (tmp_path / "any").write_bytes(BYTES)
    (tmp_path / "other").write_bytes(BYTES)
    told: list[str] = []
    real = os.open

    def refusing(path: Path, *rest: int) -> int:
        if Path(path).name == "any":
            raise PermissionError(13, "Permission denied")
        return real(path, *rest)

    monkeypatch.setattr(os, "open", refusing)

    assert search(artifact(), tell=told.append).look(tmp_path)[sha256(BYTES)].path.name == "other"
    assert any("any: Permission denied" in line for line in told)


@pytest.mark.skipif(sys.platform == "win32", reason="no FIFOs, and links want a privilege")
def test_the_walk_gives_regular_files_only(tmp_path: Path) -> None:
    """No FIFO, no dangling or endless link, no folder behind a link, nothing of our own."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "to-pipe").symlink_to("pipe")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "up").symlink_to(".")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / ".modelmake").mkdir()
    (tmp_path / ".modelmake" / "partial").touch()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")

    assert sorted(path.name for path, _ in files_at(tmp_path, print)) == ["file", "link"]
    assert [path for path, _ in files_at(tmp_path / "file", print)] == [tmp_path / "file"]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("hub/models--a--b/blobs/etag", True),
        ("hub/blobs/ab/abcd", True),
        ("hub/models--a--b/snapshots/c/w", False),
        ("mine/blobs/w", False),
        ("store/sha256/ab/abcd", True),
        ("other/sha256/ab/abcd", False),
    ],
)
def test_a_cache_is_known_by_its_layout(tmp_path: Path, path: str, *, expected: bool) -> None:
    """Blobs of Hugging Face, and of a store with its format beside them; small ones never."""
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "format").touch()
    file = tmp_path / path
    file.parent.mkdir(parents=True)
    file.touch()
    os.truncate(file, SHARED_FROM_BYTES)
    assert is_cached(file, file.stat()) is expected
    os.truncate(file, SHARED_FROM_BYTES - 1)
    assert is_cached(file, file.stat()) is False


def test_found_says_nothing_of_sharing_by_itself(tmp_path: Path) -> None:
    """A file of the user's may not become a target's other name."""
    (tmp_path / "any").write_bytes(BYTES)
    (found,) = search(artifact()).look(tmp_path).values()

    assert isinstance(found, FoundFile)
    assert not found.may_share
