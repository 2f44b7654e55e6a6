"""Bytes that proved wrong, set aside."""

from pathlib import Path

from downloader.fs.commit import set_aside
from downloader.fs.files import Private
from downloader.fs.rooted_path import RootedPath
from tests.projects import sha256


def test_nothing_that_was_set_aside_is_overwritten(tmp_path: Path) -> None:
    """Each has a name with its digest, and a number where that is taken."""
    for content in ("one", "two"):
        (tmp_path / "a.part").write_text(content)
        told = set_aside(RootedPath.of(tmp_path / "a.part"), RootedPath.of(tmp_path), 3, "0" * 64)
    names = {each.name: each.read_text() for each in (tmp_path / "quarantine").iterdir()}
    assert names == {"a-000000000000": "one", "a-000000000000-2": "two"}
    assert told.startswith(f"Its 3 bytes, SHA-256 {'0' * 64}, were set aside as ")


def test_the_same_bytes_again_take_no_further_room(tmp_path: Path) -> None:
    """A server that keeps giving the same wrong bytes does not fill the disk."""
    for content in (b"one", b"two", b"one"):
        (tmp_path / "a.part").write_bytes(content)
        set_aside(RootedPath.of(tmp_path / "a.part"), RootedPath.of(tmp_path), 3, sha256(content))
    kept = sorted(each.read_bytes() for each in (tmp_path / Private.QUARANTINE).iterdir())
    assert kept == [b"one", b"two"]
