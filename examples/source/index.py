"""Files on a web server that a SHA256SUMS names, as `sha256sum` of GNU coreutils writes it."""

import re
from typing import Annotated
from urllib.parse import quote

from msgspec import Meta

from downloader.artifact import Artifact, LockedModel
from downloader.errors import SourceError
from downloader.sources.interface import Entry, Provider, Resolution, Text
from downloader.sources.netrc import authorization
from downloader.urls import Location, host

LINE = re.compile(r"([0-9a-f]{64}) [ *](?:\./)?(.+)")


class IndexEntry(Entry, frozen=True, kw_only=True, tag="index"):
    """Files that a list of SHA-256 on a web server names."""

    base_url: Annotated[Text, Meta(description="The folder on the server with the list.")]
    sums: Annotated[Text, Meta(description="The list's name in that folder.")] = "SHA256SUMS"

    def source(self) -> "Index":
        """See Entry."""
        return Index(self)


class Index:
    """The source of one `index` entry."""

    def __init__(self, entry: IndexEntry) -> None:
        self._entry = entry

    def outline(self) -> None:
        """See Source: which files there are, the list says."""

    def resolve(self, provider: Provider) -> Resolution:
        """See AskingSource."""
        text = provider.read(self._places(self._entry.sums)[0]).decode(errors="replace")
        return Resolution(artifacts=tuple(map(self._artifact, text.splitlines())))

    def check(self, locked: LockedModel) -> str:
        """See AskingSource."""
        has_digests = all(each.is_pinned and not each.first_use for each in locked.files)
        is_ours = locked.revision is None and locked.files and has_digests
        return "" if is_ours else "its list of files"

    def locate(self, artifact: Artifact, revision: str | None) -> tuple[Location, ...]:  # noqa: ARG002 - a list has no versions
        """See Source."""
        if not artifact.is_pinned:
            raise SourceError(f"{self._entry.sums} names no file {artifact.path}.")
        return self._places(artifact.path)

    def _artifact(self, line: str) -> Artifact:
        found = LINE.fullmatch(line)
        if found is None:
            raise SourceError(
                f"{self._entry.sums} has a line that is no SHA-256 and path: {line[:80]!a}.",
                hint="It is made with `sha256sum`, in the folder that `base_url` names.",
            )
        return Artifact(path=found[2], sha256=found[1])

    def _places(self, path: str) -> tuple[Location, ...]:
        """Return where a file can be had, best first."""
        bases = (self._entry.base_url, *self._entry.bases)
        urls = [f"{base.rstrip('/')}/{quote(path)}" for base in bases]
        named = frozenset(map(host, urls))
        return tuple(
            Location(url=url, headers=authorization(url), named_hosts=named) for url in urls
        )
