"""models.yaml as people write it: what it means, and what is said when it is wrong."""

import subprocess
import sys
import time

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from downloader.errors import ManifestError
from downloader.manifest.manifest import load
from downloader.sources.http import HttpEntry, HttpFile
from downloader.sources.huggingface import HuggingFaceEntry
from downloader.sources.openai_gpt2 import OpenAIGPT2Entry
from downloader.sources.together import CheckpointRange, TogetherEntry
from tests.examples import examples
from tests.manifest.texts import GPT2, HTTP, SHA, TOGETHER, entry, error, model

EXAMPLE = f"""\
version: 1
defaults:
  to: weights/{{name}}
  optional: true
models:
  whisper:
    source: http
    files:
      - url: https://example.org/whisper/model.bin?download=true
        sha256: {SHA.upper()}
        path: a/model.bin
        mirrors: [https://mirror.example.org/model.bin]
      - url: https://example.org/whisper/my%20vocab.txt
  gpt2-117M: {{source: openai-gpt2, size: 117M, optional: false}}
  support-bot:
    source: together
    job: ft-0123abcd-0123
    checkpoint: {{from: 100, to: 500}}
    type: adapter
    extract: true
  bge-small:
    source: huggingface
    repo: BAAI/bge-small-en-v1.5
    include: ["*.json", "*.safetensors"]
    to: bge
"""


def test_the_example_of_every_source_loads_as_written() -> None:
    """Models keep the file's order, defaults are put in and a model's own keys win."""
    models = load(EXAMPLE.encode()).models
    assert list(models) == ["whisper", "gpt2-117M", "support-bot", "bge-small"]
    whisper, gpt2, bot, bge = models.values()
    assert isinstance(whisper, HttpEntry)
    assert whisper.listed[0].sha256 == SHA
    assert [file.target for file in whisper.listed] == ["a/model.bin", "my vocab.txt"]
    assert isinstance(gpt2, OpenAIGPT2Entry)
    assert (gpt2.published_size, gpt2.optional) == ("124M", False)
    assert isinstance(bot, TogetherEntry)
    assert bot.checkpoint == CheckpointRange(start=100, stop=500)
    assert isinstance(bge, HuggingFaceEntry)
    assert (bge.include, bge.revision) == (("*.json", "*.safetensors"), "main")
    assert [model.folder(name) for name, model in models.items()] == [
        "weights/whisper",
        "weights/gpt2-117M",
        "weights/support-bot",
        "bge",
    ]


ACCEPTED = [
    "source: openai-gpt2\nsize: 117M\nmirrors: [http://mirror.example.org/gpt2]",
    "source: openai-gpt2\nsize: 124M\nbase_url: http://mirror.example.org/gpt2",
    "source: openai-gpt2\nsize: 355M\nbase_url: http://127.0.0.1:8000/",
    "source: huggingface\nrepo: gpt2\nbase_url: http://localhost:8080",
    "source: huggingface\nrepo: a_b/c.d-e\nrevision: refs/pr/1",
    'source: huggingface\nrepo: a/b\nrevision: "1234567"',
    "source: huggingface\nrepo: a/b\nrevision: 1e10",
    f"{HTTP}\n    sha256: {'0' * 64}",
    f"source: http\nfiles: [{{url: http://example.org/a, sha256: {SHA}}}]",
    "source: http\nfiles: [{url: 'http://[::1]:8000/a'}]",
    "source: http\nfiles: [{url: 'HTTPS://example.org/a?download=true&X=tokens'}]",
    "source: http\nfiles: [{url: https://example.org/, path: a%20b}]",
    f"{GPT2}\nlink: hardlink\nexclude: ['*.txt']\nto: models/x-{{name}}/y",
    "source: together\njob: ft-0123abcd-0123:100",
    *(
        f"{TOGETHER}\ncheckpoint: {value}"
        for value in ("final", "all", "0", "[1, 2]", "{last: 3}", "{from: 5}", "{from: 5, to: 5}")
    ),
]


@pytest.mark.parametrize("body", ACCEPTED)
def test_what_the_contract_allows_is_accepted(body: str) -> None:
    """Every form the manifest promises to understand loads."""
    assert entry(body).to


def two(one: str, other: str, *, to: str = "same") -> str:
    return (
        f"version: 1\nmodels:\n  a:\n    source: http\n    to: same\n    files:\n"
        f"      - {{url: https://e.org/1, path: {one}}}\n  b:\n    source: http\n    to: {to}\n"
        f"    files:\n      - {{url: https://e.org/2, path: {other}}}\n"
    )


@pytest.mark.parametrize(
    ("one", "other", "to"),
    [
        ("x.bin", "x.bin", "same"),
        ("x.bin", "X.BIN", "same"),
        ("x.bin", "x.bin", "SAME"),
        ("d/x.bin", "x.bin", "same/d"),
        ("x", "x/y", "same"),
        ("x/y", "x", "same"),
        ("caf\u00e9", "cafe\u0301", "same"),
    ],
)
def test_two_files_that_cannot_both_exist_are_refused(one: str, other: str, to: str) -> None:
    """Within a model and between models, on every platform, before any request is made."""
    found = str(error(two(one, other, to=to)))
    assert found.startswith("models.yaml:12: models.b.files[0]: its target ")
    assert "models.a.files[0]" in found


