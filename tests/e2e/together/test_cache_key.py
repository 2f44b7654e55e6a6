"""The cache key of a model whose files come out of an archive."""

from pathlib import Path

import pytest

from downloader.errors import LockError
from downloader.operations import cache_key
from tests.e2e.together.projects import bot
from tests.projects import lock, project, sync
from tests.servers.together.server import TogetherServer


def test_an_archive_whose_files_nobody_knows(tmp_path: Path, together: TogetherServer) -> None:
    """A lock made before the first fetch of an archive cannot tell which files there will be."""
    lock(tmp_path, {"m": bot(type="adapter", extract=True)})
    with pytest.raises(LockError, match="does not pin"):
        cache_key.of_project(project(tmp_path))
    sync(tmp_path)
    assert cache_key.of_project(project(tmp_path)).models[0].files > 1


def test_a_pinned_archive_whose_files_nobody_knows(
    tmp_path: Path, together: TogetherServer
) -> None:
    """Fetched as it is, an archive is pinned; its files are not known before it is unpacked."""
    sync(tmp_path, {"m": bot(type="adapter")})
    packed = cache_key.of_project(project(tmp_path))
    lock(tmp_path, {"m": bot(type="adapter", extract=True)})
    assert project(tmp_path).lockfile.models["m"].archives[0].is_pinned
    with pytest.raises(LockError, match="does not pin"):
        cache_key.of_project(project(tmp_path))
    sync(tmp_path)
    assert cache_key.of_project(project(tmp_path)).key != packed.key
