"""Which source serves which entry: one literal table."""

from collections.abc import Callable

from downloader.errors import SourceError
from downloader.manifest.entries import (
    AnyEntry,
    HttpEntry,
    OpenAIGPT2Entry,
    TogetherEntry,
)
from downloader.sources.http import Http
from downloader.sources.interface import AskingSource, Source
from downloader.sources.openai_gpt2 import OpenAIGPT2
from downloader.sources.together import Together

SOURCES: dict[type[AnyEntry], Callable[..., Source]] = {
    OpenAIGPT2Entry: OpenAIGPT2,
    HttpEntry: Http,
    TogetherEntry: Together,
}


def source_for(entry: AnyEntry) -> Source:
    """Return the source of an entry.

    Raises:
        SourceError: models.yaml may name it, and this version cannot fetch from it.
    """
    make = SOURCES.get(type(entry))
    if make is None:
        raise SourceError(
            f"The source {source_name(entry)!r} is not there yet.",
            hint="This version fetches from: " + ", ".join(sorted(map(_name, SOURCES))) + ".",
        )
    return make(entry)


def asking_source_for(entry: AnyEntry) -> AskingSource | None:
    """Return the source where it has to ask its provider which files there are, else None.

    Raises:
        SourceError: As `source_for`.
    """
    source = source_for(entry)
    return source if isinstance(source, AskingSource) else None


def source_name(entry: AnyEntry) -> str:
    """Return the name that models.yaml gives the entry's source."""
    return _name(type(entry))


def _name(kind: type[AnyEntry]) -> str:
    return str(kind.__struct_config__.tag)
