"""Which file serves which source of models.yaml: one literal table.

A source is imported when a model needs it: most projects have models of one or two sources.
"""

import functools
import importlib

from downloader.sources.interface import AskingSource, Entry, Reference

SOURCES = {
    "http": "http.HttpEntry",
    "huggingface": "huggingface.HuggingFaceEntry",
    "object-store": "object_store.ObjectStoreEntry",
    "oci": "oci.OciEntry",
    "openai-gpt2": "openai_gpt2.OpenAIGPT2Entry",
    "together": "together.TogetherEntry",
}
"""By the name in models.yaml: the module of this room, and its class of entries."""
GENERAL_SOURCE = "http"
"""Takes any URL that no provider knows."""


@functools.cache
def entry_type(source: str) -> type[Entry]:
    """Return the class of the entries of a source."""
    module, _, name = SOURCES[source].partition(".")
    found: type[Entry] = getattr(importlib.import_module(f"downloader.sources.{module}"), name)
    return found


def entry_types() -> dict[str, type[Entry]]:
    """Return the class of entries of every source, by the source's name."""
    return {source: entry_type(source) for source in SOURCES}


def find_reference(text: str, *, is_url: bool = False) -> Reference | None:
    """Return the entry that a short form or a URL means; None if no source knows it.

    Args:
        text: What people typed or pasted.
        is_url: Whether it is known to be a URL of some file: what any URL means is then no news.
    """
    providers = [each for each in SOURCES if each != GENERAL_SOURCE]
    for source in (*providers, *[GENERAL_SOURCE] * (not is_url)):
        if found := entry_type(source).read_reference(text):
            return found._replace(keys={"source": source, **found.keys})
    return None


def reference_forms() -> dict[str, str]:
    """Return all forms that `find_reference` knows, with what each means."""
    return {
        form: what for kind in entry_types().values() for form, what in kind.reference_forms.items()
    }


def asking_source_for(entry: Entry) -> AskingSource | None:
    """Return the source if it has to ask its provider which files there are, else None."""
    source = entry.source()
    return source if isinstance(source, AskingSource) else None
