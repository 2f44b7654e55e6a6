"""What every test of the store's modules gets."""

from pathlib import Path

import pytest

from downloader.fs import link
from tests.store.blobs import CONTENT


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each test ask anew whether a device has reflinks."""
    monkeypatch.setattr(link, "_no_reflinks", set())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Give the place of a store."""
    return tmp_path / "store"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Give a verified file."""
    path = tmp_path / "target"
    path.write_bytes(CONTENT)
    return path
