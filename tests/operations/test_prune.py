"""Which blobs and partials somebody needs; and trees made to lead a removal elsewhere."""

import shutil
import time
from pathlib import Path

import pytest

from downloader.artifact import Artifact, LockedModel
from downloader.fs.files import Private
from downloader.fs.locks import partial_name
from downloader.operations import prune
from downloader.operations.prune import (
    BLOB,
    DAY_SECONDS,
    PARTIAL,
    Ages,
    Prunable,
    Pruner,
)
from downloader.project import lockfile
from downloader.project.lockfile import Lockfile
from downloader.store.projects import KnownProject, Projects, known
from downloader.targets.shared import lock_of
from tests.projects import project

NAMED, OTHER, ORPHAN = "aa" * 32, "ab" * 32, "ac" * 32
DEAD = 2**22 + 1


def locking(folder: Path, *digests: str, archive: str | None = None) -> None:
    """Write a models.lock whose model `m` has a file of each digest, named by its first letters."""
    files = tuple(Artifact(path=f"{each[:2]}.bin", sha256=each) for each in sorted(digests))
    archives = (Artifact(path="a.tar.zst", sha256=archive),) if archive else ()
    model = LockedModel(entry=f"sha256:{NAMED}", source="http", files=files, archives=archives)
    folder.mkdir(exist_ok=True)
    (folder / "models.lock").write_bytes(lockfile.dump(Lockfile(models={"m": model})))


def remembered(store: Path, folder: Path, at: Path | None = None) -> KnownProject:
    """Note a project in a store; `at` is its model's folder."""
    folders = {"m": str(at or folder / "models" / "m")}
    noted = known(folder / "models.lock", folder / "models.yaml", folders)
    Projects(store).remember(noted)
    return noted


def put(path: Path, content: bytes = b"data") -> Path:
    """Put a file somewhere."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def blob(store: Path, digest: str) -> Path:
    """Put something under a blob's name."""
    return put(store / "sha256" / digest[:2] / digest)


def pruner(
    folder: Path, days_later: float = 0.0, store: str = "", *, unused: bool = False
) -> Pruner:
    """Return what prunes the store of a folder, run in an empty project there."""
    here = folder / "here"
    here.mkdir(exist_ok=True)
    ages = Ages(time.time() + days_later * DAY_SECONDS, 7 * DAY_SECONDS)
    own = project(here, {}, store=store or str(folder / "store"))
    return Pruner(own, ages, lambda _line: None, unused=unused)


def paths(found: Prunable, kind: str) -> set[Path]:
    """Return what was found of a kind."""
    return {each.path.path for each in found.garbage if each.kind == kind}


def test_a_file_that_is_in_place_nowhere_is_unused(tmp_path: Path) -> None:
    """Only with `unused`; what any project has in place stays, and what a lost disk may hold."""
    store, lost = tmp_path / "store", tmp_path / "2"
    for number, digests in enumerate(([NAMED, OTHER], [OTHER], ["ad" * 32])):
        locking(tmp_path / f"{number}", *digests)
        remembered(store, tmp_path / f"{number}")
    blobs = [blob(store, digest) for digest in (NAMED, OTHER, "ad" * 32)]
    put(tmp_path / "1" / "models" / "m" / f"{OTHER[:2]}.bin")
    (lost / "models").symlink_to(tmp_path / "not mounted")

    assert not paths(pruner(tmp_path).find(), BLOB)
    assert paths(pruner(tmp_path, unused=True).find(), BLOB) == {blobs[0]}
    (lost / "models").unlink()
    assert paths(pruner(tmp_path, unused=True).find(), BLOB) == {blobs[0], blobs[2]}


@pytest.mark.parametrize("name", ["", *Private])
def test_a_private_place_that_is_a_symlink_is_told(tmp_path: Path, name: str) -> None:
    """What lies behind it is left, and nobody wonders why."""
    locking(tmp_path / "0", NAMED)
    remembered(tmp_path / "store", tmp_path / "0")
    old = put(tmp_path / "elsewhere" / "x.part")
    place = tmp_path / "0/models/m/.modelmake" / name
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(old.parent)
    told: list[str] = []
    found = pruner(tmp_path, days_later=30)
    found._notice = told.append
    assert not found.find().garbage
    assert told == [f"{place} is a symlink: nothing behind it is removed."]


