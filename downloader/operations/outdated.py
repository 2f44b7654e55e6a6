"""Compare what upstream has with what is locked: newer, gone, not allowed. Nothing is written.

What is called newer is exactly what `doit lock --upgrade` would change: the same questions are put
to the same servers, and the same rules apply to the answers (project/resolve.py). It also reports
what that command leaves as it is: a pinned file whose server shows another now, and what is gone.

The fields of the JSON document (docs/outdated.md) are a promise to programs.
"""

import functools
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Literal

import msgspec

from downloader.artifact import Artifact, LockedModel, counted
from downloader.errors import (
    AccessDenied,
    Interrupted,
    ModelmakeError,
    NotReady,
    SettingError,
    SourceError,
)
from downloader.network.api import Session
from downloader.operations.lock import DeadOrigins, Failure, Prober, run_concurrently
from downloader.project import changes as lock_changes
from downloader.project import resolve
from downloader.project.changes import first_lines, moved, sizes_text, steps
from downloader.project.project import Declaration, Project
from downloader.sources.interface import Entry
from downloader.sources.registry import asking_source_for

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
"""Of a model; if its files have several, it is the first of this order."""
UPGRADED = frozenset({"added", "removed", "changed"})
"""States of files that `doit lock --upgrade` locks again."""


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """State of a model in the lock, or upstream."""

    revision: str | None
    """The immutable version, if there is one."""
    steps: list[int]
    """Of its checkpoints, in order; empty if it names none."""
    files: int
    """Number of files or archives to download."""
    bytes: int | None
    """Their sizes together; None if one is not known."""


class File(msgspec.Struct, frozen=True, kw_only=True):
    """One file that is not as it is locked, or that nobody could be asked about."""

    path: str
    state: str
    """`added`, `removed`, `changed`, `changed-upstream`, `gone`, `not-allowed`, `unreachable`."""
    locked_bytes: int | None = None
    """Its size as locked, if known."""
    upstream_bytes: int | None = None
    """Its size upstream, if known."""
    message: str | None = None
    """The error, if one is the reason."""


class Outdated(msgspec.Struct, frozen=True, kw_only=True):
    """Comparison of one model with upstream."""

    model: str
    source: str
    state: State
    locked: Side | None = None
    """What models.lock has; None if that is not what models.yaml declares."""
    upstream: Side | None = None
    """What `doit lock --upgrade` would lock; None if upstream did not tell."""
    files: tuple[File, ...] = ()
    fetch_bytes: int | None = 0
    """What would have to be fetched for it; None if a size is unknown."""
    message: str | None = None
    """Why, in a sentence."""
    hint: str | None = None
    """The next step for the user."""

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
    changes: Sequence[lock_changes.FileChange], others: Iterable[File]
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


def outlook_lines(outlook: Outdated) -> list[str]:
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


def document(outlooks: Sequence[Outdated]) -> str:
    """Return the JSON document, without a line end."""
    told = {"version": VERSION, "models": outlooks}
    return msgspec.json.format(msgspec.json.encode(told), indent=1).decode()


def count_text(outlooks: Iterable[Outdated]) -> str:
    """Return how many models are not up to date, by state; empty if all are."""
    counts = Counter(each.state for each in outlooks)
    found = [state for state in STATES if counts[state] and state != "up-to-date"]
    return ", ".join(f"{counts[state]:,} {_words(state)}" for state in found)


def _words(state: str) -> str:
    return state.replace("-", " ")


HINTS: dict[State, str] = {
    "gone": "What is here stays good; a mirror in models.yaml can take its place.",
    "not-allowed": AccessDenied.advice,
    "changed-upstream": "The lock stays right; what it pins cannot be fetched from there again.",
    "unreachable": "Try again later; nothing is known of what is there now.",
}
NEW = "models.lock does not have it yet"
CHANGED = "models.yaml changed since it was locked"
NOT_READY_HINT = "What is locked stays good; look again when it is completed."
OLDER_HINT = "`doit lock --upgrade` leaves it as it is; `--allow-downgrade` takes it."


def look(
    project: Project, wanted: Iterable[Declaration], session: Session
) -> Generator[Outdated, None, None]:
    """Ask upstream about models, all at once; give each as it is known.

    Args:
        project: Whose lock.
        wanted: Models whose source this version has.
        session: What asks, and ends it all.

    Raises:
        Interrupted: The session was ended.
    """
    one = _Look(project, session, {})
    acts = {each.name: functools.partial(one.at, each) for each in wanted}
    with closing(run_concurrently(acts, session.end)) as ended:
        for _, result in ended:
            yield result.result()


