"""Which source serves which entry: one literal table."""

from collections.abc import Callable
from typing import Annotated

from msgspec import Meta

from downloader.errors import SourceError
from downloader.sources.http import Http, HttpEntry
from downloader.sources.interface import AskingSource, Entry, Source, Text
from downloader.sources.openai_gpt2 import OpenAIGPT2, OpenAIGPT2Entry
from downloader.sources.together import Together, TogetherEntry


class HuggingFaceEntry(Entry, frozen=True, kw_only=True, tag="huggingface"):
    """A repository of the Hugging Face Hub."""

    repo: Annotated[str, Meta(pattern=r"(?a)^(?!.*(--|\.\.))(\w[\w.-]*/)?\w[\w.-]{0,95}\Z")]
    """`owner/name`, or the one word of an old repository; the Hub's own rules for names."""
    revision: Text = "main"
    """A branch, tag or commit; the lock holds the commit."""


AnyEntry = OpenAIGPT2Entry | HttpEntry | TogetherEntry | HuggingFaceEntry

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
