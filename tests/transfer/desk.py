"""One place to fetch from: a server, a fetcher that never sleeps, and the target's folder."""

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pytest

from downloader.artifact import Artifact
from downloader.errors import Interrupted, ModelmakeError, Stop
from downloader.fs.rooted_path import RootedPath
from downloader.network.client import Client
from downloader.network.ranges import Range
from downloader.settings import Settings
from downloader.transfer import _journal
from downloader.transfer.fetch import Fetched, Fetcher, Job
from downloader.urls import Location
from tests.servers.exchange import SeenRequest
from tests.servers.faults import timing
from tests.servers.faulty import FaultyServer

E = TypeVar("E", bound=ModelmakeError)

PATH = "/model.bin"
BODY = random.Random(16).randbytes(300_001)
OLD = b"the old complete file"
CANARY = "canary-7f3a"
"""Stands in every query and password; it may be in no error text."""
SECRETS = {"Authorization": f"Bearer {CANARY}", "X-Api-Key": CANARY, "Cookie": f"a={CANARY}"}


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


class Waits(Stop):
    """A stop whose waits are noted and not waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.delays: list[float] = []

    def wait(self, seconds: float) -> None:
        """Note the delay."""
        self.delays.append(seconds)
        self.check()


class StopsAtWait(Waits):
    """The user stops the run at its first wait."""

    def wait(self, seconds: float) -> None:
        """Say that the run is stopped."""
        self.set()
        super().wait(seconds)


@dataclass
class Desk:
    """What a test of one fetch needs.

    Attributes:
        server: Serves BODY at PATH.
        folder: Private to the test.
        settings: For the fetches to come.
        waits: What the fetches waited for, and the way to interrupt them.
        is_alone: Whether the fetches know that nobody else is at the file: a small one then grows
            in memory.
    """

    server: FaultyServer
    folder: Path
    settings: Settings = field(default=Settings(timeout_seconds=5.0, retries=3))
    waits: Waits = field(default_factory=Waits)
    is_alone: bool = False

    @property
    def target(self) -> Path:
        """The final name."""
        return self.folder / "out" / "model.bin"

    @property
    def workspace(self) -> Path:
        """Where partials and what is set aside lie."""
        return self.folder / "workspace"

    @property
    def partials(self) -> list[Path]:
        """What is left in the partials' folder, journals included."""
        return sorted(self.workspace.glob("partials/*"))

    @property
    def quarantined(self) -> list[Path]:
        """What was set aside."""
        return sorted(self.workspace.glob("quarantine/*"))

    @property
    def asked(self) -> list[str | None]:
        """The Range of each request so far, None where there was none."""
        return [seen.headers.get("Range") for seen in self.seen]

    @property
    def seen(self) -> list[SeenRequest]:
        """Every request so far."""
        return self.server.requests

    def location(self, path: str = PATH) -> Location:
        """Return where a path is, with a secret in its query."""
        return Location(url=self.server.url(f"{path}?sig={CANARY}"))

    def job(
        self, artifact: Artifact | None = None, *locations: Location, target: Path | None = None
    ) -> Job:
        """Return the job of one artifact; by default BODY, pinned, from the server."""
        return Job(
            artifact=artifact or pinned(),
            locations=locations or (self.location(),),
            target=RootedPath.of(target or self.target),
            workspace=RootedPath.of(self.workspace),
            is_small_and_alone=self.is_alone,
        )

    def run(self, job: Job) -> Fetched:
        """Fetch with a transport of its own."""
        with self.transport() as transport:
            return Fetcher(transport).fetch(job)

    @contextmanager
    def transport(self) -> Iterator[Client]:
        """Give a transport, closed at the end."""
        transport = Client(self.settings, self.waits)
        try:
            yield transport
        finally:
            transport.close()

    def fetch(self, artifact: Artifact | None = None, *locations: Location) -> Fetched:
        """Fetch, and check that the target holds exactly what is said to have been fetched."""
        fetched = self.run(self.job(artifact, *locations))
        placed = self.target.read_bytes()
        assert (len(placed), sha256(placed)) == (fetched.size, fetched.sha256)
        return fetched

    def refuses(self, kind: type[E], artifact: Artifact | None = None, *locations: Location) -> E:
        """Fetch in vain; check that the old file still stands and that the error is fit to show."""
        if not self.target.exists():
            self.target.parent.mkdir(parents=True, exist_ok=True)
            self.target.write_bytes(OLD)
        old = self.target.read_bytes()
        with pytest.raises(kind) as caught:
            self.run(self.job(artifact, *locations))
        assert type(caught.value) is kind
        assert self.target.read_bytes() == old
        assert CANARY not in caught.value.report()
        assert str(caught.value).isprintable()
        return caught.value

    def leave_partial(self, count: int, artifact: Artifact | None = None) -> None:
        """Leave a partial of the first bytes, as an interrupted run does."""
        before, waits = len(self.seen), self.waits
        self.server.script(PATH, timing.drop_after(count))
        self.waits = StopsAtWait()
        with pytest.raises(Interrupted):
            self.run(self.job(artifact))
        self.waits = waits
        assert len(self.seen) == before + 1
        assert self.partial.stat().st_size == count

    @property
    def noted(self) -> list[Range]:
        """The ranges that the one journal vouches for; none when there is none."""
        journals = self.workspace.glob("partials/*.journal")
        found = [_journal.load(one.read_bytes()) for one in journals]
        return found[0][1] if found and found[0] else []

    @property
    def partial(self) -> Path:
        """The one partial."""
        (found,) = self.workspace.glob("partials/*.part")
        return found


def pinned(body: bytes = BODY, *, sized: bool = True, path: str = "model.bin") -> Artifact:
    """Return an artifact whose digest is known."""
    return Artifact(path=path, size=len(body) if sized else None, sha256=sha256(body))


def unpinned(size: int | None = None, path: str = "model.bin", md5: str | None = None) -> Artifact:
    """Return an artifact whose digest is not known."""
    return Artifact(path=path, size=size, md5=md5)


KNOWN = {
    "pinned": pinned(),
    "pinned, size unknown": pinned(sized=False),
    "unpinned": unpinned(),
}
however_known = pytest.mark.parametrize("artifact", KNOWN.values(), ids=KNOWN.keys())
"""For tests whose outcome is the same whatever the lock knows of BODY."""