def test_two_files_of_one_model_that_cannot_both_exist_are_refused() -> None:
    """The second of them is named, with the first beside it."""
    second = "\n  - url: https://example.org/2\n    path: Model.bin"
    found = str(error(model(HTTP + second)))
    assert found.startswith("models.yaml:7: models.m.files[1]: its target 'models/m/Model.bin'")


def test_files_of_the_same_name_in_two_folders_are_fine() -> None:
    """Only whole targets are compared."""
    assert len(load(two("x", "x", to="other").encode()).models) == 2


def digest(body: str) -> str:
    return entry(body).digest()


@pytest.mark.parametrize(
    "more",
    ["to: x", "optional: true", "link: copy", "mirrors: [https://e.org/]", "include: []"],
)
def test_what_is_not_about_bytes_leaves_the_digest_alone(more: str) -> None:
    """Moving a model, or adding a mirror, makes no lock stale."""
    assert digest(f"{HTTP}\n{more}") == digest(HTTP)


def test_the_mirrors_of_a_file_and_the_case_of_its_digest_leave_the_entry_digest_alone() -> None:
    """They do not change which bytes are meant either."""
    plain = digest(f"{HTTP}\n    sha256: {SHA}")
    assert digest(f"{HTTP}\n    sha256: {SHA.upper()}\n    mirrors: [https://e.org/a]") == plain


@pytest.mark.parametrize(
    "more", ["include: [a]", "exclude: [a]", "base_url: https://e.org", "    path: a"]
)
def test_what_is_about_bytes_changes_the_digest(more: str) -> None:
    """Another selection, endpoint or name makes the lock stale."""
    assert digest(f"{HTTP}\n{more}") != digest(HTTP)


def test_the_digest_of_an_entry_is_the_same_for_ever() -> None:
    """It stands in committed lockfiles, so no release may compute it in another way."""
    body = b'{"size":"124M","source":"openai-gpt2"}'
    assert msgspec.json.encode({"source": "openai-gpt2", "size": "124M"}, order="sorted") == body
    assert digest(GPT2) == (
        "sha256:0645a3d1df3ae96c5f63a9c49d005d3b80aa232d3a726f1998e8a777cd09f936"
    )


def test_ten_thousand_files_load_in_well_under_two_seconds() -> None:
    """The largest manifest that fits costs a moment, not a coffee."""
    lines = (
        f"      - url: https://example.org/f{i:05}\n        path: sub/f{i:05}\n"
        for i in range(10**4)
    )
    text = f"version: 1\nmodels:\n  m:\n    source: http\n    files:\n{''.join(lines)}".encode()
    start = time.process_time()
    loaded = load(text).models["m"]
    assert time.process_time() - start < 2
    assert isinstance(loaded, HttpEntry)
    assert len(loaded.files) == 10**4


def test_importing_a_project_does_not_import_yaml() -> None:
    """A run with nothing to do does not pay for PyYAML, nor for difflib."""
    late = "{'yaml', 'difflib'} & set(sys.modules)"
    imported = "downloader.project.project, downloader.project.resolve"
    code = f"import sys, {imported}; sys.exit(bool({late}))"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["source", "files", "url", "sha256", "to", "mirrors", "job", "last"])
            | st.text(max_size=3),
            inner,
            max_size=4,
        )
    ),
)
URLS = st.sampled_from(
    [
        "https://e.org/a",
        "https://e.org/b",
        "https://hf.co/o/m",
        "https://[",
        "file:///x",
        "${X}",
        "",
    ]
)
BODIES = st.fixed_dictionaries(
    {"source": st.sampled_from(["http", "together", "huggingface", "openai-gpt2"]) | JSON},
    optional={
        "files": st.lists(
            st.fixed_dictionaries({"url": URLS | JSON}, optional={"path": JSON, "sha256": JSON})
            | URLS
            | JSON
        )
        | JSON,
        "url": URLS | JSON,
        "sha256": st.just("sha256:" + "A" * 64) | JSON,
        **dict.fromkeys(("to", "checkpoint", "mirrors", "size", "repo", "include", "x`y"), JSON),
        "job": st.just("ft-0") | JSON,
    },
)


@settings(deadline=None, max_examples=examples(200))
@given(BODIES)
def test_any_data_gives_entries_or_a_located_error(body: object) -> None:
    """Nothing but ManifestError ever comes out, and it always names file and line."""
    whole = {"version": 1, "models": {"m": body}}
    message = "models.yaml:1: "
    try:
        load(msgspec.json.encode(whole))
    except ManifestError as found:
        message = str(found)
    assert message.startswith("models.yaml:1: ")


def test_a_file_name_is_decoded_once_only() -> None:
    """`%2541` means the name `%41`, not `A` (as pip CVE-2026-13346 had it)."""
    assert HttpFile(url="https://e.org/x/%2541?y=/z").target == "%41"
