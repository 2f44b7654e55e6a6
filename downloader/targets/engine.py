"""Bring every target of one project up to date, whatever kind of file it is.

What a run without network could not fetch is reported once, all together, when it is over.
"""

import collections
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from downloader.artifact import Artifact, counted, size_text
from downloader.errors import Offline, Stop
from downloader.fs.files import write_waiting
from downloader.fs.rooted_path import close_idle_folders
from downloader.network.client import Client
from downloader.progress.events import Observer
from downloader.progress.streams import tell
from downloader.project.project import Project
from downloader.targets._files import FileSyncer, Means, Outcome
from downloader.targets._peers import PeerSharing
from downloader.targets.plan import Decision, Planner
from downloader.targets.shared import FoundFile, SharedStore
from downloader.targets.state import FileKey, archive_place
from downloader.transfer.fetch import Fetcher

if TYPE_CHECKING:
    from downloader.targets._archives import ArchiveSyncer
    from downloader.transfer.swarm import Swarm

__all__ = ["Engine", "Outcome", "PeerSharing", "missing_offline"]


MOST_LINES = 20


class Missing(NamedTuple):
    """A file that is neither here nor in the store."""

    model: str
    path: str
    size: int | None
    """In bytes; None if nobody knows it yet."""


def missing_offline(missing: Sequence[Missing]) -> Offline:
    """Return one error for all of them, with a line for each file and at most some twenty."""
    found = sorted(set(missing), key=lambda each: each[:2])
    lines = [_head(found)]
    for model, files in groupby(found[:MOST_LINES], key=lambda each: each.model):
        lines += [f"  {model}", *(f"    {each.path} ({size_text(each.size)})" for each in files)]
    if len(found) > MOST_LINES:
        lines.append(f"  and {counted(len(found) - MOST_LINES, 'file')} more")
    return Offline(lines)


def _head(found: Sequence[Missing]) -> str:
    size = size_text(*(each.size for each in found))
    are = "is" if len(found) == 1 else "are"
    return (
        f"{counted(len(found), 'file')} ({size}) {are} neither here nor in the "
        "store, and MODELMAKE_OFFLINE is set:"
    )


class _Telling(Observer):
    """Says what there is to be said about the store, and nothing else."""

    def notice(self, text: str) -> None:
        """See Observer."""
        tell(text)


STOP_SECONDS = 1.5
LINGER_SECONDS = 60.0
"""How long a run that is done goes on sharing what its peers still need of it."""


