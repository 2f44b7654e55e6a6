"""Any list of URLs: the names come from the manifest, never from a reply."""

from functools import cached_property
from typing import Annotated
from urllib.parse import unquote, urlsplit

import msgspec
from msgspec import Meta

from downloader.artifact import Artifact
from downloader.errors import SourceError
from downloader.sources.interface import Entry, Resolution, Sha256, Text
from downloader.urls import Location, host


class HttpFile(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """One file of an `http` model."""

    url: Text
    """https; plain http for this machine, and elsewhere where `sha256` is given."""
    sha256: Sha256 | None = None
    """64 hex digits; without it the first verified fetch pins one in models.lock."""
    path: Text | None = None
    """Posix path below the model's folder; default: the last part of the URL."""
    mirrors: tuple[Text, ...] = ()
    """Whole URLs of the same bytes, tried in order after `url`."""


class HttpEntry(Entry, frozen=True, kw_only=True, tag="http"):
    """Any list of URLs."""

    files: Annotated[tuple[HttpFile, ...], Meta(min_length=1)]
    """Each with its `url`."""


def file_path(file: HttpFile) -> str:
    """Return the file's posix path below the model's folder.

    Without `path` it is the last part of the URL, percent-decoded once.

    Raises:
        ValueError: That part is not UTF-8; a loaded manifest holds no such file.
    """
    if file.path is not None:
        return file.path
    return unquote(urlsplit(file.url).path.rpartition("/")[2], errors="strict")


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
        from downloader.sources._netrc import authorization  # noqa: PLC0415 - a run with nothing to do needs no log-in

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
