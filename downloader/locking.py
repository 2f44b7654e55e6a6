"""The act of locking: ask for what models.yaml leaves open, and write models.lock.

What follows from an entry alone is locked even where no server answers (probing.py). A model whose
files only its provider can tell is locked when that answers; until then the others are.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager

from downloader import resolve
from downloader.declared import Declared
from downloader.errors import Interrupted, LockError, ModelmakeError, Offline
from downloader.lockfile import LockedModel
from downloader.model import Model
from downloader.probing import Dead, Prober
from downloader.project import Project
from downloader.relocking import is_current, relock
from downloader.sources.registry import asking_source_for, source_for
from downloader.transfer.asking import Session
from downloader.transfer.transport import Transport

SIGNAL_SECONDS = 0.5
"""A wait without a limit is ended by no signal on Windows."""


def lock(
    project: Project, session: Session, say: Callable[[str], None], *, upgrade: bool = False
) -> bool:
    """Bring models.lock up to date with models.yaml; moves no bodies.

    First what follows from the entries; then every provider is asked at once, so that none that
    is waited for holds up another. Each model is written, and told, as it comes.

    Args:
        project: Whose lock.
        session: What asks the servers, and ends it all.
        say: Told what was done and what could not be asked, a line each; in this thread.
        upgrade: Ask also for what was pinned on first use, and for what a provider has now.

    Returns:
        Whether there was anything to say.

    Raises:
        LockError: It would change, and may not be written.
        SettingError: An environment variable has an unusable value.
        StoreError: The disk refused.
        Interrupted: The session was ended.
        ModelmakeError: A provider could not tell what a model is; the others are locked.
    """
    lines = lock_outlined(project, session.transport, upgrade=upgrade) + _left_out(project)
    _tell(lines, say)
    wanted = [each for each in project.declared if _must_ask(project, each, upgrade=upgrade)]
    failures: list[tuple[str, ModelmakeError]] = []
    with closing(_asked_at_once(project, wanted, session, upgrade=upgrade)) as ended:
        for name, result in ended:
            try:
                _tell(result.result(), say)
            except Interrupted:
                raise
            except ModelmakeError as error:
                failures.append((name, error))
    if failures:
        raise _not_locked(sorted(failures, key=lambda each: each[0]))
    return bool(lines or wanted)


def _tell(lines: Iterable[str], say: Callable[[str], None]) -> None:
    for line in lines:
        say(line)


def _left_out(project: Project) -> list[str]:
    unknown = [each for each in project.declared if not each.is_known]
    return [f"{each.name} is left out: {_why_unknown(each)}" for each in unknown]


def _must_ask(project: Project, each: Declared, *, upgrade: bool) -> bool:
    is_asked = each.is_known and not each.outlined
    return is_asked and (upgrade or not is_current(project, each))


def _asked_at_once(
    project: Project, wanted: Sequence[Declared], session: Session, *, upgrade: bool
) -> Generator[tuple[str, Future[list[str]]], None, None]:
    """Lock each model in a thread of its own; give its name and its end, in order of ending."""
    with ThreadPoolExecutor(max(1, len(wanted))) as pool:
        try:
            names = {
                pool.submit(lock_asked, project, each, session, upgrade=upgrade): each.name
                for each in wanted
            }
            while names:
                for done in wait(names, SIGNAL_SECONDS, FIRST_COMPLETED).done:
                    yield names.pop(done), done
        except BaseException:
            session.end()
            raise


def lock_outlined(
    project: Project, transport: Transport | None = None, *, upgrade: bool = False
) -> list[str]:
    """Lock the models whose files follow from their entries, and drop what is declared no more.

    Returns:
        What was done and what could not be asked, a line each.

    Raises:
        ModelmakeError: As `lock`.
    """
    if project.is_read_only:
        check(project)
    dead: Dead = {}
    with _opened(project, transport) as found:

        def locked(each: Declared, before: LockedModel | None) -> tuple[LockedModel, list[str]]:
            prober = Prober(found, each.name, source_for(each.entry), dead)
            assert each.outlined is not None
            after = resolve.lock_model(each.outlined, before, prober, upgrade=upgrade)
            return after, prober.notices

        outlined = [each for each in project.declared if each.outlined]
        return relock(project, outlined, locked, upgrade=upgrade)


def lock_asked(
    project: Project, each: Declared, session: Session, *, upgrade: bool = False
) -> list[str]:
    """Lock one model whose provider has to be asked; does nothing for any other.

    Args:
        project: Whose lock.
        each: The model.
        session: What asks, tells of each wait, and ends it.
        upgrade: Ask also where models.lock is current.

    Returns:
        What was done, a line each.

    Raises:
        ModelmakeError: As `lock`.
    """
    source = asking_source_for(each.entry)
    if source is None or each.outlined:
        return []
    if project.is_read_only:
        check(project)
    if project.settings.is_offline:
        raise Offline(
            f"Only its provider knows the files of {each.name}, and MODELMAKE_OFFLINE is set.",
            hint="Run `doit lock` where there is a network, and commit models.lock.",
        )
    asker = session.asker(each.name, project.settings)

    def locked(each: Declared, before: LockedModel | None) -> tuple[LockedModel, list[str]]:
        asked = resolve.ask(each.name, each.entry, source, asker)
        return resolve.keep_first_pins(asked, before), []

    return relock(project, [each], locked, upgrade=upgrade)


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


def _not_locked(failures: list[tuple[str, ModelmakeError]]) -> ModelmakeError:
    if len(failures) == 1:
        name, error = failures[0]
        return LockError(f"{name} is not locked: {error}", hint=error.hint)
    text = "; ".join(f"{name}: {error}" for name, error in failures)
    return LockError(f"{len(failures)} models are not locked: {text}", hint=failures[0][1].hint)


def check(project: Project) -> None:
    """Refuse a lock that is missing or stale; writes nothing.

    Raises:
        LockError: Names the models that models.lock does not know as they are declared.
    """
    name = project.lock_path.name
    wish = f" {project.settings.way_to_write}" if project.is_read_only else ""
    hint = f"Run `doit lock`{wish}, and commit {name}."
    if not project.lock_path.exists():
        raise LockError(f"{name} is missing.", hint=hint)
    stale = [model.name for model in project.models() if _is_stale(model)]
    gone = sorted(project.lockfile.models.keys() - {each.name for each in project.declared})
    said = [
        *(f"{each} {_how_stale(project, each)}" for each in stale),
        *(f"{each} is declared no more" for each in gone),
    ]
    if said:
        raise LockError(f"{name} is stale: {', '.join(said)}.", hint=hint)


def _how_stale(project: Project, name: str) -> str:
    return "changed" if name in project.lockfile.models else "is not locked yet"


def _is_stale(model: Model) -> bool:
    return model.is_stale and model.declared.is_known
