"""Blobs: taken in, found, doubted, set aside; and stores that are not what they should be."""

import errno
import os
import shutil
import stat
from pathlib import Path

import pytest

from downloader.errors import StoreError
from downloader.fs import link
from downloader.fs.link import How
from downloader.fs.rooted_path import RootedPath
from downloader.store.blobs import Store, store_at
from tests.projects import sha256
from tests.store.blobs import (
    CONTENT,
    DIGEST,
    blob_in,
    copied,
    hashing,
    kept,
    refusing,
)


def test_nothing_is_made_before_something_is_put_in(root: Path) -> None:
    """A look leaves no folder behind."""
    store = Store(root)

    assert store.find(DIGEST) is None
    assert not store.has(DIGEST)
    assert list(store.digests()) == []
    assert not root.exists()


def test_a_kept_file_is_found_without_reading(
    root: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By another process too; it is the same file, read-only."""
    blob = kept(root, file)
    read = hashing(monkeypatch)
    found = Store(root).find(DIGEST)

    assert found is not None
    assert found.path.path == blob
    assert blob.samefile(file)
    assert stat.S_IMODE(blob.stat().st_mode) == 0o444
    assert (Store(root).has(DIGEST), list(Store(root).digests()), read) == (True, [DIGEST], [])
    assert (root / "CACHEDIR.TAG").read_bytes().startswith(b"Signature: 8a477f597d28d172789f06")


@pytest.mark.parametrize("how", ["reflink", "copy"])
def test_a_file_that_is_not_shared_stays_writable(
    root: Path, file: Path, monkeypatch: pytest.MonkeyPatch, how: How
) -> None:
    """The blob is a read-only file of its own."""
    monkeypatch.setattr(link, "_clone", copied)
    blob = kept(root, file, how)

    assert not blob.samefile(file)
    assert stat.S_IMODE(blob.stat().st_mode) & 0o222 == 0
    assert stat.S_IMODE(file.stat().st_mode) & 0o200
    assert [each.name for each in blob.parent.iterdir()] == [DIGEST]


@pytest.mark.parametrize("how", ["auto", "hardlink"])
def test_no_copy_is_kept_that_nobody_asked_for(
    root: Path, file: Path, monkeypatch: pytest.MonkeyPatch, how: How
) -> None:
    """On a disk without hard links each file would lie there twice."""
    monkeypatch.setattr(os, "link", refusing(1))
    blob = kept(root, file, how)

    assert not blob.exists()
    assert stat.S_IMODE(file.stat().st_mode) & 0o200


def test_a_blob_that_is_there_stays_the_same(root: Path, file: Path) -> None:
    """Who comes second changes nothing, and the own file stays writable."""
    inode = kept(root, file).stat().st_ino
    other = file.with_name("other")
    other.write_bytes(CONTENT)

    assert kept(root, other).stat().st_ino == inode
    assert other.stat().st_mode & 0o200


def test_a_removed_blob_leaves_the_target(root: Path, file: Path) -> None:
    """And what is noted of it may go."""
    store = Store(root)
    store.keep(RootedPath.of(file), DIGEST, "auto")
    store.path(DIGEST).path.unlink()
    store.forget_all_but(set())

    assert file.read_bytes() == CONTENT
    assert store.find(DIGEST) is None


def test_a_store_that_is_removed_meanwhile_is_made_again(root: Path, file: Path) -> None:
    """Everything in it may be deleted at any time, also during a run."""
    store, other = Store(root), file.with_name("other")
    store.keep(RootedPath.of(file), DIGEST, "auto")
    shutil.rmtree(root)
    other.write_bytes(b"other")
    for path, digest in ((file, DIGEST), (other, sha256(b"other"))):
        store.keep(RootedPath.of(path), digest, "auto")
        assert blob_in(root, digest).samefile(path)
    assert (root / "format").exists()
    assert (root / "CACHEDIR.TAG").exists()


@pytest.mark.parametrize("link", ["sha256", f"sha256/{DIGEST[:2]}"])
@pytest.mark.parametrize("to", ["elsewhere", "store/other"])
def test_nothing_is_put_behind_a_symlink(root: Path, file: Path, link: str, to: str) -> None:
    """Whether it came before the store's first blob or after it, and wherever it leads."""
    store, other = Store(root), file.with_name("first")
    other.write_bytes(b"first")
    if "/" in link:
        store.keep(RootedPath.of(other), sha256(b"first"), "auto")
    (root / link).parent.mkdir(parents=True, exist_ok=True)
    (root.parent / to).mkdir()
    (root / link).symlink_to(root.parent / to)
    with pytest.raises(StoreError, match=f"{link} is a symlink|leads out of"):
        store.keep(RootedPath.of(file), DIGEST, "auto")
    assert list((root.parent / to).iterdir()) == []


def test_those_that_are_there_are_found_together(
    root: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a folder that is not there no file is looked for; one that cannot be listed may be."""
    near = DIGEST[:2] + "0" * 62
    far = f"{(int(DIGEST[:2], 16) + 1) % 256:02x}" + "0" * 62
    assert Store(root).among({DIGEST}) == set()
    kept(root, file)
    looked, isfile = list[str](), os.path.isfile

    def noting(path: RootedPath) -> bool:
        looked.append(path.name)
        return isfile(path)

    monkeypatch.setattr(os.path, "isfile", noting)
    assert Store(root).among({DIGEST, near, far}) == {DIGEST}
    assert sorted(looked) == sorted([DIGEST, near])
    monkeypatch.setattr(os, "listdir", refusing(errno.EACCES))
    assert Store(root).among({DIGEST, near, far}) == {DIGEST}


def test_a_store_of_a_newer_version_is_refused(root: Path, file: Path) -> None:
    """What is in it may mean something else."""
    kept(root, file)
    (root / "format").write_text("2\n")

    with pytest.raises(StoreError, match="newer modelmake"):
        Store(root)


def test_a_file_in_the_stores_place_is_refused(root: Path) -> None:
    """It is named."""
    root.write_text("mine")

    with pytest.raises(StoreError, match=f"{root.name}/format: Not a directory"):
        Store(root)
    assert root.read_text() == "mine"


@pytest.mark.parametrize("word", ["off", "OFF", " no ", "false", "0"])
def test_no_store_is_used_where_none_is_wanted(word: str) -> None:
    """MODELMAKE_STORE says so in several words."""
    assert store_at(word) is None


def test_the_store_is_where_the_variable_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative path, the home, or else the user's cache directory."""
    monkeypatch.chdir(tmp_path)
    home = Path.home()
    found = {name: store_at(name) for name in ("there", "~/mine", "")}

    assert {name: each.root for name, each in found.items() if each} == {
        "there": tmp_path / "there",
        "~/mine": home / "mine",
        "": home / ".cache" / "modelmake",
    }


@pytest.mark.parametrize("name", ["", "../" * 21 + "x", DIGEST.upper(), DIGEST[:-1], "/etc/passwd"])
def test_what_is_no_digest_names_no_file(root: Path, file: Path, name: str) -> None:
    """Whoever asks: the store itself makes no path of it."""
    store = Store(root)
    for ask in (store.path, store.layer_path, store.has, store.find, store.remove):
        with pytest.raises(StoreError, match="is no SHA-256"):
            ask(name)
    with pytest.raises(StoreError, match="is no SHA-256"):
        store.keep(RootedPath.of(file), name, "hardlink")
    with pytest.raises(StoreError, match="is no SHA-256"):
        store.put_layer(name, b"x")
    assert not root.exists()
