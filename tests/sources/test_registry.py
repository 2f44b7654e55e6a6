"""Which source serves which entry: the table is whole, and each source keeps the contract."""

import importlib
import pkgutil
import re
from pathlib import Path

import pytest

from downloader import sources as package
from downloader.sources.http import Http, HttpEntry, HttpFile
from downloader.sources.huggingface import HuggingFaceEntry
from downloader.sources.interface import Entry
from downloader.sources.openai_gpt2 import OpenAIGPT2, OpenAIGPT2Entry
from downloader.sources.registry import SOURCES, entry_type, entry_types
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
    assert isinstance(OpenAIGPT2Entry(size="124M").source(), OpenAIGPT2)
    assert isinstance(HttpEntry(files=(HttpFile(url="https://e.org/f"),)).source(), Http)


@pytest.mark.parametrize("name", SOURCES)
def test_the_table_names_classes_that_are_there(name: str) -> None:
    """A line names a file of the room and its class, and models.yaml the class by its tag."""
    kind = entry_type(name)
    assert issubclass(kind, Entry)
    assert kind.__struct_config__.tag == name


def test_every_file_of_a_provider_has_a_line() -> None:
    """A source without a line could never be asked for."""
    files = {found.name for found in pkgutil.iter_modules(package.__path__)}
    assert {line.partition(".")[0] for line in SOURCES.values()} == {
        name for name in files - {"interface", "netrc", "registry"} if not name.startswith("_")
    }


def test_the_name_of_a_source_is_what_models_yaml_calls_it() -> None:
    """Names are the tags of the entries' types."""
    assert OpenAIGPT2Entry(size="124M").source_name == "openai-gpt2"
    assert HuggingFaceEntry(repo="gpt2").source_name == "huggingface"


def test_every_source_keeps_the_contract() -> None:
    """A source in the table without one of the two suites is a source without tests."""
    tried = {type(entry) for suite in suites() for entry in suite.entries}
    assert tried == set(entry_types().values())


def test_a_published_copy_is_no_base_url() -> None:
    """A source appends paths to `bases` of its entry, and not to all of its `mirrors`."""
    folder = Path(str(package.__file__)).parent
    wrong = [
        path.name
        for path in sorted(folder.glob("*.py"))
        if re.search(r"entry\.mirrors", path.read_text(encoding="utf-8"))
    ]
    assert wrong == []


def test_what_a_log_in_may_have_given_is_not_shared_unasked() -> None:
    """Of these sources nothing in models.lock says whether everybody may have a model."""
    private = {name for name in SOURCES if entry_type(name).may_be_private}
    assert private == {"object-store", "oci", "together"}
