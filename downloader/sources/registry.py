"""Which file serves which source of models.yaml: one literal table.

A source is imported when a model needs it: most projects have models of one or two sources.
"""

import importlib

from downloader.sources.interface import AskingSource, Entry

SOURCES = {
    "http": "http.HttpEntry",
    "huggingface": "huggingface.HuggingFaceEntry",
    "openai-gpt2": "openai_gpt2.OpenAIGPT2Entry",
    "together": "together.TogetherEntry",
}
"""By the name in models.yaml: the module of this room, and its class of entries."""


def entry_type(source: str) -> type[Entry]:
    """Return the class of the entries of a source."""
    module, _, name = SOURCES[source].partition(".")
    found: type[Entry] = getattr(importlib.import_module(f"downloader.sources.{module}"), name)
    return found


def entry_types() -> dict[str, type[Entry]]:
    """Return the class of entries of every source, by the source's name."""
    return {source: entry_type(source) for source in SOURCES}


def asking_source_for(entry: Entry) -> AskingSource | None:
    """Return the source if it has to ask its provider which files there are, else None."""
    source = entry.source()
    return source if isinstance(source, AskingSource) else None
