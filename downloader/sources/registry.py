"""Which file serves which source of models.yaml: one literal table.

A source is imported when a model needs it: most projects have models of one or two sources.
"""

import contextlib
import functools
import importlib
import re

import msgspec

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
USER_AND_HOST = r"^[^/:@]+(?=@[^/@.]+(?:\.[^/@.]+)+/)"
"""A token may be the user, before a host without a scheme."""
_MAY_BE_SECRET = re.compile(rf":[^@]*@(?!sha256:)|[?#]|{USER_AND_HOST}")
"""A password may stand in it, or a token behind it."""


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


def find_meant(text: str, *, is_url: bool = False) -> list[str]:
    """Return the short forms and URLs that a text most likely means, each of a right entry.

    What may hold a password or a token is left out.

    Args:
        text: What people typed, or what another tool writes.
        is_url: Whether it should be a URL. If not, its prefix may be missing.
    """
    slips = [pair for kind in entry_types().values() for pair in kind.reference_slips.items()]
    found = ((re.fullmatch(slip, text, re.IGNORECASE), form) for slip, form in slips)
    forms = [text, *(match.expand(form) for match, form in found if match)]
    forms = [form for form in forms if not _MAY_BE_SECRET.search(form) and _means_entry(form)]
    if forms or is_url or _MAY_BE_SECRET.search(text):
        return forms
    colons = text.count(":") + 1  # with the prefix that is missing
    short = [form.partition("[")[0] for form in reference_forms() if "://" not in form]
    prefixes = {form.partition(":")[0] for form in short if form.count(":") <= colons}
    return [f"{prefix}:{text}" for prefix in sorted(prefixes) if _means_entry(f"{prefix}:{text}")]


def _means_entry(text: str) -> bool:
    if found := find_reference(text):
        with contextlib.suppress(msgspec.ValidationError):
            return bool(msgspec.convert(found.keys, entry_type(str(found.keys["source"]))))
    return False


def reference_forms() -> dict[str, str]:
    """Return all forms that `find_reference` knows, with what each means."""
    return {
        form: what for kind in entry_types().values() for form, what in kind.reference_forms.items()
    }


def asking_source_for(entry: Entry) -> AskingSource | None:
    """Return the source if it has to ask its provider which files there are, else None."""
    source = entry.source()
    return source if isinstance(source, AskingSource) else None
