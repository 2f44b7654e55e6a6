"""What servers say of files before they are fetched; a server that says nothing stops nothing.

So one lock serves offline machines and half-dead mirrors: what is not known is told by the fetch.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from downloader.artifact import Artifact, Location
from downloader.errors import ConnectionLost, Interrupted, ModelmakeError, TimedOut
from downloader.sources.interface import Source
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
