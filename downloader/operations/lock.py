"""Lock models: ask for what models.yaml leaves open, and write models.lock.

What follows from an entry alone is locked even if no server answers; the first download finds out
the rest. A model whose files only its provider knows is locked when the provider answers. Models
are locked in parallel, so that a slow provider does not delay the others.
"""

import functools
import threading
from collections.abc import Callable, Container, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from typing import NamedTuple, TypeVar
from urllib.parse import urlsplit

import msgspec

from downloader.artifact import Artifact, LockedModel, check_paths
from downloader.errors import (
    AccessDenied,
    ConnectionLost,
    Interrupted,
    LockError,
    ModelmakeError,
    NotFound,
    Offline,
    SettingError,
    TimedOut,
)
from downloader.network.api import Session, probe
from downloader.network.client import Client
from downloader.project import changes, resolve
from downloader.project.project import (
    Declaration,
    Project,
    check_current,
    refuse_stale,
)
from downloader.sources.interface import Source
from downloader.sources.registry import asking_source_for
from downloader.urls import Location, origin, redact

SIGNAL_SECONDS = 0.5
"""On Windows no signal ends a wait without a limit."""
MOST_THREADS = 256

T = TypeVar("T")


def run_concurrently(
    acts: Mapping[str, Callable[[], T]], end: Callable[[], None]
) -> Generator[tuple[str, Future[T]], None, None]:
    """Run every act; yield its name and its result, in the order in which they end.

    Args:
        acts: By name.
        end: Ends the acts that still run; called if the caller stops early.
    """
    with ThreadPoolExecutor(min(MOST_THREADS, max(1, len(acts)))) as pool:
        try:
            names = {pool.submit(act): name for name, act in acts.items()}
            while names:
                for done in wait(names, SIGNAL_SECONDS, FIRST_COMPLETED).done:
                    yield names.pop(done), done
        except BaseException:
            end()
            raise


_putting = threading.Lock()

Locked = Callable[[Declaration, LockedModel | None], LockedModel]


class LockOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Selection of what to lock.

    Attributes:
        names: The models; all if empty. The others stay as they are locked.
        upgrade: Ask again for files pinned on first use, and for what a provider has now.
        allow_downgrade: Accept what is older than the lock.
        fills: Ask for sizes that were unknown when the model was locked.
    """

    names: tuple[str, ...] = ()
    upgrade: bool = False
    allow_downgrade: bool = False
    fills: bool = False

    def is_about(self, name: str) -> bool:
        """Whether a model is meant."""
        return not self.names or name in self.names

    def is_open(self, before: LockedModel | None) -> bool:
        """Whether to look at a model again although its lock entry is current."""
        is_unknown = before is not None and any(each.size is None for each in before.files)
        return self.upgrade or (self.fills and is_unknown)


CURRENT = LockOptions()
"""Only what is stale is locked."""


def relock(
    project: Project,
    wanted: Iterable[Declaration],
    locked: Locked,
    options: LockOptions,
    incomplete: Container[str] = (),
) -> list[str]:
    """Lock those of the wanted models that are stale.

    Args:
        project: Whose lock.
        wanted: The models.
        locked: Returns a model's new lock entry, given the old one.
        options: Whether to lock also what is current; and whether about all models, so that those
            that are no longer declared are dropped.
        incomplete: Models with a file that cannot be downloaded, as `locked` finds them.

    Returns:
        What was done, a line each.

    Raises:
        LockError: Two models would write one file, or the lock may not be written.
        StoreError: The disk refused.
    """
    models: dict[str, LockedModel] = {}
    lines: list[str] = []
    for each in wanted:
        before = project.lockfile.models.get(each.name)
        if project.is_current(each) and not options.is_open(before):
            continue
        models[each.name] = locked(each, before)
        is_incomplete = each.name in incomplete
        lines += changes.lines(each.name, before, models[each.name], is_incomplete=is_incomplete)
    with _putting:
        _check_targets(project, models)
        had = set(project.lockfile.models)
        project.put_locked(models, drops=not options.names)
        dropped = sorted(had - project.lockfile.models.keys())
    return [*lines, *(f"dropped {name}: no longer in models.yaml" for name in dropped)]


def _check_targets(project: Project, models: Mapping[str, LockedModel]) -> None:
    """Refuse two models that would write one file, once their files are known.

    Raises:
        LockError: Names both targets.
    """
    current = [each for each in project.declared if project.is_current(each)]
    locked = {each.name: project.lockfile.models[each.name] for each in current} | dict(models)
    targets = [
        f"{project.named(name).folder}/{artifact.path}"
        for name, each in locked.items()
        for artifact in (*each.archives, *each.files)
    ]
    if problem := check_paths(targets):
        raise LockError(f"{problem}.", hint="Give one of the models another `to`.")


def lock_offline(project: Project) -> None:
    """Lock the models whose files are all pinned without asking a server.

    Raises:
        ModelmakeError: models.lock may not be written.
    """
    locked = {
        each.name: resolve.lock_model(
            each.outlined, project.lockfile.models.get(each.name), list, upgrade=False
        )
        for each in stale(project)
        if each.outlined
    }
    write_locked(project, {n: m for n, m in locked.items() if all(f.is_pinned for f in m.files)})


def stale(project: Project) -> Iterator[Declaration]:
    """Yield the models whose entry models.lock does not follow yet."""
    return (each for each in project.declared if not project.is_current(each))


def write_locked(project: Project, models: Mapping[str, LockedModel]) -> list[str]:
    """Write models into models.lock that are locked already; return what was done, a line each.

    Raises:
        ModelmakeError: As `lock`.
    """
    if not models:
        return []
    wanted = [each for each in project.declared if each.name in models]
    return relock(project, wanted, lambda each, _before: models[each.name], CURRENT)


PROBES_AT_ONCE = 32
"""How many files of a model are asked about at once, if MODELMAKE_CONNECTIONS is not less."""

FINAL = (NotFound, AccessDenied)
"""Answers, not silence: asking again changes nothing."""
DeadOrigins = dict[tuple[str, str, int], ModelmakeError]
"""Origins that did not answer in this run, with their errors."""


class Failure(NamedTuple):
    """Why no server answered for one file.

    Attributes:
        path: The file.
        error: The error of its first URL.
        blamed: What the failure is reported under: one dead host fails files of many models.
        what: What that means for models.lock, in words.
        is_final: Whether no server has the file for us; otherwise the next run may find it.
    """

    path: str
    error: ModelmakeError
    blamed: object
    what: str
    is_final: bool


class Prober:
    """Ask servers about one model's files, several at once; a dead host is asked once."""

    def __init__(self, transport: Client, name: str, source: Source, dead: DeadOrigins) -> None:
        self.name = name
        self._transport, self._source = transport, source
        self._dead = dead
        self.asked: set[str] = set()
        """Paths of the files that were asked about."""
        self.failures: list[Failure] = []
        self.pinned: frozenset[str] = frozenset()
        """Paths of files that stay pinned if no server answers."""
        self.seen: frozenset[str] = frozenset()
        """Paths of pinned files that a server had before."""

    def __call__(self, artifacts: Sequence[Artifact]) -> list[Artifact]:
        """Return the artifacts, in order, with what the servers say about them."""
        if not artifacts:
            return []
        self.asked |= {each.path for each in artifacts}
        at_once = min(PROBES_AT_ONCE, self._transport.settings.connections, len(artifacts))
        with ThreadPoolExecutor(at_once) as pool:
            return list(pool.map(self._probe, artifacts))

    def _probe(self, artifact: Artifact) -> Artifact:
        failed: list[tuple[Location, ModelmakeError]] = []
        for location in self._source.locate(artifact, None):
            try:
                found = self._asked(artifact, location)
            except Interrupted:
                raise
            except ModelmakeError as error:
                failed.append((location, error))
            else:
                # Another host's validator is another, whatever the bytes are.
                return msgspec.structs.replace(found, etag=None) if failed else found
        if failed:
            is_final = all(isinstance(error, FINAL) for _, error in failed)
            is_final = is_final and artifact.path not in self.seen
            self.failures.append(self._failure(artifact.path, *failed[0], is_final=is_final))
        return artifact

    def _failure(
        self, path: str, location: Location, error: ModelmakeError, *, is_final: bool
    ) -> Failure:
        place, what = origin(location.url), "cannot be downloaded" if is_final else "size unknown"
        if path in self.pinned and not is_final:
            gone = "no longer there" if isinstance(error, NotFound) else "not checked"
            what = f"{gone}, and stays pinned"
        blamed = place if place in self._dead else (self.name, type(error))
        return Failure(path, error, (blamed, what), what, is_final)

    def _asked(self, artifact: Artifact, location: Location) -> Artifact:
        place = origin(location.url)
        if place in self._dead:
            raise self._dead[place]
        try:
            return probe(self._transport, artifact, location)
        except (ConnectionLost, TimedOut) as error:
            # It stands for other files and models too, so it names the server alone.
            server = urlsplit(location.url)._replace(path="", query="", fragment="").geturl()
            what = str(error).replace(redact(location.url), redact(server))
            raise self._dead.setdefault(place, type(error)(what, hint=error.hint)) from None


