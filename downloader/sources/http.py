"""Any list of URLs: the names come from the manifest, never from a reply."""

from functools import cached_property

from downloader.artifact import Artifact, Location
from downloader.errors import SourceError
from downloader.manifest.entries import HttpEntry, HttpFile
from downloader.manifest.manifest import file_path
from downloader.sources.interface import Resolution
from downloader.urls import host
from downloader.user_netrc import authorization

LOG_IN = (
    "Check that the file is public; where it wants a credential, put a log-in for {} into "
    "~/.netrc, or into the file that NETRC names."
)


class Http:
    """The source of one `http` entry."""

    def __init__(self, entry: HttpEntry) -> None:
        self._entry = entry

    @cached_property
    def _files(self) -> dict[str, HttpFile]:
        return {file_path(file): file for file in self._entry.files}

    def outline(self) -> Resolution:
        """See Source."""
        return Resolution(
            artifacts=tuple(
                Artifact(path=path, sha256=file.sha256, url=file.url)
                for path, file in self._files.items()
            )
        )

    def locate(self, artifact: Artifact) -> tuple[Location, ...]:
        """See Source."""
        file = self._files.get(artifact.path)
        if file is None:
            raise SourceError(f"models.yaml names no file {artifact.path}.")
        urls = (file.url, *file.mirrors, *self._mirrored(artifact.path))
        named = frozenset(map(host, urls))
        return tuple(
            Location(
                url=url,
                headers=authorization(url),
                named_hosts=named,
                credential_hint=LOG_IN.format(host(url)),
            )
            for url in urls
        )

    def _mirrored(self, path: str) -> tuple[str, ...]:
        """Return the file's place below the entry's base URLs of mirrors."""
        return tuple(f"{base.rstrip('/')}/{path}" for base in self._entry.mirrors)
