"""OpenAI's GPT-2: the files picoGPT loads, at the places it loads them from."""

from pathlib import Path

import pytest

from downloader.artifact import Artifact
from downloader.errors import SettingError
from downloader.sources.openai_gpt2 import (
    FILES,
    GPT2_OLD_SIZES,
    GPT2_SIZES,
    PUBLISHED,
    OpenAIGPT2,
    OpenAIGPT2Entry,
)
from tests.projects import sha256
from tests.sources.contract import SourceContract

OFFICIAL = "https://openaipublic.blob.core.windows.net/gpt-2/models"
MIRROR = "https://mirror.example.org/gpt2/"


class TestOpenAIGPT2(SourceContract):
    """The contract, for every size, mirrored and not."""

    entries = (
        OpenAIGPT2Entry(size="124M"),
        OpenAIGPT2Entry(size="1542M"),
        OpenAIGPT2Entry(size="355M", mirrors=(MIRROR,), base_url="http://127.0.0.1:9"),
    )


def urls(entry: OpenAIGPT2Entry, path: str = "vocab.bpe") -> list[str]:
    return [location.url for location in OpenAIGPT2(entry).locate(Artifact(path=path), None)]


def test_the_seven_files_are_those_that_the_loader_of_picogpt_reads() -> None:
    """The names are fixed by TensorFlow's checkpoint format and by the tokenizer."""
    assert set(FILES) == {
        "checkpoint",
        "encoder.json",
        "hparams.json",
        "model.ckpt.data-00000-of-00001",
        "model.ckpt.index",
        "model.ckpt.meta",
        "vocab.bpe",
    }


@pytest.mark.parametrize("size", [*GPT2_SIZES, *GPT2_OLD_SIZES])
def test_old_names_mean_the_files_of_the_new_ones(size: str) -> None:
    """117M, 345M, 762M and 1542M are found where OpenAI has them today."""
    today = GPT2_OLD_SIZES.get(size, size)
    entry = OpenAIGPT2Entry(size=size)
    assert urls(entry, "hparams.json") == [f"{OFFICIAL}/{today}/hparams.json"]
    assert OpenAIGPT2(entry).outline().revision == today


def test_only_what_is_published_is_pinned() -> None:
    """All digests of 124M are known in advance, and nothing is assumed of the other sizes."""
    small = OpenAIGPT2(OpenAIGPT2Entry(size="124M")).outline().artifacts
    assert {each.path: (each.size, each.sha256) for each in small} == PUBLISHED["124M"]
    assert all(each.is_pinned and not each.first_use for each in small)
    for size in ("355M", "774M", "1558M"):
        larger = OpenAIGPT2(OpenAIGPT2Entry(size=size)).outline().artifacts
        assert larger == tuple(Artifact(path=path) for path in FILES)


@pytest.mark.parametrize(
    ("path", "size", "sha256"),
    [
        # tiktoken's openai_public.py, at its pinned expected_hash for these two files
        (
            "vocab.bpe",
            456318,
            "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
        ),
        (
            "encoder.json",
            1042301,
            "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
        ),
    ],
)
def test_the_digests_are_those_of_the_publishers(path: str, size: int, sha256: str) -> None:
    """What tiktoken publishes of the tokenizer stands in the table unchanged."""
    assert PUBLISHED["124M"][path] == (size, sha256)


def test_the_digests_of_the_small_texts_follow_from_their_content() -> None:
    """`checkpoint` and hparams.json are short texts, known to the letter."""
    checkpoint = b'model_checkpoint_path: "model.ckpt"\nall_model_checkpoint_paths: "model.ckpt"\n'
    hparams = (
        b'{\n  "n_vocab": 50257,\n  "n_ctx": 1024,\n  "n_embd": 768,\n  "n_head": 12,\n'
        b'  "n_layer": 12\n}\n'
    )
    for path, content in (("checkpoint", checkpoint), ("hparams.json", hparams)):
        assert PUBLISHED["124M"][path] == (len(content), sha256(content))


def test_mirrors_are_tried_after_the_provider_in_their_order() -> None:
    """Each mirror has the provider's layout below its base, with or without a slash at its end."""
    entry = OpenAIGPT2Entry(size="124M", mirrors=(MIRROR, "https://other.example"))
    assert urls(entry) == [
        f"{OFFICIAL}/124M/vocab.bpe",
        f"{MIRROR}124M/vocab.bpe",
        "https://other.example/124M/vocab.bpe",
    ]


def test_the_environment_goes_before_the_entry_and_both_before_openai(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """OPENAI_GPT2_BASE_URL moves the provider for one run, base_url for all."""
    entry = OpenAIGPT2Entry(size="124M", base_url="https://entry.example/models/")
    assert urls(entry) == ["https://entry.example/models/124M/vocab.bpe"]
    monkeypatch.setenv("OPENAI_GPT2_BASE_URL", "http://127.0.0.1:9/gpt-2/")
    assert urls(entry) == ["http://127.0.0.1:9/gpt-2/124M/vocab.bpe"]
    monkeypatch.setenv("OPENAI_GPT2_BASE_URL", "")
    assert urls(entry) == ["https://entry.example/models/124M/vocab.bpe"]


@pytest.mark.parametrize("value", ["ftp://example.org", "example.org/models", str(Path.cwd())])
def test_an_unusable_base_url_names_its_variable(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    """A value that is no http or https URL is a SettingError that shows the right form."""
    monkeypatch.setenv("OPENAI_GPT2_BASE_URL", value)
    with pytest.raises(SettingError, match="OPENAI_GPT2_BASE_URL") as caught:
        urls(OpenAIGPT2Entry(size="124M"))
    assert OFFICIAL in caught.value.hint
    assert value not in str(caught.value)
