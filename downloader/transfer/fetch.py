"""The conductor: one artifact from its locations to verified bytes under the target's name.

For each location in order: take over the partial, ask for what is missing, receive it, and on a
transient failure go on from there; then verify, and commit. One state machine:

    another process has it? wait, look again
    have all bytes?  -> verify -> commit
    have some        -> GET with Range and If-Match
                          206 of the same version   -> append
                          200                       -> start over with this very reply
                          412, 416, another version,
                          a 206 not asked for       -> start over, once
    have none        -> GET
"""

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from downloader.artifact import Artifact
from downloader.errors import (
    IntegrityError,
    Interrupted,
    ModelmakeError,
    RemoteChanged,
    SourceError,
    Stop,
    StoreError,
    TransferError,
)
from downloader.fs.commit import Place
from downloader.fs.digests import Layer
from downloader.fs.files import naming
from downloader.fs.locks import Turn, partial_path, wait_until_free
from downloader.fs.rooted_path import RootedPath
from downloader.fs.space import Room
from downloader.network.client import Transport, least_bytes
from downloader.network.failures import RetryPolicy, Tally
from downloader.progress.events import Observer
from downloader.settings import Settings
from downloader.transfer._attempt import Receiver
from downloader.transfer._concurrency import Line, Pool, Throttle
from downloader.transfer._expected import UnusableRange
from downloader.transfer._journal import binding_for
from downloader.transfer.partial import Partial
from downloader.urls import Location, redact


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One file to fetch.

    Attributes:
        artifact: What is wanted.
        locations: Where it may be had, best first.
        target: The final name.
        workspace: Private folder, on the target's file system as a rule, for partials and what is
            set aside.
        found: Called when no other process can be at the file any more, before anything is asked
            for: the SHA-256 of a target that one of them made right meanwhile, else None.
        placed: Called with the target's SHA-256 once it is in place, while the others wait.
        layer: Returns the file's piece layer, where models.lock has its root and the layer is here.
    """

    artifact: Artifact
    locations: tuple[Location, ...]
    target: RootedPath
    workspace: RootedPath
    found: Callable[[], str | None] = lambda: None
    placed: Callable[[str], object] = lambda _sha256: None
    layer: Callable[[], Layer | None] = lambda: None

    @property
    def partial(self) -> RootedPath:
        """Where the file grows, as a rule."""
        return partial_path(self.workspace, self.artifact.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """What a fetch brought: now at the target, and verified."""

    size: int
    sha256: str
    moved_bytes: int
    """Bytes of this file that came over the wire in this run."""
    is_new: bool = True
    """Whether it was put there now, and not found there."""


class Fetcher:
    """Fetches files with one pool of connections and one policy; safe to share between threads.

    Args:
        transport: Opens the connections.
        settings: The environment's wishes.
        stop: Set from outside to end every transfer; what arrived is kept.
    """

    def __init__(self, transport: Transport, settings: Settings, stop: Stop | None = None) -> None:
        self._settings = settings
        self._room = Room(is_watched=settings.is_preflight and not settings.is_offline)
        throttle, end = Throttle(settings.limit_rate), stop or Stop()
        self._line = Line(transport, Pool(settings.connections, settings.limit_rate), throttle, end)

    def interrupt(self) -> None:
        """Stop every transfer at once; what arrived is kept."""
        self._line.interrupt()

    def plan(self, files: Iterable[tuple[RootedPath, Artifact]]) -> None:
        """Claim room for the files of a run, as far as their sizes are known.

        Args:
            files: Each one's workspace, and what is wanted.

        Raises:
            StoreError: They do not all fit on the disk.
        """
        self._room.plan(
            (partial_path(workspace, artifact.path).path, artifact.size)
            for workspace, artifact in files
            if artifact.size is not None
        )

    def release(self, workspace: RootedPath, artifact: Artifact) -> None:
        """Give up what `plan` claimed for a file: it is there, or will not come."""
        self._room.release(partial_path(workspace, artifact.path).path)

    def fetch(self, job: Job, observer: Observer | None = None) -> Fetched:
        """Bring the artifact to its target.

        Raises:
            ModelmakeError: No location could give the right bytes; the target is as it was.
        """
        failures: list[tuple[Location, ModelmakeError]] = []
        try:
            place = Place(job.target)
            for location in job.locations:
                try:
                    return self._fetch_from(job, place, location, observer or Observer())
                except (Interrupted, StoreError):
                    raise
                except ModelmakeError as error:
                    failures.append((location, error))
        finally:
            self.release(job.workspace, job.artifact)
        try:
            raise _combined(job.artifact, failures)
        finally:
            del failures  # it holds the error, whose traceback holds this frame: a cycle

    def _fetch_from(
        self, job: Job, place: Place, location: Location, observer: Observer
    ) -> Fetched:
        binding = binding_for(job.artifact, location)
        turn = Turn(self._line.stop, observer.notice)
        with Partial(job.partial.parent, binding, turn, self._room, job.layer()) as partial:
            wait_until_free(job.target, turn)
            if sha256 := job.found():
                partial.reset()
                job.placed(sha256)
                with naming(job.target, "look at"):
                    size = job.target.lstat().st_size
                return Fetched(size=size, sha256=sha256, moved_bytes=0, is_new=False)
            partial.claim_room()
            partial.seed(job.target)
            receiver = Receiver(self._line, job.artifact, location, observer)
            try:
                self._receive_verified(receiver, partial)
            except IntegrityError as error:
                raise partial.set_aside(job.workspace, error) from None
            partial.commit(place)
            sha256 = partial.judge.sha256
            job.placed(sha256)
            return Fetched(size=partial.have, sha256=sha256, moved_bytes=receiver.moved_bytes)

    def _receive_verified(self, receiver: Receiver, partial: Partial) -> None:
        """Fill the partial with verified bytes, starting over once where versions may be mixed.

        Raises:
            IntegrityError: A whole, unmixed download has the wrong bytes.
            TransferError: The bytes did not arrive.
        """
        may_start_over = True
        while True:
            try:
                self._receive_all(receiver, partial)
                receiver.verify(partial)
            except (IntegrityError, UnusableRange) as error:
                is_joined = partial.is_joined and not partial.judge.has_pieces
                is_mixed = is_joined or isinstance(error, (RemoteChanged, UnusableRange))
                if not (may_start_over and is_mixed):
                    raise
                partial.reset()
                may_start_over = False
            else:
                return

    def _receive_all(self, receiver: Receiver, partial: Partial) -> None:
        """Receive what is missing, with patience.

        Raises:
            ModelmakeError: It failed for good, or too often without progress.
        """
        policy = RetryPolicy(self._settings.retries, self._settings.max_wait_seconds)
        tally = Tally(receiver.progress_bytes(partial), least_bytes(self._settings.timeout_seconds))
        while True:
            try:
                receiver.receive(partial)
            except TransferError as error:
                failures = tally.failed(receiver.progress_bytes(partial))
                delay = policy.delay_seconds(error, failures, random.random())  # noqa: S311
                if delay is None:
                    raise
                receiver.observer.waiting(str(error), delay)
                self._line.stop.wait(delay)
            else:
                return


def _combined(
    artifact: Artifact, failures: list[tuple[Location, ModelmakeError]]
) -> ModelmakeError:
    """Return the one failure, or one error that names every place that failed."""
    if not failures:
        return SourceError(f"No place is known that serves {artifact.path}.")
    if len(failures) == 1:
        return failures[0][1]
    last = failures[-1][1]
    places = "; ".join(f"{redact(location.url)}: {error}" for location, error in failures)
    what = f"None of {len(failures)} places gave {artifact.path}: {places}"
    kind = TransferError if isinstance(last, TransferError) else SourceError
    return kind(what, hint=last.hint)
