"""Describe how a model changes in models.lock: old -> new, in words. Pure.

`doit lock` says with it what it did, and `doit outdated` what `doit lock --upgrade` would do.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal

import msgspec

from downloader.artifact import Artifact, Checkpoint, LockedModel, bytes_text, counted, size_text

FILES_TOLD = 5
"""Number of changed files that are listed one by one; more are counted."""
STEPS_TOLD = 8
"""Of more steps, the first and the last are shown."""


class FileChange(msgspec.Struct, frozen=True, kw_only=True):
    """One file, or archive, that is not locked as it was.

    Attributes:
        path: Its path in the model.
        before: As it was locked; None if it is new.
        after: As it is to be locked; None if it is removed.
    """

    path: str
    before: Artifact | None
    after: Artifact | None

    @property
    def verb(self) -> Literal["added", "removed", "changed"]:
        """The kind of change."""
        if self.before is None:
            return "added"
        return "changed" if self.after else "removed"

    @property
    def line(self) -> str:
        """A line of text: the verb, the path, and the sizes before and after."""
        sizes = [each.size for each in (self.before, self.after) if each]
        return f"  {self.verb} {self.path}: {sizes_text(sizes)}"


def moved(model: LockedModel) -> tuple[Artifact, ...]:
    """Return what is fetched of a model: its archives, or its files if it has none."""
    return model.archives or model.files


def changes(before: LockedModel, after: LockedModel) -> list[FileChange]:
    """Return what is fetched of the one and not of the other, by path."""
    old, new = ({each.path: each for each in moved(model)} for model in (before, after))
    return [
        FileChange(path=path, before=old.get(path), after=new.get(path))
        for path in sorted(old.keys() | new.keys())
        if old.get(path) != new.get(path)
    ]


def lines(
    name: str, before: LockedModel | None, after: LockedModel, *, is_incomplete: bool = False
) -> list[str]:
    """Return what `doit lock` says of a model: a line, and one for each of the first changes.

    Args:
        name: The model.
        before: As it was locked; None if it was not.
        after: As it is locked now.
        is_incomplete: Whether a file of it cannot be downloaded.
    """
    unpinned = sum(not (each.is_pinned or each.git_sha1) for each in moved(after))
    wait = f", {unpinned:,} without a digest (pinned on first download)" if unpinned else ""
    wait += f", {after.left_out}" if after.left_out else ""
    if is_incomplete:
        return [f"incomplete {name}: {summary(after)}{wait}"]
    if before is None:
        return [f"locked {name}: {summary(after)}{wait}"]
    found = changes(before, after)
    if not found:
        return [f"same {name}: {summary(after)}{wait}"]
    told = [(each.verb, each.line) for each in found]
    return [f"changed {name}: {old_to_new(before, after)}{wait}", *first_lines(told)]


def old_to_new(before: LockedModel, after: LockedModel) -> str:
    """Return what a model was and what it becomes: steps, number of files, bytes."""
    told = _arrow(summary(before), summary(after))
    old, new = (_steps_text(steps(model)) for model in (before, after))
    return told if old == new else f"steps {old} -> {new}; {told}"


def first_lines(told: Sequence[tuple[str, str]]) -> list[str]:
    """Return the first of many lines, and the count of the others, by what happened.

    Args:
        told: What happened to a file, in a word, and the line of it.
    """
    others = Counter(verb for verb, _ in told[FILES_TOLD:])
    count = ", ".join(f"{number:,} {verb}" for verb, number in sorted(others.items()))
    return [*(line for _, line in told[:FILES_TOLD]), *[f"  and {count}"] * bool(others)]


def summary(model: LockedModel) -> str:
    """Return how much is fetched of a model: `2 files, 2,000 bytes`."""
    return amount(model, [each.size for each in moved(model)])


def amount(model: LockedModel, sizes: Sequence[int | None]) -> str:
    """Return a number of a model's files, or archives, and their size together."""
    kind = "archive" if model.archives else "file"
    return ", ".join([counted(len(sizes), kind), *[_sum_text(sizes)] * bool(sizes)])


LEAST_ROUNDED_BYTES = 1_000_000
"""A smaller sum is given to the byte."""


def _sum_text(sizes: Sequence[int | None]) -> str:
    """Return a sum of sizes, as far as they are known."""
    known = [size for size in sizes if size is not None]
    if not known and sizes:
        return size_text(*sizes)
    count = sum(known)
    is_round = count >= LEAST_ROUNDED_BYTES
    least = "at least " * (len(known) < len(sizes))
    return f"{least}{bytes_text(count) if is_round else counted(count, 'byte')}"


def sizes_text(sizes: Sequence[int | None]) -> str:
    """Return the size of a file, or the one before and the one after, to the byte."""
    texts = [size_text(size) if size is None else counted(size, "byte") for size in sizes]
    is_same = len(texts) > 1 and len(set(texts)) == 1
    return f"{texts[0]}, other content" if is_same else " -> ".join(texts)


def steps(model: LockedModel) -> list[int]:
    """Return the training steps of a model's checkpoints, in order; none if it names none."""
    return sorted(each.step for each in _checkpoints(model) if each.step is not None)


def _checkpoints(model: LockedModel) -> list[Checkpoint]:
    return [each.checkpoint for each in moved(model) if each.checkpoint]


def why_older(before: LockedModel, after: LockedModel) -> str:
    """Return in what a model would go back; empty if it does not, or nobody can know.

    Only checkpoints have an order that a provider tells: the step, and when it was made. A file at
    a URL has none: that it is smaller now does not make it older. If models.yaml changed, what
    comes is what was asked for.
    """
    old, new = steps(before), steps(after)
    if before.entry != after.entry or not old:
        return ""
    if not new or new[-1] < old[-1]:
        newest = f"step {new[-1]}" if new else "none"
        return f"its newest checkpoint upstream is {newest}, and step {old[-1]} is locked"
    if len(new) < len(old):
        left = counted(len(new), "checkpoint")
        return f"upstream has {left} of it, and {len(old)} are locked"
    return _why_made_earlier(before, after)


def _why_made_earlier(before: LockedModel, after: LockedModel) -> str:
    known = {(each.step, each.request): each.created for each in _checkpoints(before)}
    for each in _checkpoints(after):
        locked = known.get((each.step, each.request))
        if locked and each.created and _is_earlier(each.created, locked):
            return f"step {each.step} upstream was made at {each.created}, the locked one {locked}"
    return ""


def _is_earlier(one: str, other: str) -> bool:
    """Compare two moments in the provider's words; what is not ISO 8601 has no order."""
    try:
        return _moment(one) < _moment(other)
    except ValueError:
        return False


def _moment(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _arrow(old: str, new: str) -> str:
    return old if old == new else f"{old} -> {new}"


def _steps_text(found: Sequence[int]) -> str:
    if len(found) > STEPS_TOLD:
        return f"{found[0]} to {found[-1]} ({len(found):,})"
    return ", ".join(map(str, found)) or "none"
