"""What upstream has, beside what is locked: newer, gone, not allowed. Nothing is written.

What is called newer is exactly what `doit lock --upgrade` would change: the same questions are put
to the same servers, and the same rules judge the answers (lock/resolve.py). Told beside it is what
that command leaves as it is: a pinned file whose server shows another now, and what is there no
more.
"""

import functools
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

import msgspec

from downloader.artifact import Artifact
from downloader.at_once import at_once
from downloader.declared import Declared
from downloader.errors import (
    AccessDenied,
    Interrupted,
    ModelmakeError,
    NotReady,
    SettingError,
    SourceError,
)
from downloader.lock import lock_changes, resolve
from downloader.lock.lockfile import LockedModel
from downloader.lock.probing import Dead, Failure, Prober
from downloader.lock.relocking import is_current
from downloader.manifest.entries import AnyEntry
from downloader.outlook import STATES, File, Outlook, State, compared, side
from downloader.progress import counted
from downloader.project import Project
from downloader.sources.registry import asking_source_for, source_for, source_name
from downloader.transfer.asking import Session

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
    project: Project, wanted: Iterable[Declared], session: Session
) -> Generator[Outlook, None, None]:
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
    with closing(at_once(acts, session.end)) as ended:
        for _, result in ended:
            yield result.result()


@dataclass(frozen=True, slots=True)
class _Look:
    """How one model is looked at."""

    project: Project
    session: Session
    dead: Dead

    def at(self, each: Declared) -> Outlook:
        """Return what upstream has of a model."""
        found = Outlook(model=each.name, source=source_name(each.entry), state="not-locked")
        if not is_current(self.project, each):
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
        return _told(found, before, after, others)

    def _provider(self, each: Declared, before: LockedModel) -> tuple[LockedModel, list[File]]:
        """Return what the provider says that the entry means now."""
        entry = _without_waiting(each.entry)
        source = asking_source_for(entry)
        assert source is not None
        asker = self.session.asker(each.name, self.project.settings)
        asked = resolve.ask(each.name, entry, source, asker)
        return resolve.keep_first_pins(asked, before), []

    def _servers(self, each: Declared, before: LockedModel) -> tuple[LockedModel, list[File]]:
        """Return what `doit lock --upgrade` makes of what the servers show, and what it leaves."""
        assert each.outlined is not None
        prober = Prober(self.session.transport, each.name, source_for(each.entry), self.dead)
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


def _told(found: Outlook, before: LockedModel, after: LockedModel, others: list[File]) -> Outlook:
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


def _with(found: Outlook, **fields: object) -> Outlook:
    return msgspec.structs.replace(found, **fields)


def _without_waiting(entry: AnyEntry) -> AnyEntry:
    """Return the entry without its wish to wait for a training; it means the same bytes."""
    return msgspec.structs.replace(entry, wait=False) if hasattr(entry, "wait") else entry


def _state_of(error: ModelmakeError) -> State:
    if isinstance(error, (AccessDenied, SettingError)):  # no key is set, or not a good one
        return "not-allowed"
    if isinstance(error, SourceError) and not isinstance(error, NotReady):
        return "gone"
    return "unreachable"
