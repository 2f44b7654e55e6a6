"""Two runs' changes of one lockfile, put together."""

import pytest
from msgspec import structs

from downloader.artifact import Artifact, LockedModel
from downloader.project.lockfile import Lockfile, dump, load, merge, with_unpacked

OURS, THEIRS = "a" * 64, "b" * 64
OLD, NEW, NEWER = (f"sha256:{digit * 64}" for digit in "123")


def file(path: str, sha256: str | None = None, archive: str | None = None) -> Artifact:
    return Artifact(path=path, sha256=sha256, archive=archive)


def model(*files: Artifact, entry: str = OLD, archive: Artifact | None = None) -> LockedModel:
    archives = (archive,) if archive else ()
    return LockedModel(entry=entry, source="http", files=files, archives=archives)


def merged(
    found: LockedModel | None, ours: LockedModel | None, theirs: LockedModel | None
) -> LockedModel | None:
    """Return the model after both changed it; None is a lockfile without it."""
    three = [Lockfile(models={"m": each} if each else {}) for each in (found, ours, theirs)]
    return merge(*three).models.get("m")


BARE, PINNED_A = model(file("a"), file("b")), model(file("a", OURS), file("b"))
PINNED_B = model(file("a"), file("b", THEIRS))
BOTH = model(file("a", OURS), file("b", THEIRS))
RIVAL = model(file("a", THEIRS), file("b"))
ELSE, THIRD = model(file("c"), entry=NEW), model(file("d"), entry=NEWER)
CASES = {
    "nobody": (BARE, BARE, BARE, BARE),
    "we pinned": (BARE, PINNED_A, BARE, PINNED_A),
    "they pinned": (BARE, BARE, PINNED_B, PINNED_B),
    "both pinned": (BARE, PINNED_A, PINNED_B, BOTH),
    "both pinned the same file": (BARE, PINNED_A, RIVAL, RIVAL),
    "both locked it first": (None, PINNED_A, PINNED_B, BOTH),
    "they locked it": (None, None, BARE, BARE),
    "they dropped it": (BARE, BARE, None, None),
    "we dropped it": (BARE, None, BARE, None),
    "they dropped what we pinned": (BARE, PINNED_A, None, PINNED_A),
    "we pinned and they locked it anew": (BARE, PINNED_A, ELSE, ELSE),
    "we locked it anew and they pinned": (BARE, ELSE, PINNED_B, ELSE),
    "both locked it anew": (BARE, ELSE, THIRD, ELSE),
}


@pytest.mark.parametrize(("found", "ours", "theirs", "after"), CASES.values(), ids=CASES.keys())
def test_what_becomes_of_a_model(
    found: LockedModel | None,
    ours: LockedModel | None,
    theirs: LockedModel | None,
    after: LockedModel | None,
) -> None:
    """Who changed it is believed; where both did, each file of one entry is looked at."""
    assert merged(found, ours, theirs) == after


def test_an_archive_and_its_files_are_of_one_run() -> None:
    """Files of two different archives under one name are never mixed."""
    found = model(archive=file("x"))
    ours = model(file("one", OURS, "x"), archive=file("x", OURS))
    theirs = model(file("two", THEIRS, "x"), archive=file("x", THEIRS))
    assert merged(found, ours, theirs) == theirs
    assert merged(found, ours, structs.replace(theirs, archives=(file("x"),))) == ours


def test_a_merged_lockfile_can_be_read() -> None:
    """It has the form that a lockfile has."""
    lockfile = merge(*(Lockfile(models={"m": each}) for each in (BARE, PINNED_A, PINNED_B)))
    assert load(dump(lockfile)).models["m"] == BOTH


ROOT = "c" * 64


def with_root(of: LockedModel) -> LockedModel:
    """Return a model whose first file has a root too."""
    first, *others = of.files
    return structs.replace(of, files=(structs.replace(first, root=ROOT), *others))


def test_a_root_of_the_same_bytes_is_kept() -> None:
    """Where another run pinned a file meanwhile, our root of those very bytes goes beside it."""
    told = structs.replace(PINNED_A, files=(*with_root(PINNED_A).files[:1], file("b", OURS)))
    assert merged(BARE, told, BOTH) == with_root(BOTH)


def test_a_root_of_other_bytes_is_dropped() -> None:
    """Where another run pinned other bytes first, theirs stay, and our root of ours goes."""
    assert merged(BARE, with_root(PINNED_A), RIVAL) == RIVAL


def test_a_file_unpacked_again_keeps_its_root() -> None:
    """The same file out of the same archive has the root that it had; another has none."""
    archive = file("a.tar")
    before = model(*with_root(model(file("x", OURS, "a.tar"))).files, archive=archive)
    locked = Lockfile(models={"m": before})
    same = with_unpacked(locked, "m", archive, [file("x", OURS, "a.tar")])
    other = with_unpacked(locked, "m", archive, [file("x", THEIRS, "a.tar")])
    assert [each.models["m"].files[0].root for each in (same, other)] == [ROOT, None]
