"""One blob, what can befall it, and whether it is read."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from downloader.fs.digests import sha256_of
from downloader.fs.link import How
from downloader.fs.rooted_path import RootedPath
from downloader.store.blobs import Store
from tests.projects import sha256

CONTENT = b"weights" * 1000
WRONG = b"weighty" * 1000
DIGEST = sha256(CONTENT)


def refusing(number: int) -> Callable[..., None]:
    """Return a call that fails with an error number."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return refuse


def copied(source: int, new: int) -> None:
    """Do what a reflink does, as far as bytes tell."""
    os.write(new, os.pread(source, len(CONTENT), 0))


def blob_in(root: Path, digest: str = DIGEST) -> Path:
    """Return where a blob lies."""
    return root / "sha256" / digest[:2] / digest


def kept(root: Path, file: Path, how: How = "auto") -> Path:
    """Take a file in, and return its blob."""
    Store(root).keep(RootedPath.of(file), DIGEST, how)
    return blob_in(root)


def hashing(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return a list that takes each blob that is read."""
    read: list[Path] = []

    def noting(path: Path) -> str:
        read.append(path)
        return sha256_of(path)

    monkeypatch.setattr("downloader.store.blobs.sha256_of", noting)
    return read


def changed(blob: Path) -> None:
    """Write other bytes of the same length into a blob."""
    blob.chmod(0o644)
    blob.write_bytes(WRONG)


def changed_unseen(blob: Path) -> None:
    """Do the same, and put the time back."""
    before = blob.stat()
    changed(blob)
    os.utime(blob, ns=(before.st_atime_ns, before.st_mtime_ns))


def shortened(blob: Path) -> None:
    """Leave half of it."""
    blob.chmod(0o644)
    os.truncate(blob, 100)


def swapped(blob: Path) -> None:
    """Put another file of the same length there."""
    blob.unlink()
    blob.write_bytes(WRONG)


def symlinked(blob: Path) -> None:
    """Put a symlink to the right bytes there: what it leads to may change at any time."""
    blob.rename(blob.parents[3] / "elsewhere")
    blob.symlink_to(blob.parents[3] / "elsewhere")


def dangling(blob: Path) -> None:
    """Put a symlink to nothing there."""
    blob.unlink()
    blob.symlink_to("nowhere")


DAMAGE = [changed, changed_unseen, shortened, swapped, symlinked, dangling]
