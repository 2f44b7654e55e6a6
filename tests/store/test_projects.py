"""The projects whose locks name blobs: remembered, gone, or out of sight."""

import json
import os
from pathlib import Path

import msgspec
import pytest

from downloader.errors import LockError, StoreError
from downloader.store.projects import KnownProject, Projects, known
from downloader.targets.shared import targets_of


@pytest.fixture
def project(tmp_path: Path) -> KnownProject:
    """Give a project of one model, with an empty lock."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "models.lock").write_text('{"version": 1, "models": {}}')
    (folder / "models.yaml").touch()
    return known_in(folder)


def known_in(folder: Path, *models: str) -> KnownProject:
    """Return a project as it is noted."""
    folders = {name: str(folder / "models" / name) for name in models or ("m",)}
    return known(folder / "models.lock", folder / "models.yaml", folders)


@pytest.fixture
def projects(tmp_path: Path) -> Projects:
    """Give what a store remembers."""
    return Projects(tmp_path / "store")


def test_a_project_is_remembered_once(project: KnownProject, projects: Projects) -> None:
    """The second time nothing is written."""
    assert projects.look() == ([], [])
    projects.remember(project)
    file = projects.file(project)
    inode = file.path.stat().st_ino
    projects.remember(project)

    assert projects.look() == ([project], [])
    assert file.path.stat().st_ino == inode
    projects.forget(project)
    projects.forget(project)
    assert projects.look() == ([], [])


def test_folders_of_models_that_were_removed_are_remembered(
    project: KnownProject, projects: Projects
) -> None:
    """As long as they are there: what a kill left in them is to be found."""
    folder = Path(project.lock).parent
    for name in ("old", "older"):
        (folder / "models" / name).mkdir(parents=True)
    projects.remember(known_in(folder, "m", "old", "older"))
    projects.remember(known_in(folder, "m"))
    projects.remember(known_in(folder, "m"))
    (folder / "models" / "older").rmdir()
    projects.remember(known_in(folder, "m", "new"))

    (found,), _ = projects.look()
    assert found.former == (str(folder / "models" / "old"),)
    assert set(found.folders) == {"m", "new"}


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"lock": 1}', b"{" * 100_000])
def test_a_note_that_cannot_be_read_is_told(
    project: KnownProject, projects: Projects, content: bytes
) -> None:
    """Nobody can tell what that project needs; the project itself mends it."""
    projects.remember(project)
    file = projects.file(project)
    file.path.write_bytes(content)

    found, (error,) = projects.look()
    assert found == []
    assert "nobody can tell" in str(error)
    assert str(file) in error.hint or str(file) in str(error)
    projects.remember(project)
    assert projects.look() == ([project], [])


def test_half_written_notes_are_passed_over(project: KnownProject, projects: Projects) -> None:
    """What a killed run left beside the notes is none of them."""
    projects.remember(project)
    projects.file(project).with_name(".x.json.1234.new").path.write_text("{")
    projects.file(project).with_name(".x.json").path.write_text("{")

    assert projects.look() == ([project], [])


def test_a_deleted_project_is_gone(project: KnownProject) -> None:
    """Its folder is not there, on a disk that is; another branch may lack both of its files."""
    seen = [project.is_gone]
    Path(project.lock).unlink()
    assert project.has_no_lock
    seen.append(project.is_gone)
    Path(project.manifest).unlink()
    seen.append(project.is_gone)
    Path(project.lock).parent.rmdir()

    assert [*seen, project.is_gone] == [False, False, False, True]


def test_a_project_that_one_may_not_look_at_is_not_gone(project: KnownProject) -> None:
    """Only a clear no is one: another user's folder, and a faulty disk, hide what is there."""
    hidden = Path(project.lock).parent / ("x" * 300) / "models.lock"
    not_ours = msgspec.structs.replace(project, lock=str(hidden))
    with pytest.raises(StoreError):
        _ = not_ours.is_gone


@pytest.mark.parametrize("change", [{"mount": "/no/such/mount"}, {"machine": "another"}, "none"])
def test_a_project_out_of_sight_is_not_gone(
    project: KnownProject, change: dict[str, str] | str
) -> None:
    """Its disk is not mounted, or it was on another machine, or nobody noted where it was."""
    Path(project.lock).unlink()
    Path(project.manifest).unlink()
    Path(project.lock).parent.rmdir()
    changed = change if isinstance(change, dict) else {"mount": "", "machine": ""}

    assert not msgspec.structs.replace(project, **changed).is_gone


def test_the_mount_point_is_noted(project: KnownProject) -> None:
    """It is the nearest one above the project."""
    assert os.path.ismount(project.mount)
    assert Path(project.lock).is_relative_to(project.mount)
    assert Path(project.mount).stat().st_dev == Path(project.lock).stat().st_dev


def test_targets_are_those_of_the_digest(project: KnownProject) -> None:
    """By the lock as it is now; a model without a folder has none."""
    digest = "ab" * 32
    lock = """{"version": 1, "models": {%s: {"entry": "sha256:%s", "source": "http", "files": [
        {"path": "a.bin", "size": 1, "sha256": "%s"}, {"path": "b.bin", "sha256": "%s"}]}}}"""
    Path(project.lock).write_text(lock % ('"m"', "0" * 64, digest, "cd" * 32))

    assert list(targets_of(project, digest)) == [Path(project.folders["m"]) / "a.bin"]
    Path(project.lock).write_text(lock % ('"other"', "0" * 64, digest, "cd" * 32))
    assert list(targets_of(project, digest)) == []
    Path(project.lock).write_text("<<<<<<<")
    with pytest.raises(LockError):
        list(targets_of(project, digest))


@pytest.mark.parametrize(
    "changes",
    [
        {"lock": "models.lock", "manifest": "models.yaml"},
        {"lock": "/elsewhere/models.lock"},
        {"lock": "/etc/shadow"},
        {"manifest": "/p/../etc/models.yaml", "lock": "/p/../etc/models.lock"},
        {"folders": {"m": "/elsewhere"}},
        {"folders": {"m": "models/m"}},
        {"folders": {"m": "{p}"}},
        {"folders": {"m": "{p}/../other"}},
        {"folders": {"m": "{p}/a\0b"}},
        {"folders": {"../m": "{p}/models/m"}},
        {"former": ["/elsewhere"]},
        {"former": ["{p}/.."]},
        {"mount": "../.."},
        {"machine": "\x1b[2J"},
    ],
    ids=str,
)
def test_a_note_that_we_cannot_have_written_is_told_and_not_followed(
    project: KnownProject, projects: Projects, changes: dict[str, object]
) -> None:
    """Prune removes files below its folders: so they are those of the project, or none are."""
    projects.remember(project)
    file = projects.file(project)
    folder = str(Path(project.lock).parent)
    forged = json.loads(json.dumps(changes).replace("{p}", folder))
    file.path.write_text(json.dumps({**json.loads(file.read_bytes()), **forged}))

    found, (error,) = projects.look()
    assert found == []
    assert str(file) in str(error)
