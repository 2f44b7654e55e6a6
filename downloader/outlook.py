"""What `doit outdated` says of a model: for people in lines, for programs in JSON. Pure.

The fields here are those of the JSON document (docs/outdated.md), a promise to programs.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import msgspec

from downloader.lock.lock_changes import FileChange, first_lines, moved, sizes_text, steps
from downloader.lock.lockfile import LockedModel

VERSION = 1

State = Literal[
    "gone",
    "not-allowed",
    "newer",
    "older",
    "changed-upstream",
    "unreachable",
    "not-locked",
    "up-to-date",
]
STATES: tuple[State, ...] = State.__args__  # type: ignore[attr-defined]
"""Of a model; where its files have several, it is the first of this order."""
UPGRADED = frozenset({"added", "removed", "changed"})
"""States of files that `doit lock --upgrade` locks anew."""


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """What is locked of a model, or what upstream has."""

    revision: str | None
    """The immutable version, where there is one."""
    steps: list[int]
    """Of its checkpoints, in order; empty where it names none."""
    files: int
    """How many files, or archives, are fetched."""
    bytes: int | None
    """Their sizes together; None where one is not known."""


class File(msgspec.Struct, frozen=True, kw_only=True):
    """One file that is not as it is locked, or that nobody could be asked about."""

    path: str
    state: str
    """`added`, `removed`, `changed`, `changed-upstream`, `gone`, `not-allowed`, `unreachable`."""
    locked_bytes: int | None = None
    """Its size as locked, as far as that is known."""
    upstream_bytes: int | None = None
    """Its size upstream, as far as that is told."""
    message: str | None = None
    """The error, where one is the reason."""


class Outlook(msgspec.Struct, frozen=True, kw_only=True):
    """What upstream has of one model."""

    model: str
    source: str
    state: State
    locked: Side | None = None
    """What models.lock has; None where that is not what models.yaml declares."""
    upstream: Side | None = None
    """What `doit lock --upgrade` would lock; None where upstream did not tell."""
    files: tuple[File, ...] = ()
    fetch_bytes: int | None = 0
    """What would have to be fetched for it; None where a size is not told."""
    message: str | None = None
    """Why, in a sentence."""
    hint: str | None = None
    """What to do about it."""

    @property
    def is_upgradable(self) -> bool:
        """Whether `doit lock --upgrade` would lock something else."""
        return self.state != "older" and any(each.state in UPGRADED for each in self.files)


def side(model: LockedModel) -> Side:
    """Return what a locked model amounts to."""
    found = moved(model)
    size = _sum(each.size for each in found)
    return Side(revision=model.revision, steps=steps(model), files=len(found), bytes=size)


def compared(
    changes: Sequence[FileChange], others: Iterable[File]
) -> tuple[tuple[File, ...], int | None]:
    """Return the files that are not as they were locked, by path, and the bytes to fetch.

    Args:
        changes: Of what is locked to what `doit lock --upgrade` would lock.
        others: Files that would stay locked as they are, and about which there is something to say.
    """
    found = [
        File(
            path=each.path,
            state=each.verb,
            locked_bytes=each.before.size if each.before else None,
            upstream_bytes=each.after.size if each.after else None,
        )
        for each in changes
    ]
    size = _sum(each.after.size for each in changes if each.after)
    return tuple(sorted([*found, *others], key=lambda each: each.path)), size


def _sum(sizes: Iterable[int | None]) -> int | None:
    found = list(sizes)
    known = [size for size in found if size is not None]
    return sum(known) if len(known) == len(found) else None


def lines(outlook: Outlook) -> list[str]:
    """Return what people read: a line of the model, and one for each of the first files."""
    message = f": {outlook.message}" if outlook.message else ""
    told = first_lines(list(_file_lines(outlook.files)))
    return [f"{outlook.model}: {_words(outlook.state)}{message}", *told]


def _file_lines(files: Iterable[File]) -> Iterator[tuple[str, str]]:
    """Yield a word and a line for each file, and one for all that failed for one reason."""
    failed: dict[tuple[str, str], list[str]] = {}
    for each in files:
        if each.message:
            failed.setdefault((each.state, each.message), []).append(each.path)
        else:
            yield each.state, f"  {_words(each.state)} {each.path}: {sizes_text(_sizes(each))}"
    for (state, message), paths in failed.items():
        more = f" and {len(paths) - 1:,} more" * (len(paths) > 1)
        yield state, f"  {_words(state)} {paths[0]}{more}: {message}"


def _sizes(file: File) -> list[int | None]:
    sizes = {"added": [file.upstream_bytes], "removed": [file.locked_bytes]}
    return sizes.get(file.state, [file.locked_bytes, file.upstream_bytes])


def document(outlooks: Sequence[Outlook]) -> str:
    """Return the JSON document, without a line end."""
    told = {"version": VERSION, "models": outlooks}
    return msgspec.json.format(msgspec.json.encode(told), indent=1).decode()


def count_text(outlooks: Iterable[Outlook]) -> str:
    """Return how many models are not up to date, by state; empty where all are."""
    counts = Counter(each.state for each in outlooks)
    found = [state for state in STATES if counts[state] and state != "up-to-date"]
    return ", ".join(f"{counts[state]:,} {_words(state)}" for state in found)


def _words(state: str) -> str:
    return state.replace("-", " ")