def notices(probers: Iterable[Prober]) -> list[str]:
    """Return a line for each cause of failure, with its first error."""
    blamed: dict[object, list[tuple[str, Failure]]] = {}
    for prober in probers:
        for failure in sorted(prober.failures, key=lambda each: each.path):
            blamed.setdefault(failure.blamed, []).append((prober.name, failure))
    return [
        f"  {_files_text(files)}: {files[0][1].what}: {files[0][1].error}"
        for files in blamed.values()
    ]


def _files_text(files: Sequence[tuple[str, Failure]]) -> str:
    name, first = files[0]
    models = len({each for each, _ in files})
    more = f" and {len(files) - 1:,} more" * (len(files) > 1)
    return f"{name}/{first.path}{more}{f' of {models:,} models' * (models > 1)}"


def lock(
    project: Project, session: Session, say: Callable[[str], None], options: LockOptions = CURRENT
) -> bool:
    """Bring models.lock up to date with models.yaml; moves no bodies.

    First what follows from the entries; then all providers are asked in parallel. Each model is
    written and reported when it is done.

    Args:
        project: Whose lock.
        session: Asks the servers; ending it ends everything.
        say: Called in this thread with a line for each thing done, or that could not be asked.
        options: Which models, and whether to look upstream for those that are current.

    Returns:
        Whether there was anything to say.

    Raises:
        LockError: It would change, and may not be written; or would go back.
        SettingError: An environment variable has an unusable value.
        StoreError: The disk refused.
        Interrupted: The session was ended.
        ModelmakeError: There is no model of a name; or a provider could not tell what a model is,
            or no server has a file, and everything else is locked.
    """
    for name in options.names:
        project.named(name)
    if project.is_read_only:
        check_current(project, options.names)
        _refuse_upgrade(project, options)
        return False
    lines, absent = _lock_outlined(project, session.transport, options)
    _tell(lines, say)
    wanted = [each for each in project.declared if _must_ask(project, each, options)]
    acts = {
        one.name: functools.partial(lock_asked, project, one, session, options) for one in wanted
    }
    if failures := _failures(run_concurrently(acts, session.end), say):
        raise _not_locked(project, sorted(failures, key=lambda each: each[0]))
    if absent:
        raise _absent(absent)
    return bool(lines or wanted)


def _failures(
    asked: Generator[tuple[str, Future[list[str]]], None, None], say: Callable[[str], None]
) -> list[tuple[str, ModelmakeError]]:
    """Report each model when it is locked, and return those that could not be."""
    failures: list[tuple[str, ModelmakeError]] = []
    with closing(asked) as ended:
        for name, result in ended:
            try:
                _tell(result.result(), say)
            except (Interrupted, SettingError):
                raise
            except ModelmakeError as error:
                failures.append((name, error))
    return failures


def _refuse_upgrade(project: Project, options: LockOptions) -> None:
    settings = project.settings
    if options.upgrade:
        raise LockError(
            f"{project.lock_path.name} may change, and {settings.who_forbids} forbids it.",
            hint=f"{project.advice('`doit lock --upgrade`')} `doit outdated` only looks.",
        )


def _tell(lines: Iterable[str], say: Callable[[str], None]) -> None:
    for line in lines:
        say(line)


