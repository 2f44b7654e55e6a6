"""Fetch one file: bring an artifact from its locations to verified bytes under the target's name.

For each location in order: take over the partial, ask for what is missing, receive it, and on a
transient failure go on from there; then verify, and commit. One state machine:

    another process has it? wait, look again
    have all bytes?  -> verify -> commit
    have some        -> GET with Range and If-Match
                          206 of the same version   -> append
                          200                       -> start over with this very reply
                          412, SHA-256 known        -> ask without If-Match: the digest decides
                          412, 416, another version -> ask again, alone; then start over, once
                          a 206 not asked for       -> start over, once
    have none        -> GET

What there is stays on disk until a new start brings the whole file.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from downloader.artifact import Artifact
from downloader.errors import (
    IntegrityError,
    Interrupted,
    ModelmakeError,
    NotFound,
    SourceError,
    StoreError,
    TransferError,
)
from downloader.fs.commit import Commit
from downloader.fs.digests import Layer
from downloader.fs.locks import LockWait, partial_path, wait_until_free
from downloader.fs.open_file import OpenFile
from downloader.fs.rooted_path import RootedPath
from downloader.fs.space import DiskBudget
from downloader.network.client import Client
from downloader.progress.events import Observer
from downloader.transfer._attempt import Download
from downloader.transfer._concurrency import Limiters, Throttle
from downloader.transfer._journal import binding_for
from downloader.transfer._small import SmallPartial, TooLarge
from downloader.transfer.partial import Partial
from downloader.urls import Location, redact

if TYPE_CHECKING:
    from downloader.transfer._exchange import Exchange
    from downloader.transfer.swarm import Swarm


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One file to fetch.

    Attributes:
        artifact: What is wanted.
        locations: Where it may be had, best first. The next one is asked for when it is needed,
            and asking may fail.
        target: The final name.
        workspace: Private folder, on the target's file system as a rule, for partials and what is
            set aside.
        found: Called when no other process can be at the file, before anything is asked
            for, if something is at the target: the SHA-256 of a target that one of them
            made right meanwhile, else None.
        placed: Called with the target's SHA-256 once it is in place, while the others wait; and
            with the file, if it is still open.
        layer: The file's piece layer, if models.lock has its root and the layer is here.
        is_small_and_alone: Whether it is expected to fit into memory, and no other process can be
            at these bytes meanwhile.
        is_fresh: Whether a look told a moment ago that there is neither a target nor a partial.
        failed: Told about a place that could not give it, before the next one is asked.
        anywhere: Whether a partial is completed from whichever place: its SHA-256 decides.
        why_alone: Why its pieces are not exchanged with peers, for people; empty if they are, or
            if that goes without saying.
    """

    artifact: Artifact
    locations: Iterable[Location]
    target: RootedPath
    workspace: RootedPath
    found: Callable[[], str | None] = lambda: None
    placed: Callable[[str, OpenFile | None], object] = lambda _sha256, _opened: None
    layer: Layer | None = None
    is_small_and_alone: bool = False
    is_fresh: bool = False
    failed: Callable[[Location, ModelmakeError], None] = lambda _location, _error: None
    anywhere: bool = False
    why_alone: str = ""

    @property
    def partial(self) -> RootedPath:
        """Where the file grows, as a rule."""
        return partial_path(self.workspace, self.artifact.path)


class Fetched(msgspec.Struct, frozen=True, kw_only=True):
    """What a fetch brought: now at the target, and verified."""

    size: int
    sha256: str
    moved_bytes: int
    """Bytes of this file that were downloaded in this run."""
    is_new: bool = True
    """Whether it was put there now, and not found there."""
    place: str = ""
    """The SHA-256 of the URL that gave it; empty if a credential was sent, or versions may mix."""
    validator: str | None = None
    """The strong ETag that the URL had then."""
    etag: str | None = None
    """The validator that the first location gave; None if the bytes came from elsewhere."""
    md5: str | None = None
    """The MD5 that a server published, in hex; it was compared."""


