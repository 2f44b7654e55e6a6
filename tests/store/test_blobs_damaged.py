"""Blobs that are not what they were, or not where they seem to be: never linked unread."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from downloader.errors import StoreError
from downloader.fs.rooted_path import RootedPath
from downloader.store.blobs import Damaged, Store
from tests.store.blobs import (
    CONTENT,
    DAMAGE,
    DIGEST,
    WRONG,
    blob_in,
    changed,
    changed_unseen,
    hashing,
    kept,
    symlinked,
)


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda each: each.__name__)
def test_a_blob_with_other_bytes_is_set_aside(
    root: Path, file: Path, damage: Callable[[Path], None]
) -> None:
    """It is read before it is used, and is never used again."""
    blob = kept(root, file)
    damage(blob)

    with pytest.raises(Damaged, match=r"were set aside as .*quarantine"):
        Store(root).find(DIGEST)
    assert not os.path.lexists(blob)
    assert len(list((root / "quarantine").iterdir())) == 1
    assert Store(root).find(DIGEST) is None


def test_a_symlinks_own_target_is_left_alone(root: Path, file: Path) -> None:
    """Setting a symlink aside touches nothing behind it."""
    blob = kept(root, file)
    symlinked(blob)
    elsewhere = root.parent / "elsewhere"
    before = elsewhere.stat()
    with pytest.raises(Damaged):
        Store(root).find(DIGEST)

    assert elsewhere.stat().st_mtime_ns == before.st_mtime_ns
    assert elsewhere.read_bytes() == CONTENT


def test_targets_that_share_a_damaged_blob_look_changed(root: Path, file: Path) -> None:
    """Also where the time was put back: the next run of their projects reads them."""
    blob = kept(root, file)
    before = file.stat().st_mtime_ns
    changed_unseen(blob)
    assert file.stat().st_mtime_ns == before
    with pytest.raises(Damaged):
        Store(root).find(DIGEST)

    assert file.stat().st_mtime_ns != before


def test_a_blob_that_only_looks_changed_is_read_once(
    root: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link made or removed by somebody changes no byte."""
    kept(root, file)
    file.unlink()
    read = hashing(monkeypatch)

    for _ in range(3):
        assert Store(root).find(DIGEST) is not None
    assert len(read) == 1


def test_a_target_that_proved_wrong_has_its_own_blob_read(
    root: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where both are one file, however it looks; another file says nothing about the blob."""
    kept(root, file)
    read = hashing(monkeypatch)
    other = file.with_name("other")
    other.write_bytes(WRONG)

    assert Store(root).find(DIGEST, RootedPath.of(other)) is not None
    assert read == []
    assert Store(root).find(DIGEST, RootedPath.of(file)) is not None
    assert [str(each) for each in read] == [str(blob_in(root))]


def test_our_own_links_cost_no_reading(
    root: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link changes the change time, which is noted anew."""
    kept(root, file)
    found = Store(root).find(DIGEST)
    assert found is not None
    os.link(found.path, file.with_name("second"))
    Store(root).linked(found)
    read = hashing(monkeypatch)

    assert Store(root).find(DIGEST) is not None
    assert read == []


def test_no_note_vouches_for_what_was_written_meanwhile(root: Path, file: Path) -> None:
    """Between the look and the note after the link somebody wrote into the file."""
    kept(root, file)
    found = Store(root).find(DIGEST)
    assert found is not None
    changed(found.path.path)
    Store(root).linked(found)

    with pytest.raises(Damaged):
        Store(root).find(DIGEST)


def test_a_blob_that_is_pruned_while_it_is_read_is_not_there(
    root: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who asked fetches."""
    blob = kept(root, file)
    blob.chmod(0o600)

    def pruning(path: RootedPath) -> str:
        path.remove()
        return path.read_bytes().decode()

    monkeypatch.setattr("downloader.store.blobs.sha256_of", pruning)
    assert Store(root).find(DIGEST) is None


def test_somebody_else_may_set_it_aside_first(
    root: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two runs that find the same damage both go on."""
    blob = kept(root, file)
    changed(blob)

    def beaten(path: RootedPath) -> str:
        path.remove()
        return "0" * 64

    monkeypatch.setattr("downloader.store.blobs.sha256_of", beaten)
    assert Store(root).find(DIGEST) is None


@pytest.mark.parametrize(
    "name", ["sha256", "quarantine", "records", "growing", "projects", f"sha256/{DIGEST[:2]}"]
)
def test_no_symlink_in_a_store_is_followed(root: Path, file: Path, name: str) -> None:
    """Neither to find nor to keep; it is told, and what it leads to stays as it is."""
    kept(root, file)
    if not (root / name).exists():
        (root / name).mkdir()
    outside = root.with_name("outside")
    (root / name).rename(outside)
    (root / name).symlink_to(outside)
    before = outside.lstat().st_mtime_ns

    with pytest.raises(StoreError, match="is a symlink"):
        Store(root).find(DIGEST)
    with pytest.raises(StoreError, match="is a symlink"):
        Store(root).keep(RootedPath.of(file), DIGEST, "auto")
    assert outside.lstat().st_mtime_ns == before


def test_a_symlinked_folder_of_blobs_is_not_listed(root: Path, file: Path) -> None:
    """What lies behind it is no blob."""
    shard = kept(root, file).parent
    shard.rename(root.with_name("outside"))
    shard.symlink_to(root.with_name("outside"))

    assert list(Store(root).digests()) == []


def test_a_symlinked_store_is_one(root: Path, file: Path) -> None:
    """People put it on a larger disk so."""
    root.with_name("larger").mkdir()
    root.symlink_to("larger")
    kept(root, file)

    assert Store(root).find(DIGEST) is not None
    assert list(Store(root).digests()) == [DIGEST]


def test_strangers_are_no_blobs(root: Path, file: Path) -> None:
    """Files of other names or in other places, folders and symlinks are passed over."""
    blob = kept(root, file)
    for name in ("README", DIGEST.upper(), DIGEST + "0", "0" * 64):
        (blob.parent / name).touch()
    (blob.parent / (DIGEST[:2] + "0" * 62)).mkdir()
    (blob.parent / (DIGEST[:2] + "1" * 62)).symlink_to(blob)
    (root / "sha256" / "stray").touch()

    assert list(Store(root).digests()) == [DIGEST]
