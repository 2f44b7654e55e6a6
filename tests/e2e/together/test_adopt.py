"""Archives and what is unpacked from them, taken from a folder: nothing is asked of Together."""

import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from downloader.errors import Stop
from downloader.operations.adopt import Adopter, AdoptReport
from downloader.targets.engine import Engine
from downloader.targets.plan import stale_targets
from tests.e2e.together.projects import (
    ARCHIVE,
    LORA_FILES,
    downloads,
    files,
    private_files,
    sync_adapter,
)
from tests.projects import project
from tests.servers.together.server import TogetherServer


def adopted(folder: Path, place: Path) -> AdoptReport:
    """Adopt as a process of its own would."""
    declared = project(folder, is_offline=True)
    with closing(Engine(declared, Stop())) as syncer:
        adopter = Adopter(declared, syncer, lambda: None, print)
        return adopter.adopt(declared.models(), place)


def moved_away(folder: Path, *names: str) -> Path:
    """Move files of the model to a folder beside the project, and remove the model's folder."""
    away = folder / "away"
    away.mkdir()
    for name in names:
        (folder / "models" / "m" / name).rename(away / f"renamed-{name}")
    shutil.rmtree(folder / "models")
    return away


@pytest.mark.parametrize("keeps", [True, False])
def test_an_archive_that_is_found_is_unpacked(
    tmp_path: Path, together: TogetherServer, *, keeps: bool
) -> None:
    """All files are there again without a request; the archive stays where it is to be kept."""
    sync_adapter(tmp_path)
    away = moved_away(tmp_path, ARCHIVE)
    before = downloads(together)
    if not keeps:
        text = (tmp_path / "models.yaml").read_text()
        changed = text.replace('"extract": true', '"extract": true, "keep_archive": false')
        (tmp_path / "models.yaml").write_text(changed)

    report = adopted(tmp_path, away)

    assert (report.missing, report.failed) == ([], 0)
    assert files(tmp_path) == LORA_FILES | ({ARCHIVE} if keeps else set())
    assert downloads(together) == before
    assert not any(stale_targets(model) for model in project(tmp_path).models())
    assert not [each for each in private_files(tmp_path) if "linking" in each or "unpack" in each]
    assert (away / f"renamed-{ARCHIVE}").is_file()


def test_files_of_an_archive_are_taken_one_by_one(tmp_path: Path, together: TogetherServer) -> None:
    """What was unpacked once is found by its own digest; what is not is named."""
    sync_adapter(tmp_path, keep_archive=False)
    away = moved_away(tmp_path, *sorted(LORA_FILES)[1:])

    report = adopted(tmp_path, away)

    assert [each.path for _, each in report.missing] == [min(LORA_FILES)]
    assert files(tmp_path) == set(sorted(LORA_FILES)[1:])


def test_an_archive_that_stays_packed(tmp_path: Path, together: TogetherServer) -> None:
    """It is one file as any other."""
    sync: Any = {"extract": False}
    sync_adapter(tmp_path, **sync)
    away = moved_away(tmp_path, ARCHIVE)

    assert len(adopted(tmp_path, away).by("adopted")) == 1
    assert files(tmp_path) == {ARCHIVE}