class Fetcher:
    """Fetches files with one pool of connections and one policy; safe to share between threads.

    Args:
        transport: Opens the connections. Its stop ends every transfer; what arrived is kept.

    Attributes:
        swarm: The peers with which pieces are exchanged, once there are any.
    """

    def __init__(self, transport: Client) -> None:
        settings = transport.settings
        self._transport = transport
        self.swarm: Swarm | None = None
        self._budget = DiskBudget(is_watched=settings.is_preflight and not settings.is_offline)
        self._throttle = Throttle(settings.limit_rate)
        self._limiters = Limiters(settings.connections, self._throttle)

    def plan(self, files: Iterable[tuple[RootedPath, Artifact]]) -> None:
        """Claim room for the files of a run, as far as their sizes are known.

        Args:
            files: Each one's workspace, and what is wanted.

        Raises:
            StoreError: They do not all fit on the disk.
        """
        self._budget.plan(
            (partial_path(workspace, artifact.path), artifact.size)
            for workspace, artifact in files
            if artifact.size is not None
        )

    def release(self, workspace: RootedPath, artifact: Artifact) -> None:
        """Give up what `plan` claimed for a file: it is there, or will not come."""
        self._budget.release(partial_path(workspace, artifact.path))

    def fetch(self, job: Job, observer: Observer | None = None) -> Fetched:
        """Bring the artifact to its target.

        Raises:
            ModelmakeError: No location could give the right bytes; the target is as it was.
        """
        failures: list[tuple[Location, ModelmakeError]] = []
        try:
            with Commit(job.target, is_free=job.is_fresh) as place:
                for location in _each(job.locations, failures):
                    try:
                        done = self._fetch_from(job, place, location, observer or Observer())
                    except (Interrupted, StoreError):
                        raise
                    except ModelmakeError as error:
                        failures.append((location, error))
                        job.failed(location, error)
                        job = replace(job, is_fresh=False)  # a partial may be there now
                    else:
                        is_first = not failures and not location.mirror
                        return done if is_first else replace(done, etag=None)
        finally:
            self.release(job.workspace, job.artifact)
        try:
            raise _combined(job.artifact, failures)
        finally:
            del failures  # it holds the error, whose traceback holds this frame: a cycle

    def _fetch_from(
        self, job: Job, place: Commit, location: Location, observer: Observer
    ) -> Fetched:
        """Fetch from one location; raises ModelmakeError as `fetch`."""
        lock_wait = LockWait(self._transport.stop, observer.notice)
        wanted = job.partial.parent, binding_for(job.artifact, location), lock_wait, self._budget
        is_small = job.is_small_and_alone and (job.is_fresh or not os.path.lexists(job.partial))
        try:
            with (
                SmallPartial(*wanted)
                if is_small
                else Partial(*wanted, job.layer, anywhere=job.anywhere)
            ) as partial:
                is_there = not is_small and wait_until_free(job.target, lock_wait)
                if is_there and (sha256 := job.found()):
                    partial.reset()
                    job.placed(sha256, None)
                    size = job.target.lstat().st_size
                    return Fetched(size=size, sha256=sha256, moved_bytes=0, is_new=False)
                partial.claim_room()
                partial.seed(job.target)
                exchange = self._joined(job, partial, observer)
                try:
                    download = Download(
                        transport=self._transport,
                        limiter=self._limiters.of(location.url),
                        artifact=job.artifact,
                        location=location,
                        observer=observer,
                        partial=partial,
                        exchange=exchange,
                    )
                    try:
                        download.run()
                    except IntegrityError as error:
                        raise partial.set_aside(job.workspace, _advised(error, location)) from None
                    partial.commit(place)
                    if self.swarm and exchange:
                        self.swarm.moved(exchange, job.target)
                    job.placed(partial.verifier.sha256, partial.placed_file)
                finally:
                    if self.swarm and exchange:
                        self.swarm.left(exchange)
                return _fetched(download, exchange.came_bytes if exchange else 0)
        except TooLarge:
            job = replace(job, is_small_and_alone=False)
            return self._fetch_from(job, place, location, observer)

    def _joined(self, job: Job, partial: Partial, observer: Observer) -> "Exchange | None":
        """Begin to exchange the file's pieces with peers, if it has pieces."""
        if self.swarm and job.why_alone:
            observer.notice(f"not shared with peers: {job.why_alone}")
        elif self.swarm and job.layer and partial.verifier.has_pieces:
            return self.swarm.join(partial, job.layer, observer, self._throttle)
        return None


def _fetched(download: Download, from_peers_bytes: int) -> Fetched:
    """Return what a download brought whose file is in place."""
    location, partial = download.location, download.partial
    # A pinned file may be resumed across versions: its digest proves the whole.
    is_of_one_version = download.moved_bytes == partial.have or not download.artifact.is_pinned
    is_public = is_of_one_version and not (location.headers or location.mirror)
    return Fetched(
        size=partial.have,
        sha256=partial.verifier.sha256,
        moved_bytes=download.moved_bytes + from_peers_bytes,
        place=partial.wanted.place if is_public else "",
        validator=partial.binding.validator,
        etag=download.etag,
        md5=download.md5,
    )


def _each(
    locations: Iterable[Location], failures: list[tuple[Location, ModelmakeError]]
) -> Iterator[Location]:
    """Yield the locations; an error about the next one says what went wrong before it.

    Raises:
        ModelmakeError: From `locations`.
    """
    try:
        yield from locations
    except ModelmakeError as error:
        told = [each for each in failures if not isinstance(each[1], NotFound)]
        if not failures or (isinstance(error, NotFound) and not told):
            raise
        before = f"Asked before: {_asked(told)}." if told else "No mirror has the file."
        hints = dict.fromkeys(each.hint for _, each in told if each.hint)
        hint = " ".join(hints) or error.hint
        raise type(error)(f"{error} {before}", hint=hint) from None


def _asked(failures: list[tuple[Location, ModelmakeError]]) -> str:
    """Return where it was asked for, each with the reason; a mirror by its own name."""
    return "; ".join(
        _placed(redact(location.mirror or location.url), location.error_text(error))
        for location, error in failures
    )


def _advised(error: IntegrityError, location: Location) -> IntegrityError:
    """Return an error about wrong bytes; the lock must never follow those of a mirror."""
    if not location.mirror:
        return error
    where = "where you have the right one"
    hint = f"Remove the damaged file from the mirror, then run `doit publish` {where}."
    return type(error)(str(error), hint=hint)


def _combined(
    artifact: Artifact, failures: list[tuple[Location, ModelmakeError]]
) -> ModelmakeError:
    """Return the one failure, or one error that names every place that failed."""
    if not failures:
        return SourceError(f"No place is known that serves {artifact.path}.")
    if len(failures) == 1:
        return failures[0][1]
    last = failures[-1][1]
    what = f"None of {len(failures)} places gave {artifact.path}: {_asked(failures)}"
    kind = TransferError if isinstance(last, TransferError) else SourceError
    hints = dict.fromkeys(error.hint for _, error in failures if error.hint)
    return kind(f"{what}.", hint=" ".join(hints))


def _placed(url: str, error: str) -> str:
    """Return an error that names its place, once, and without a full stop."""
    text = error.removesuffix(".")
    return text if url in text else f"{url}: {text}"
