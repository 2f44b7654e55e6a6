"""Bring one file of the lock up to date: do what `decide` says, note it and pin it."""

import contextlib
import functools
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from downloader.artifact import Artifact
from downloader.errors import Interrupted, ModelmakeError, Offline, StoreError, TransferError
from downloader.fs.files import private_folder, write_file
from downloader.fs.locks import partial_path, remove_unless_held
from downloader.fs.open_file import OpenFile
from downloader.fs.rooted_path import RootedPath
from downloader.network.api import probe
from downloader.network.client import Client
from downloader.progress.events import Done, Observer
from downloader.project import resolve
from downloader.targets._peers import PeerSharing
from downloader.targets.plan import Decision, Planner, Target, decisions
from downloader.targets.shared import FoundFile, KnownLayers
from downloader.targets.state import private_archives
from downloader.transfer.fetch import Fetched, Fetcher, Job
from downloader.transfer.mirrors import Mirrors

if TYPE_CHECKING:
    from downloader.store.blobs import Blob

PIN_EVERY_SECONDS = 2.0


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """Outcome for one target.

    Attributes:
        verb: "fetched", "unpacked", "linked" when the bytes came from the store, "adopted" when
            they were found elsewhere, or "verified" when they were there already.
        size: The target's length in bytes.
        moved_bytes: How many of them were downloaded now.
        seconds: How long it took.
        is_first_use: Whether the SHA-256 was pinned by this.
        note: What else is to be said of it, a few words.
        is_repeat: Whether all of that was said before in this run.
    """

    verb: str
    size: int
    moved_bytes: int
    seconds: float
    is_first_use: bool
    note: str = ""
    is_repeat: bool = False

    def done(self, model: str, path: str, target: str, sha256: str | None) -> Done:
        """Return the event that reports it; arguments as the fields of Done."""
        return Done(
            model=model,
            path=path,
            target=target,
            verb=self.verb,
            bytes=self.size,
            moved_bytes=self.moved_bytes,
            seconds=self.seconds,
            is_first_use=self.is_first_use,
            note=self.note,
            sha256=sha256,
        )


class Means(msgspec.Struct, frozen=True, kw_only=True):
    """Way to get bytes that are neither in place nor in the store; by default a download.

    Attributes:
        unpack: Puts the file of an archive in place, and returns how many bytes came for that.
        found: A file that has its bytes.
        is_local: Whether nothing may be downloaded, and no archive unpacked.
        asks_mirrors: Whether published copies are asked for it before it is unpacked.
    """

    unpack: Callable[[Target], int] | None = None
    found: FoundFile | None = None
    is_local: bool = False
    asks_mirrors: bool = False


DOWNLOAD = Means()