@dataclass(frozen=True, slots=True)
class _Look:
    """Check of one model."""

    project: Project
    session: Session
    dead: DeadOrigins

    def at(self, each: Declaration) -> Outdated:
        """Return what upstream has of a model."""
        found = Outdated(model=each.name, source=each.source, state="not-locked")
        if not self.project.is_current(each):
            is_known = each.name in self.project.lockfile.models
            return _with(found, message=CHANGED if is_known else NEW)
        before = self.project.lockfile.models[each.name]
        found = _with(found, locked=side(before))
        try:
            ask = self._servers if each.outlined else self._provider
            after, others = ask(each, before)
        except Interrupted:
            raise
        except ModelmakeError as error:
            hint = NOT_READY_HINT if isinstance(error, NotReady) else error.hint or None
            return _with(found, state=_state_of(error), message=str(error), hint=hint)
        return _with_changes(found, before, after, others)

    def _provider(self, each: Declaration, before: LockedModel) -> tuple[LockedModel, list[File]]:
        """Return what the provider says that the entry means now."""
        entry = _without_waiting(each.entry)
        source = asking_source_for(entry)
        assert source is not None
        asker = self.session.asker(each.name)
        asked = resolve.ask(each.name, entry, source, asker)
        return resolve.keep_first_pins(asked, before), []

    def _servers(self, each: Declaration, before: LockedModel) -> tuple[LockedModel, list[File]]:
        """Return what `doit lock --upgrade` makes of what the servers show, and what it leaves."""
        assert each.outlined is not None
        prober = Prober(self.session.transport, each.name, each.entry.source(), self.dead)
        after = resolve.lock_model(each.outlined, before, prober, upgrade=True)
        pinned = [file for file in before.files if file.path not in prober.asked]
        shown = list(_changed_upstream(pinned, prober(pinned)))
        return after, [*shown, *(_file_of(failure, before) for failure in prober.failures)]


def _changed_upstream(pinned: Iterable[Artifact], shown: Iterable[Artifact]) -> Iterator[File]:
    """Yield the files that models.yaml or their publisher pins, and whose server shows others."""
    for locked, now in zip(pinned, shown, strict=True):
        if not resolve.shows_the_same(locked, now):
            yield File(
                path=locked.path,
                state="changed-upstream",
                locked_bytes=locked.size,
                upstream_bytes=now.size,
            )


def _file_of(failure: Failure, before: LockedModel) -> File:
    sizes = {each.path: each.size for each in before.files}
    return File(
        path=failure.path,
        state=_state_of(failure.error),
        locked_bytes=sizes.get(failure.path),
        message=str(failure.error),
    )


def _with_changes(
    found: Outdated, before: LockedModel, after: LockedModel, others: list[File]
) -> Outdated:
    changes = lock_changes.changes(before, after)
    files, fetch_bytes = compared(changes, others)
    found = _with(found, upstream=side(after), files=files, fetch_bytes=fetch_bytes)
    if why := lock_changes.why_older(before, after):
        return _with(found, state="older", message=why, hint=OLDER_HINT)
    counts = Counter[str](each.state for each in others)
    counts["newer"] = len(changes)
    state: State = next((each for each in STATES if counts[each]), "up-to-date")
    hint = HINTS.get(state)
    parts = [f"{counts[state]:,} of {counted(len(before.files), 'file')}"] * bool(hint)
    if changes:
        parts += [lock_changes.old_to_new(before, after), _to_fetch(after, changes)]
    return _with(found, state=state, message="; ".join(parts) or None, hint=hint)


def _to_fetch(after: LockedModel, changes: Sequence[lock_changes.FileChange]) -> str:
    sizes = [each.after.size for each in changes if each.after]
    return f"{lock_changes.amount(after, sizes)} to fetch"


def _with(found: Outdated, **fields: object) -> Outdated:
    return msgspec.structs.replace(found, **fields)


def _without_waiting(entry: Entry) -> Entry:
    """Return the entry without its wish to wait for a training; it means the same bytes."""
    return msgspec.structs.replace(entry, wait=False) if hasattr(entry, "wait") else entry


def _state_of(error: ModelmakeError) -> State:
    if isinstance(error, (AccessDenied, SettingError)):  # no key is set, or not a good one
        return "not-allowed"
    if isinstance(error, SourceError) and not isinstance(error, NotReady):
        return "gone"
    return "unreachable"
