"""Old -> new of a model, and what is known to be older. Pure."""

import pytest

from downloader.artifact import Artifact, Checkpoint, LockedModel
from downloader.project.changes import FILES_TOLD, changes, lines, sizes_text, summary, why_older

ENTRY = f"sha256:{'a' * 64}"
EARLY, LATE = "2025-09-24T23:14:22Z", "2025-09-25T00:14:22+00:00"


def model(*files: Artifact, entry: str = ENTRY) -> LockedModel:
    """Return a locked model of these files."""
    return LockedModel(entry=entry, source="x", files=files)


def steps(*numbers: int, created: str | None = None, entry: str = ENTRY) -> LockedModel:
    """Return a locked model with an archive of each step."""
    return model(
        *(
            Artifact(
                path=f"{step}.tar.zst",
                size=1,
                checkpoint=Checkpoint(step=step, request="merged", created=created),
            )
            for step in numbers
        ),
        entry=entry,
    )


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        (steps(10, 20), steps(10), "its newest checkpoint upstream is step 10, and step 20 is"),
        (steps(10, 20), steps(20), "upstream has 1 checkpoint of it, and 2 are locked"),
        (steps(20, created=LATE), steps(20, created=EARLY), "step 20 upstream was made at 2025"),
        (steps(10), model(Artifact(path="a", size=1)), "its newest checkpoint upstream is none"),
    ],
)
def test_what_is_known_to_be_older(before: LockedModel, after: LockedModel, why: str) -> None:
    """A lower newest step, fewer checkpoints, or the same step made earlier."""
    assert why_older(before, after).startswith(why)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (steps(10, 20), steps(20, 30)),
        (steps(10, 20), steps(10, entry=f"sha256:{'b' * 64}")),
        (steps(20, created=EARLY), steps(20, created=LATE)),
        (steps(20, created="yesterday"), steps(20, created=EARLY)),
        (steps(20, created=LATE), steps(20)),
        (model(Artifact(path="a", size=9)), model(Artifact(path="a", size=1))),
    ],
    ids=["newer", "another entry", "later", "no date", "date dropped", "a smaller file"],
)
def test_what_nobody_can_call_older(before: LockedModel, after: LockedModel) -> None:
    """A file at an URL has no order, and a changed models.yaml is a wish."""
    assert why_older(before, after) == ""


def test_moments_are_compared_and_not_their_texts() -> None:
    """The same moment in two notations is no way back."""
    one, other = (
        steps(20, created="2025-09-24T23:14:22Z"),
        steps(20, created="2025-09-25T01:14:22+02:00"),
    )
    assert why_older(other, one) == why_older(one, other) == ""


def test_equal_models_have_no_changes() -> None:
    """Only what differs is told."""
    assert changes(steps(1, 2), steps(1, 2)) == []
    assert lines("m", steps(1), steps(1)) == [
        "same m: 1 file, 1 byte, 1 without a digest (pinned on first download)"
    ]


def test_many_files_are_counted_readably() -> None:
    """As in every other number of files."""
    (told,) = lines("m", None, steps(*range(2000)))
    assert "2,000 files" in told
    assert "2,000 without a digest" in told


def test_many_changes_are_counted() -> None:
    """Exactly so many are told one by one."""
    told = lines("m", steps(1), steps(*range(1, FILES_TOLD + 4)))
    assert len(told) == 1 + FILES_TOLD + 1
    assert told[-1] == "  and 2 added"


@pytest.mark.parametrize(
    ("sizes", "text"),
    [
        ([], "0 files"),
        ([None], "1 file, size unknown"),
        ([1, None], "2 files, at least 1 byte"),
        ([1000, 1], "2 files, 1,001 bytes"),
        ([60_000_000, 8, None], "3 files, at least 60.0 MB"),
    ],
)
def test_a_size_is_told_as_far_as_it_is_known(sizes: list[int | None], text: str) -> None:
    """No number stands for a size that nobody knows, and no digits for what nobody compares."""
    files = (Artifact(path=f"{n}.bin", size=size) for n, size in enumerate(sizes))
    assert summary(model(*files)) == text


def test_a_change_of_a_large_file_is_told_to_the_byte() -> None:
    """Rounded, both sizes would look the same."""
    assert sizes_text([60_000_008, 60_000_009]) == "60,000,008 bytes -> 60,000,009 bytes"
    assert sizes_text([None, 1]) == "size unknown -> 1 byte"
    assert sizes_text([7, 7]) == "7 bytes, other content"
