"""What servers say of files before they are fetched; a server that says nothing stops nothing.

So one lock serves offline machines and half-dead mirrors: what is not known is told by the fetch.
"""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import msgspec

from downloader.artifact import Artifact, Location
from downloader.errors import ConnectionLost, Interrupted, ModelmakeError, NotFound, TimedOut
from downloader.sources.interface import Source
from downloader.transfer.probe import probe
from downloader.transfer.transport import Transport
from downloader.urls import origin

PROBES_AT_ONCE = 8

Dead = dict[tuple[str, str, int], ModelmakeError]
"""Origins that did not answer in this run, each with how they failed."""


class Failure(NamedTuple):
    """Why nothing is known of one file.

    Attributes:
        path: Which.
        error: The first one of its places.
        blamed: Who is at fault: one dead host fails the files of many models.
        what: What that means, in words: nothing was pinned of a file, or it is gone.
    """

    path: str
    error: ModelmakeError
    blamed: object
    what: str


class Prober:
    """Asks servers about one model's artifacts, several at once; of a dead host no more."""

    def __init__(self, transport: Transport, name: str, source: Source, dead: Dead) -> None:
        self.name = name
        self._transport, self._source = transport, source
        self._dead = dead
        self.asked: set[str] = set()
        """Paths of the files that were asked about."""
        self.failures: list[Failure] = []
        self.pinned: frozenset[str] = frozenset()
        """Paths of files that are pinned, and stay so when nobody answers."""

    def __call__(self, artifacts: Sequence[Artifact]) -> list[Artifact]:
        """Return the artifacts, in order, with what the servers say of them."""
        if not artifacts:
            return []
        self.asked |= {each.path for each in artifacts}
        with ThreadPoolExecutor(PROBES_AT_ONCE) as pool:
            return list(pool.map(self._probe, artifacts))

    def _probe(self, artifact: Artifact) -> Artifact:
        first: Failure | None = None
        for location in self._source.locate(artifact):
            try:
                found = self._asked(artifact, location)
            except Interrupted:
                raise
            except ModelmakeError as error:
                first = first or self._failure(artifact.path, location, error)
            else:
                # Another host's validator is another, whatever the bytes are.
                return msgspec.structs.replace(found, etag=None) if first else found
        if first:
            self.failures.append(first)
        return artifact

    def _failure(self, path: str, location: Location, error: ModelmakeError) -> Failure:
        place, what = origin(location.url), "not known yet"
        if path in self.pinned:
            gone = "gone there" if isinstance(error, NotFound) else "not seen now"
            what = f"{gone}, and stays as it is pinned"
        blamed = place if place in self._dead else (self.name, type(error))
        return Failure(path, error, (blamed, what), what)

    def _asked(self, artifact: Artifact, location: Location) -> Artifact:
        place = origin(location.url)
        if place in self._dead:
            raise self._dead[place]
        try:
            return probe(self._transport, artifact, (location,))
        except (ConnectionLost, TimedOut) as error:
            raise self._dead.setdefault(place, error) from None


def notices(probers: Iterable[Prober]) -> list[str]:
    """Return what could not be asked: a line for each that is to blame, with the first reason."""
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
