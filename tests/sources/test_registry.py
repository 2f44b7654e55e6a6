"""Which source serves which entry: the table is whole, and each source keeps the contract."""

import importlib
import pkgutil
from typing import get_args

import pytest

from downloader.errors import SourceError
from downloader.sources.http import Http, HttpEntry, HttpFile
from downloader.sources.openai_gpt2 import OpenAIGPT2, OpenAIGPT2Entry
from downloader.sources.registry import SOURCES, AnyEntry, HuggingFaceEntry, source_for, source_name
from tests import sources
from tests.sources.asking_contract import AskingSourceContract
from tests.sources.contract import SourceContract


def suites() -> list[type[SourceContract] | type[AskingSourceContract]]:
    """Return every subclass of the two suites that a test of this folder has."""
    for found in pkgutil.iter_modules(sources.__path__):
        importlib.import_module(f"{sources.__name__}.{found.name}")
    return [*SourceContract.__subclasses__(), *AskingSourceContract.__subclasses__()]


def test_each_entry_has_its_source() -> None:
    """The type of an entry decides, and nothing else."""
    assert isinstance(source_for(OpenAIGPT2Entry(size="124M")), OpenAIGPT2)
    assert isinstance(source_for(HttpEntry(files=(HttpFile(url="https://e.org/f"),))), Http)


def test_a_source_that_is_not_there_yet_says_which_are() -> None:
    """models.yaml may name it; the error names it too, and lists what this version can do."""
    with pytest.raises(SourceError, match="'huggingface' is not there yet") as caught:
        source_for(HuggingFaceEntry(repo="gpt2"))
    names = ", ".join(sorted(str(kind.__struct_config__.tag) for kind in SOURCES))
    assert caught.value.hint == f"This version fetches from: {names}."
    assert "http" in names


def test_the_table_holds_only_entries_that_a_manifest_may_have() -> None:
    """A source without a type in models.yaml could never be asked for."""
    assert set(SOURCES) <= set(get_args(AnyEntry))


def test_the_name_of_a_source_is_what_models_yaml_calls_it() -> None:
    """Names are the tags of the entries' types."""
    assert source_name(OpenAIGPT2Entry(size="124M")) == "openai-gpt2"
    assert source_name(HuggingFaceEntry(repo="gpt2")) == "huggingface"


def test_every_source_keeps_the_contract() -> None:
    """A source in the table without one of the two suites is a source without tests."""
    tried = {type(entry) for suite in suites() for entry in suite.entries}
    assert tried == set(SOURCES)
