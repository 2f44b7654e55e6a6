"""A process that is killed at any change it makes to the disk, and the one after it."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.project import REPOSITORY
from tests.e2e.together.child import KILLED_STATUS
from tests.e2e.together.projects import (
    ARCHIVE,
    LORA_FILES,
    files,
    private_files,
    sync_adapter,
    write_manifest,
)
from tests.servers.together.archives import lora_archive
from tests.servers.together.server import TogetherServer

STRIDE = 4
"""Every second point where the archive is kept, and every other one where it is not."""
MOST_POINTS = 200


def killed_at(folder: Path, point: int) -> bool:
    """Sync in a process that is killed at its n-th change; return whether it came to that."""
    command = [sys.executable, "-m", "tests.e2e.together.child", str(folder), str(point)]
    ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert ended.returncode in (0, KILLED_STATUS), ended.stderr
    return ended.returncode == KILLED_STATUS


def assert_whole_or_absent(folder: Path, right: dict[str, bytes]) -> None:
    """Check what a killed run left under final names."""
    for path in files(folder):
        assert (folder / "models/m" / path).read_bytes() == right[path]


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("first", "keep"), [(1, False), (2, True), (3, False), (4, True)])
def test_a_kill_at_any_change_converges(
    tmp_path: Path, together: TogetherServer, first: int, keep: bool
) -> None:
    """Every final name is right or absent after the kill; the next run ends it, once and whole."""
    finished = tmp_path / "finished"
    finished.mkdir()
    sync_adapter(finished, keep_archive=keep)
    right = {path: (finished / "models/m" / path).read_bytes() for path in files(finished)}
    right[ARCHIVE] = lora_archive(20)

    for point in range(first, MOST_POINTS, STRIDE):
        folder = tmp_path / str(point)
        folder.mkdir()
        write_manifest(folder, type="adapter", extract=True, keep_archive=keep)
        if not killed_at(folder, point):
            break
        assert_whole_or_absent(folder, right)
        sync_adapter(folder, keep_archive=keep)

        assert files(folder) == LORA_FILES | ({ARCHIVE} if keep else set()), point
        assert_whole_or_absent(folder, right)
        asked = len(together.requests)
        (folder / "models/m/tokenizer.json").write_text("edited")
        sync_adapter(folder, keep_archive=keep)
        assert_whole_or_absent(folder, right)
        left = {each for each in private_files(folder) if not each.startswith(".")}
        assert left == {"receipts"}, point
        assert len(together.requests) - asked <= (0 if keep else 1), point
    else:
        raise AssertionError("there are more points than were swept")