class Engine:
    """Brings targets of one project up to date; safe to share between threads.

    Args:
        project: Whose targets.
        stop: Set when everything is to end.

    Attributes:
        transport: Its way to the servers.
        missing: What is missing, since the network must not be used.
    """

    def __init__(self, project: Project, stop: Stop | None = None) -> None:
        self._project = project
        self.stop = stop or Stop()
        self.missing: list[Missing] = []
        self._idle, self._meeting = threading.Condition(), threading.Lock()
        self._making = threading.Lock()
        self._active = 0
        self.transport = Client(project.settings, self.stop)
        self._fetcher = Fetcher(self.transport)
        sharing = SharedStore(project, self.stop)
        self._sharing, self._is_remembered = sharing, False
        self._swarm: Swarm | None = None
        self._planner = Planner(project, sharing)
        self._files = FileSyncer(self._planner, self._fetcher, self.transport)
        self._unpacker: ArchiveSyncer | None = None

    def plan(
        self, files: Iterable[FileKey], looked: Mapping[FileKey, Decision] | None = None
    ) -> None:
        """Claim room on the disk for what is going to be fetched, as far as sizes are known.

        Args:
            files: Model and path of each; what is right already, or may be, is left out.
            looked: What `target_decisions` found a moment ago, for the store of this project.

        Raises:
            StoreError: It does not all fit.
            SettingError: The peers that the environment names cannot be met.
        """
        self._meet_peers()  # here, an error about their addresses is told once and not once a file
        self._fetcher.plan(self._planner.downloads(files, looked or {}))

    def sync(self, name: str, path: str, observer: Observer | None = None) -> Outcome:
        """Bring one target up to date: hash it when it is there, fetch it when it is not right.

        Args:
            name: The model.
            path: The artifact's path.
            observer: Told about the transfer.

        Raises:
            ModelmakeError: It could not be done; the target is as it was.
        """
        artifact, observer = self._project.artifact(name, path), observer or Observer()
        with self._busy():
            self._meet_peers()
            try:
                if artifact.archive is not None:
                    return self._archives.sync_member(name, artifact, observer)
                if self._project.lockfile.models[name].has_archive(path):
                    return self._archives.sync(name, artifact, observer)
                outcome = self._files.sync(name, artifact, observer)
                return self._inspected(name, artifact, outcome)
            except Offline as error:
                self.missing.append(Missing(name, path, artifact.size))
                error.is_reported = True  # all of them are reported together
                raise

    def stage(self, name: str, path: str, observer: Observer | None = None) -> Outcome:
        """Have an archive unpacked aside, so that `sync` of its files need not wait for it.

        Raises:
            ModelmakeError: As `sync`.
        """
        with self._busy():
            self._meet_peers()
            archive = self._project.artifact(name, path)
            try:
                return self._archives.stage(name, archive, observer or Observer())
            except Offline as error:
                error.is_reported = True  # its files are reported, with all others
                raise

    def adopt(self, name: str, path: str, found: FoundFile | None) -> Outcome | None:
        """Bring one target up to date without any network, or an archive that is needed for some.

        Args:
            name: The model.
            path: The artifact's path.
            found: A file with its bytes, if one was found.

        Returns:
            What was done; None if its bytes are not here.

        Raises:
            ModelmakeError: It could not be done; the target is as it was.
        """
        artifact, place = self._project.artifact(name, path), None
        is_packed = self._project.lockfile.models[name].has_archive(path)
        if is_packed:
            place = archive_place(self._project, name, artifact)
        means = Means(found=found, is_local=True)
        with self._busy():
            try:
                outcome = self._files.sync(name, artifact, _Telling(), place, means)
            except Offline:
                return None
            return outcome if is_packed else self._inspected(name, artifact, outcome)

    def repair(self, name: str, path: str, observer: Observer | None = None) -> Outcome:
        """Bring a target up to date without believing its receipt; arguments as of `sync`.

        Raises:
            ModelmakeError: As `sync`.
        """
        self._planner.forget(name, path)
        if self._unpacker:
            self._unpacker.forget(name, path)
        return self.sync(name, path, observer)

    def interrupt(self) -> None:
        """Stop every transfer at once; what arrived is kept."""
        self.transport.interrupt()

    def close(self) -> None:
        """Write the last pins and close connections; let interrupted transfers note their state."""
        if self.stop.is_set():
            with self._idle:
                self._idle.wait_for(lambda: not self._active, STOP_SECONDS)
        try:
            self._project.write_pins()
            self._sharing.write_origins()
            write_waiting()  # last: what it writes is found out again in no time
            if self._swarm and not self.stop.is_set():
                self._swarm.linger(LINGER_SECONDS)
        finally:
            if self._unpacker:
                self._unpacker.close()
            if self._swarm:
                self._swarm.close()
            self.transport.close()
            close_idle_folders()

    @property
    def peers(self) -> PeerSharing:
        """What says which files peers may have, and shares them."""
        return self._files.peers

    @property
    def _archives(self) -> "ArchiveSyncer":
        """What unpacks archives; made for the first one, since most runs have none."""
        from downloader.targets._archives import ArchiveSyncer  # noqa: PLC0415 - see above

        with self._making:
            if self._unpacker is None:
                self._unpacker = ArchiveSyncer(self._planner, self._files, self.stop)
            return self._unpacker

    def _inspected(self, name: str, artifact: Artifact, outcome: Outcome) -> Outcome:
        """Return what was done, with what an archive that stays packed holds."""
        if artifact.checkpoint is None:
            return outcome
        return self._archives.inspect(name, artifact, outcome)

    def _meet_peers(self) -> None:
        """Share what is here with the peers that the environment names, and ask them for more.

        Raises:
            SettingError: libtorrent is missing, or an address cannot be used.
        """
        settings = self._project.settings
        if not (settings.peers or settings.listen):
            return
        with self._meeting:
            if self._swarm is None:
                from downloader.transfer.swarm import open_swarm  # noqa: PLC0415 - an extra

                self._swarm = self._fetcher.swarm = open_swarm(settings, self.stop)
                if self._swarm and settings.listen:
                    collections.deque(self._files.peers.share(self._swarm, []), maxlen=0)

    @contextmanager
    def _busy(self) -> Iterator[None]:
        with self._idle:
            self._active += 1
            if not self._is_remembered:  # by who looks only, no project is
                self._is_remembered = True
                self._sharing.remember()
        try:
            yield
        finally:
            with self._idle:
                self._active -= 1
                self._idle.notify_all()
