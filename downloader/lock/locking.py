"""The act of locking: ask for what models.yaml leaves open, and write models.lock.

What follows from an entry alone is locked even where no server answers (probing.py). A model whose
files only its provider can tell is locked when that answers; until then the others are.
"""

import functools
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing, contextmanager

from downloader.at_once import at_once
from downloader.declared import Declared
from downloader.errors import Interrupted, LockError, ModelmakeError, Offline
from downloader.lock import lock_changes, resolve
from downloader.lock.lock_check import check, refuse_stale
from downloader.lock.lockfile import LockedModel
from downloader.lock.probing import Dead, Prober, notices
from downloader.lock.relocking import CURRENT, Wish, is_current, relock
from downloader.project import Project
from downloader.sources.registry import asking_source_for, source_for
from downloader.transfer.asking import Session
from downloader.transfer.transport import Transport


def lock(
    project: Project, session: Session, say: Callable[[str], None], wish: Wish = CURRENT
) -> bool:
    """Bring models.lock up to date with models.yaml; moves no bodies.

    First what follows from the entries; then every provider is asked at once, so that none that
    is waited for holds up another. Each model is written, and told, as it comes.

    Args:
        project: Whose lock.
        session: What asks the servers, and ends it all.
        say: Told what was done and what could not be asked, a line each; in this thread.
        wish: Which models, and whether to look upstream for what is current.

    Returns:
        Whether there was anything to say.

    Raises:
        LockError: It would change, and may not be written; or would go back.
        SettingError: An environment variable has an unusable value.
        StoreError: The disk refused.
        Interrupted: The session was ended.
        ModelmakeError: There is no model of a name; or a provider could not tell what a model is,
            and the others are locked.
    """
    for name in wish.names:
        source_for(project.named(name).entry)
    if project.is_read_only:
        check(project, wish.names)
        _refuse_upgrade(project, wish)
        return False
    lines = lock_outlined(project, session.transport, wish) + _left_out(project, wish)
    _tell(lines, say)
    wanted = [each for each in project.declared if _must_ask(project, each, wish)]
    acts = {one.name: functools.partial(lock_asked, project, one, session, wish) for one in wanted}
    if failures := _failures(at_once(acts, session.end), say):
        raise _not_locked(project, sorted(failures, key=lambda each: each[0]))
    return bool(lines or wanted)


def _failures(
    asked: Generator[tuple[str, Future[list[str]]], None, None], say: Callable[[str], None]
) -> list[tuple[str, ModelmakeError]]:
    """Tell each model as it is locked, and return those that could not be."""
    failures: list[tuple[str, ModelmakeError]] = []
    with closing(asked) as ended:
        for name, result in ended:
            try:
                _tell(result.result(), say)
            except Interrupted:
                raise
            except ModelmakeError as error:
                failures.append((name, error))
    return failures


def _refuse_upgrade(project: Project, wish: Wish) -> None:
    settings = project.settings
    if wish.upgrade:
        raise LockError(
            f"{project.lock_path.name} may change, and {settings.who_forbids} forbids it.",
            hint=f"Run `doit lock --upgrade` {settings.way_to_write}; "
            "`doit outdated` looks without writing.",
        )


def _tell(lines: Iterable[str], say: Callable[[str], None]) -> None:
    for line in lines:
        say(line)


def _left_out(project: Project, wish: Wish) -> list[str]:
    unknown = [each for each in project.declared if not each.is_known and wish.is_about(each.name)]
    return [f"{each.name} is left out: {_why_unknown(each)}" for each in unknown]


def _must_ask(project: Project, each: Declared, wish: Wish) -> bool:
    is_asked = each.is_known and not each.outlined and wish.is_about(each.name)
    return is_asked and (wish.upgrade or not is_current(project, each))


def lock_outlined(
    project: Project, transport: Transport | None = None, wish: Wish = CURRENT
) -> list[str]:
    """Lock the models whose files follow from their entries, and drop what is declared no more.

    Returns:
        What was done and what could not be asked, a line each.

    Raises:
        ModelmakeError: As `lock`.
    """
    if project.is_read_only:
        refuse_stale(project)
    dead: Dead = {}
    probers: list[Prober] = []
    with _opened(project, transport) as found:

        def locked(each: Declared, before: LockedModel | None) -> LockedModel:
            prober = Prober(found, each.name, source_for(each.entry), dead)
            probers.append(prober)
            prober.pinned = (
                frozenset(e.path for e in before.files if e.is_pinned) if before else frozenset()
            )
            assert each.outlined is not None
            if before and is_current(project, each) and not wish.upgrade:
                return resolve.fill(before, prober)
            return resolve.lock_model(each.outlined, before, prober, upgrade=wish.upgrade)

        known = [each for each in project.declared if each.outlined]
        wanted = [each for each in known if wish.is_about(each.name)]
        return relock(project, wanted, locked, wish) + notices(probers)


def lock_asked(
    project: Project, each: Declared, session: Session, wish: Wish = CURRENT
) -> list[str]:
    """Lock one model whose provider has to be asked; does nothing for any other.

    Args:
        project: Whose lock.
        each: The model.
        session: What asks, tells of each wait, and ends it.
        wish: Whether to ask also where models.lock is current, and to go back.

    Returns:
        What was done, a line each.

    Raises:
        ModelmakeError: As `lock`.
    """
    source = asking_source_for(each.entry)
    if source is None or each.outlined:
        return []
    if project.is_read_only:
        refuse_stale(project)
    if project.settings.is_offline:
        raise Offline(
            f"Only its provider knows the files of {each.name}, and MODELMAKE_OFFLINE is set.",
            hint="Run `doit lock` where there is a network, and commit models.lock.",
        )
    asker = session.asker(each.name, project.settings)

    def locked(each: Declared, before: LockedModel | None) -> LockedModel:
        asked = resolve.ask(each.name, each.entry, source, asker)
        after = resolve.keep_first_pins(asked, before)
        if before and not wish.allow_downgrade and (why := lock_changes.why_older(before, after)):
            raise _downgrade(each.name, why)
        return after

    return relock(project, [each], locked, wish)


def _downgrade(name: str, why: str) -> LockError:
    return LockError(
        f"it would go back: {why}.",
        hint=f"If that is meant: `doit lock --upgrade --allow-downgrade {name}`.",
    )


@contextmanager
def _opened(project: Project, transport: Transport | None) -> Iterator[Transport]:
    if transport is not None:
        yield transport
        return
    with closing(Transport(project.settings)) as own:
        yield own


def _why_unknown(each: Declared) -> str:
    try:
        source_for(each.entry)
    except ModelmakeError as error:
        return str(error)
    raise AssertionError(each.name)


def _not_locked(project: Project, failures: Sequence[tuple[str, ModelmakeError]]) -> ModelmakeError:
    if len(failures) == 1:
        name, error = failures[0]
        is_locked = is_current(project, project.named(name))
        what = "stays as it was locked" if is_locked else "is not locked"
        return LockError(f"{name} {what}: {error}", hint=error.hint)
    hints = {error.hint for _, error in failures}
    told = [line for name, error in failures for line in _failure_lines(name, error, hints)]
    heading = f"{len(failures)} models could not be locked; the others are."
    return LockError("\n".join([heading, *told]), hint=hints.pop() if len(hints) == 1 else "")


def _failure_lines(name: str, error: ModelmakeError, hints: set[str]) -> list[str]:
    """Return a failure and its hint; without the hint where it is everybody's."""
    has_own_hint = error.hint and len(hints) > 1
    return [f"  {name}: {error}", *[f"    {error.hint}"] * bool(has_own_hint)]