def test_every_lock_counts(tmp_path: Path) -> None:
    """Files and archives of all remembered projects; what none of them names may go."""
    store = tmp_path / "store"
    for number, digests in enumerate(([NAMED], [OTHER, NAMED])):
        locking(tmp_path / f"{number}", *digests, archive="ad" * 32)
        remembered(store, tmp_path / f"{number}")
    for each in (NAMED, OTHER, ORPHAN, "ad" * 32):
        blob(store, each)

    assert paths(pruner(tmp_path).find(), BLOB) == {store / "sha256" / "ac" / ORPHAN}


def test_a_model_without_a_folder_counts_too(tmp_path: Path) -> None:
    """A lock may be newer than the note: its digests are needed all the same."""
    locking(tmp_path / "p", NAMED)
    noted = known(tmp_path / "p" / "models.lock", tmp_path / "p" / "models.yaml", {})
    Projects(tmp_path / "store").remember(noted)
    blob(tmp_path / "store", NAMED)

    assert pruner(tmp_path).find().garbage == []


def test_a_lock_that_is_deleted_meanwhile_is_no_hindrance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is kept for it, as for one that was gone before."""
    locking(tmp_path / "p", NAMED)
    put(tmp_path / "p" / "models.yaml")
    remembered(tmp_path / "store", tmp_path / "p")
    blob(tmp_path / "store", NAMED)

    def deleted(project: KnownProject) -> Lockfile:
        Path(project.lock).unlink(missing_ok=True)
        return lock_of(project)

    monkeypatch.setattr(prune, "lock_of", deleted)
    found = pruner(tmp_path).find()
    assert found.hindrances == []
    assert len(found.garbage) == 1


def test_a_folder_that_two_projects_share_keeps_what_either_names(tmp_path: Path) -> None:
    """By whatever path they know it; where one of them is out of sight only old ones go."""
    shared = tmp_path / "shared"
    mine, yours, nobodys = (
        put(shared / ".modelmake" / "partials" / partial_name(f"{each[:2]}.bin"))
        for each in (NAMED, OTHER, ORPHAN)
    )
    (tmp_path / "alias").symlink_to(shared)
    for number, (digest, at) in enumerate(((NAMED, shared), (OTHER, tmp_path / "alias"))):
        locking(tmp_path / f"{number}", digest)
        folder = tmp_path / f"{number}" / "models" / "m"
        folder.parent.mkdir()
        folder.symlink_to(at)
        remembered(tmp_path / "store", tmp_path / f"{number}")

    assert paths(pruner(tmp_path).find(), PARTIAL) == {nobodys}
    (tmp_path / "1" / "models.lock").write_text("<<<<<<<")
    assert paths(pruner(tmp_path).find(), PARTIAL) == set()
    assert paths(pruner(tmp_path, 8).find(), PARTIAL) == {mine, yours, nobodys}


def test_what_cannot_be_removed_stops_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told, and the rest goes."""
    store = tmp_path / "store"
    first, second = blob(store, NAMED), blob(store, OTHER)
    own = pruner(tmp_path)
    found = own.find()
    first.unlink()
    put(first / "inside")
    monkeypatch.setattr(shutil, "rmtree", _refuse)
    removed = list(own.remove(found))

    assert [each.path.path for each in removed] == [second]
    assert f"Cannot remove {first}" in str(found.hindrances)


def _refuse(name: str, **_: object) -> None:
    raise PermissionError(1, "no", name)


def test_without_a_store_there_are_no_blobs(tmp_path: Path) -> None:
    """`off`: only what the own project keeps is looked at."""
    blob(tmp_path / "store", NAMED)

    assert pruner(tmp_path, store="off").find() == Prunable()
