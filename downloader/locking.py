"""The act of locking: ask the servers for what models.yaml leaves open, and write models.lock.

A server that does not answer stops nothing here: its files are locked without what it would have
said, and their fetch will tell. So one lock serves offline machines and half-dead mirrors.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from downloader.artifact import Artifact, Location
from downloader.declared import Declared
from downloader.errors import ConnectionLost, Interrupted, LockError, ModelmakeError, TimedOut
from downloader.lockfile import LockedModel, Lockfile
from downloader.project import Project
from downloader.resolve import lock_model
from downloader.sources.interface import Source
from downloader.sources.registry import source_for
from downloader.transfer.probe import probe
from downloader.transfer.transport import Transport
from downloader.urls import origin

PROBES_AT_ONCE = 8

Dead = dict[tuple[str, str, int], ModelmakeError]
"""Origins that did not answer in this run, each with how they failed."""


class Prober:
    """Asks servers about artifacts, several at once, and no more once a host proved dead."""

    def __init__(self, transport: Transport, name: str, source: Source, dead: Dead) -> None:
        self._transport, self._name, self._source = transport, name, source
        self._dead = dead
        self._unasked: list[tuple[str, ModelmakeError]] = []

    @property
    def notices(self) -> list[str]:
        """What could not be asked: one line with the first reason, none when all went well."""
        if not self._unasked:
            return []
        path, error = min(self._unasked, key=lambda each: each[0])
        others = f" and {len(self._unasked) - 1} more" * (len(self._unasked) > 1)
        return [f"  {self._name}/{path}{others}: not known yet: {error}"]

    def __call__(self, artifacts: Sequence[Artifact]) -> list[Artifact]:
        """Return the artifacts, in order, with what the servers say of them."""
        if not artifacts:
            return []
        with ThreadPoolExecutor(PROBES_AT_ONCE) as pool:
            return list(pool.map(self._probe, artifacts))

    def _probe(self, artifact: Artifact) -> Artifact:
        failure: ModelmakeError | None = None
        for location in self._source.locate(artifact):
            try:
                return self._asked(artifact, location)
            except Interrupted:
                raise
            except ModelmakeError as error:
                failure = failure or error
        if failure:
            self._unasked.append((artifact.path, failure))
        return artifact

    def _asked(self, artifact: Artifact, location: Location) -> Artifact:
        place = origin(location.url)
        if place in self._dead:
            raise self._dead[place]
        try:
            return probe(self._transport, artifact, (location,))
        except (ConnectionLost, TimedOut) as error:
            self._dead[place] = error
            raise


def lock(
    project: Project, transport: Transport | None = None, *, upgrade: bool = False
) -> list[str]:
    """Bring models.lock up to date with models.yaml; moves no bodies.

    Args:
        project: Whose lock.
        transport: What asks the servers, so that another can interrupt it; its own when None.
        upgrade: Ask also for what was pinned on first use.

    Returns:
        What was done and what could not be asked, a line each.

    Raises:
        LockError: It would change, and may not be written.
        SettingError: An environment variable has an unusable value.
        StoreError: The disk refused.
    """
    own = Transport(project.settings)
    try:
        return _lock(project, transport or own, upgrade=upgrade)
    finally:
        own.close()


def _lock(project: Project, transport: Transport, *, upgrade: bool) -> list[str]:
    if project.is_read_only:
        check(project)
    models: dict[str, LockedModel] = {}
    lines: list[str] = []
    dead: Dead = {}
    for each in project.declared:
        before = project.lockfile.models.get(each.name)
        if each.outlined is None:
            lines.append(f"{each.name} is left out: {_why_unknown(each)}")
            continue
        if before is not None and before.entry == each.digest and not upgrade:
            models[each.name] = before
            continue
        prober = Prober(transport, each.name, source_for(each.entry), dead)
        models[each.name] = lock_model(each.outlined, before, prober, upgrade=upgrade)
        lines += [_line(each.name, before, models[each.name]), *prober.notices]
    project.replace_lock(Lockfile(models=models))
    return lines


def check(project: Project) -> None:
    """Refuse a lock that is missing or stale; writes nothing.

    Raises:
        LockError: Names the models that models.lock does not know as they are declared.
    """
    name = project.lock_path.name
    wish = " without MODELMAKE_LOCKED" if project.settings.is_locked else ""
    hint = f"Run `doit lock`{wish}, and commit {name}."
    if not project.lock_path.exists():
        raise LockError(f"{name} is missing.", hint=hint)
    stale = [model.name for model in project.models() if model.is_stale and model.locked]
    gone = sorted(project.lockfile.models.keys() - {each.name for each in project.declared})
    said = [
        *(f"{each} changed" for each in stale),
        *(f"{each} is declared no more" for each in gone),
    ]
    if said:
        raise LockError(f"{name} is stale: {', '.join(said)}.", hint=hint)


def _why_unknown(each: Declared) -> str:
    try:
        source_for(each.entry)
    except ModelmakeError as error:
        return str(error)
    return "nothing is known of its files yet."


def _line(name: str, before: LockedModel | None, after: LockedModel) -> str:
    verb = "locked" if before is None else "same" if before.files == after.files else "changed"
    sizes = [artifact.size for artifact in after.files]
    known = sum(size for size in sizes if size is not None)
    total = f"{known:,} bytes" if None not in sizes else f"{known:,} bytes or more"
    unpinned = sum(not artifact.is_pinned for artifact in after.files)
    wait = f", {unpinned} to be pinned on first use" if unpinned else ""
    return f"{verb} {name}: {len(sizes)} files, {total}{wait}"