def _must_ask(project: Project, each: Declaration, options: LockOptions) -> bool:
    is_asked = not each.outlined and options.is_about(each.name)
    return is_asked and (options.upgrade or not project.is_current(each))


def lock_outlined(project: Project, client: Client, options: LockOptions = CURRENT) -> list[str]:
    """Lock the models whose files follow from their entries; drop those no longer declared.

    A file that no server has is left to its download, which fails alone.

    Returns:
        What was done and what could not be asked, a line each.

    Raises:
        ModelmakeError: As `lock`.
    """
    return _lock_outlined(project, client, options)[0]


def _lock_outlined(
    project: Project, client: Client, options: LockOptions
) -> tuple[list[str], list[str]]:
    """Return what `lock_outlined` does, and the `MODEL/PATH` of files that no server has."""
    if project.is_read_only:
        refuse_stale(project)
    dead: DeadOrigins = {}
    probers: list[Prober] = []
    incomplete = set[str]()

    def locked(each: Declaration, before: LockedModel | None) -> LockedModel:
        prober = Prober(client, each.name, each.entry.source(), dead)
        probers.append(prober)
        pinned = [file for file in before.files if file.is_pinned] if before else []
        prober.pinned = frozenset(file.path for file in pinned)
        prober.seen = frozenset(file.path for file in pinned if file.size is not None)
        assert each.outlined is not None
        if before and project.is_current(each) and not options.upgrade:
            after = resolve.fill(before, prober)
        else:
            after = resolve.lock_model(each.outlined, before, prober, upgrade=options.upgrade)
        if any(failure.is_final for failure in prober.failures):
            incomplete.add(each.name)
        return after

    known = [each for each in project.declared if each.outlined]
    wanted = [each for each in known if options.is_about(each.name)]
    lines = relock(project, wanted, locked, options, incomplete) + notices(probers)
    absent = [
        f"{one.name}/{each.path}" for one in probers for each in one.failures if each.is_final
    ]
    return lines, sorted(absent)


def _absent(files: Sequence[str]) -> LockError:
    more = f" and {len(files) - 1:,} more" * (len(files) > 1)
    return LockError(
        f"{files[0]}{more} cannot be downloaded; everything else is locked.",
        hint="Correct the URL in models.yaml, add a mirror, or get access to the file.",
    )


def lock_asked(
    project: Project, each: Declaration, session: Session, options: LockOptions = CURRENT
) -> list[str]:
    """Lock one model whose provider has to be asked; do nothing for any other.

    Args:
        project: Whose lock.
        each: The model.
        session: Asks, reports each wait, and can end it.
        options: Whether to ask although models.lock is current, and to accept what is older.

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
    asker = session.asker(each.name)

    def locked(each: Declaration, before: LockedModel | None) -> LockedModel:
        asked = resolve.ask(each.name, each.entry, source, asker)
        after = resolve.keep_first_pins(asked, before)
        if before and not options.allow_downgrade and (why := changes.why_older(before, after)):
            raise _downgrade(each.name, why)
        return after

    return relock(project, [each], locked, options)


def _downgrade(name: str, why: str) -> LockError:
    return LockError(
        f"it would go back: {why}.",
        hint=f"If that is meant: `doit lock --upgrade --allow-downgrade {name}`.",
    )


def _not_locked(project: Project, failures: Sequence[tuple[str, ModelmakeError]]) -> ModelmakeError:
    if len(failures) == 1:
        name, error = failures[0]
        is_locked = project.is_current(project.named(name))
        what = "stays as it was locked" if is_locked else "is not locked"
        return LockError(f"{name} {what}: {error}", hint=error.hint)
    hints = {error.hint for _, error in failures}
    told = [line for name, error in failures for line in _failure_lines(name, error, hints)]
    heading = f"{len(failures)} models could not be locked; the others are."
    return LockError([heading, *told], hint=hints.pop() if len(hints) == 1 else "")


def _failure_lines(name: str, error: ModelmakeError, hints: set[str]) -> list[str]:
    """Return a failure and its hint; without the hint if all failures share it."""
    has_own_hint = error.hint and len(hints) > 1
    return [f"  {name}: {error}", *[f"    {error.hint}"] * bool(has_own_hint)]