class FileSyncer:
    """Brings single files of one project up to date; safe to share between threads.

    Attributes:
        peers: Says which files peers may have.
    """

    def __init__(self, planner: Planner, fetcher: Fetcher, client: Client) -> None:
        self._planner, self._fetcher, self._client = planner, fetcher, client
        self._project, self._sharing = planner.project, planner.sharing
        self._layers, self._mirrors = KnownLayers(planner.project), Mirrors(client)
        self.peers = PeerSharing(planner.project, planner.sharing, self._layers)
        self._pins_written = time.monotonic()

    def sync(
        self,
        name: str,
        artifact: Artifact,
        observer: Observer,
        place: RootedPath | None = None,
        means: Means = DOWNLOAD,
    ) -> Outcome:
        """Bring one file up to date.

        Args:
            name: The model.
            artifact: The file.
            observer: Told about the transfer.
            place: Where it is to be if it is not a target; no receipt is written for it.
            means: How its bytes may be had.

        Raises:
            Offline: Its bytes are not here, and may not be downloaded.
            ModelmakeError: It could not be done; the target is as it was.
        """
        began = time.monotonic()
        workspace = private_folder(self._project.folder(name))
        partial = partial_path(workspace, artifact.path)

        def source() -> "Blob | FoundFile | None":
            """Return what it may be linked from; nobody else downloads the same bytes meanwhile."""
            if artifact.archive is None:
                notice = observer.notice
                target.is_alone = self._sharing.claim(closing, name, artifact, partial, notice)
            blob = self._sharing.blob(artifact, target.path, observer.notice) if not place else None
            if not blob and (known := self._same_upstream(target)):
                blob = self._sharing.blob(known, target.path, observer.notice)
            return blob or means.found or target.aside()

        try:
            target = Target(self._planner, name, artifact, place, means.is_local)
            target.source = source
            with target.path, contextlib.ExitStack() as closing:
                found = target.decide()
                asks_mirrors = found.action == "unpack" and means.asks_mirrors
                if asks_mirrors and (came := self._from_mirror(target, observer)):
                    done, verb, note = came, "fetched", ""
                else:
                    done, verb, note = self._carry_out(found, target, means, observer)
        except BaseException:
            self._planner.forget_partials(name)
            raise
        finally:
            self._fetcher.release(workspace, artifact)
        self._pin(name, artifact, done)
        return Outcome(
            verb=verb,
            size=done.size,
            moved_bytes=done.moved_bytes,
            seconds=time.monotonic() - began,
            is_first_use=not artifact.is_pinned,
            note=note,
        )

    def _carry_out(
        self, found: Decision, target: Target, means: Means, observer: Observer
    ) -> tuple[Fetched, str, str]:
        """Do what was decided; return what is there now, how it came, and a word about that."""
        name, artifact = target.name, target.artifact
        sha256, moved_bytes, verb, note = str(found.sha256 or artifact.sha256), 0, "verified", ""
        if found.error:
            raise found.error
        if found.action == "fetch" and artifact.content is not None and not means.is_local:
            return self._written(target, artifact.content), "fetched", ""
        if found.action == "fetch" and not means.is_local:
            try:
                done = self._fetcher.fetch(self._job(target), observer)
            except TransferError as error:
                if target.is_offline and not isinstance(error, Interrupted):
                    # all of it was here, and proved wrong
                    raise _not_here(target) from None
                raise
            if target.is_kept:
                self._sharing.note_origin(name, done)
            return done, "fetched" if done.is_new else "verified", ""
        if found.action == "unpack" and means.unpack:
            moved_bytes, verb = means.unpack(target), "unpacked"
            self._sharing.keep(name, target.path, sha256)
        elif isinstance(found.source, FoundFile):
            sha256 = found.source.sha256
            verb = "adopted" if found.source is means.found else "verified"  # it lay aside
            note = self._sharing.adopt(name, found.source, target.path, is_kept=target.is_kept)
        elif found.source:
            if not self._sharing.link(name, found.source, target.path):
                target.source = lambda: means.found  # the blob was pruned a moment ago
                return self._carry_out(target.decide(), target, means, observer)
            verb = "linked"
        elif found.needs_bytes:
            raise _not_here(target)
        return self._there(target, sha256, moved_bytes), verb, note

    def _from_mirror(self, target: Target, observer: Observer) -> Fetched | None:
        """Download a file of an archive from a published copy, which may have it without that.

        Returns:
            What came; None if none has it, so that the archive is needed.
        """
        if target.is_offline or not target.is_mirrored:
            return None
        wish = replace(target.wish, provider=tuple)
        job = replace(self._job(target), locations=self._mirrors.candidates(wish))
        try:
            return self._fetcher.fetch(job, observer)
        except (Interrupted, StoreError):
            raise
        except ModelmakeError:  # the mirrors tell; the archive may be had
            return None

    def _written(self, target: Target, content: str) -> Fetched:
        """Write a target that models.lock itself holds, when the other files are in place."""
        self._fetcher.release(private_folder(target.folder), target.artifact)
        self._check_others(target)
        write_file(target.path, content.encode())
        return replace(self._there(target, str(target.artifact.sha256), 0), is_new=True)

    def _check_others(self, target: Target) -> None:
        """Refuse to write a text about a model's other files before they are all in place.

        Raises:
            TransferError: One is not; why that is so was reported.
        """
        name = target.name
        files = self._project.lockfile.models[name].files
        others = [self._project.artifact(name, each.path) for each in files if each.content is None]
        entry = self._project.named(name).digest
        if not all(found.is_present for _, found in decisions(target.folder, others, entry)):
            error = TransferError(f"{target.path} is not written: not all other files are there.")
            error.is_reported = True
            raise error

    def _same_upstream(self, target: Target) -> Artifact | None:
        """Return the file as its URL gave it before, if the server still has that version."""
        known = target.of_url()
        if known is None:
            return None
        try:
            now = probe(self._client, target.artifact, target.locations()[0])
        except Interrupted:
            raise
        except ModelmakeError:  # the download will tell
            return None
        return known if (now.etag, now.size) == (known.etag, known.size) else None

    def _there(self, target: Target, sha256: str, moved_bytes: int) -> Fetched:
        """Note a target that is right and was not downloaded itself.

        What an earlier run left of it on the way, or beside it when it was killed, goes.
        """
        size, path = target.note(sha256), target.artifact.path
        with contextlib.suppress(StoreError):  # `doit prune` finds it too
            remove_unless_held(partial_path(private_folder(target.folder), path))
            if target.is_kept and target.artifact.checkpoint:
                (private_archives(target.folder) / path).remove(missing_ok=True)
        return Fetched(size=size, sha256=sha256, moved_bytes=moved_bytes, is_new=False)

    def _job(self, target: Target) -> Job:
        layer = self._layers.find(target.artifact)
        return Job(
            artifact=target.facts,
            locations=self._mirrors.candidates(target.wish),
            failed=self._mirrors.failed,
            anywhere=target.is_mirrored,
            target=target.path,
            workspace=private_folder(target.folder),
            found=target.again,
            placed=functools.partial(self._placed, target),
            is_small_and_alone=target.is_alone and target.is_small,
            is_fresh=target.is_fresh,
            layer=layer,
            why_alone=self.peers.why_alone(target.name, target.artifact, layer),
        )

    def _placed(self, target: Target, sha256: str, opened: OpenFile | None) -> None:
        """Note a file that was put in place just now, and give it to the store; others wait."""
        target.note(sha256, opened)
        if target.is_kept:
            is_hashed = not target.artifact.is_proven_by_root  # others have not our models.lock
            name, path = target.name, target.path
            self._sharing.keep(name, path, sha256, is_hashed=is_hashed, opened=opened)

    def _pin(self, name: str, artifact: Artifact, done: Fetched) -> None:
        """Note what came, if the lock does not have it, or has a wrong hint in its place."""
        is_known = artifact.is_pinned and artifact.size == done.size
        if is_known or self._project.is_read_only:
            return
        came = done if done.is_new else artifact  # a pin that a kill lost, from its receipt
        known = resolve.pinned(artifact, done.size, done.sha256, came.etag, came.md5)
        self._project.pin(name, known)
        if time.monotonic() - self._pins_written > PIN_EVERY_SECONDS:
            self._pins_written = time.monotonic()
            self._project.write_pins()
            self._sharing.write_origins()


def _not_here(target: Target) -> Offline:
    return Offline(
        f"{target.name}/{target.artifact.path} is neither here nor in the store, "
        "and MODELMAKE_OFFLINE is set."
    )
