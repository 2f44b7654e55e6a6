"""Short forms and URLs that people paste, as entries of models.yaml."""

import itertools
import re

import pytest

from downloader.sources.interface import PAGE_PARTS
from downloader.sources.registry import (
    entry_types,
    find_meant,
    find_reference,
    reference_forms,
)

HF: dict[str, object] = {"source": "huggingface", "repo": "BAAI/bge-small"}
OLLAMA: dict[str, object] = {"source": "oci", "image": "ollama:llama3.2:1b"}
SITE = "https://huggingface.co"
PAGE = f"{SITE}/BAAI/bge-small"

READ: dict[str, dict[str, object]] = {
    "hf:BAAI/bge-small": HF,
    "hf:BAAI/bge-small@v1.5": {**HF, "revision": "v1.5"},
    "hf:BAAI/bge-small@main": HF,
    "hf:BAAI/bge-small@refs/pr/3": {**HF, "revision": "refs/pr/3"},
    "hf:BAAI/bge-small@feature%2Fx": {**HF, "revision": "feature/x"},
    "hf:gpt2": {"source": "huggingface", "repo": "gpt2"},
    "hf:models/BAAI/bge-small": HF,
    "hf:datasets/squad": {"source": "huggingface", "repo": "squad", "repo_type": "dataset"},
    "hf:spaces/o/n@v1": {
        "source": "huggingface",
        "repo": "o/n",
        "repo_type": "space",
        "revision": "v1",
    },
    "hf:BAAI/bge-small:Q4_K_M": {**HF, "format": "gguf", "variant": "Q4_K_M"},
    "hf.co/BAAI/bge-small:Q4_K_M": {**HF, "format": "gguf", "variant": "Q4_K_M"},
    "hf.co/BAAI/bge-small@v1.5": {**HF, "revision": "v1.5"},
    "HF:BAAI/bge-small": HF,
    "huggingface.co/BAAI/bge-small": HF,
    "HuggingFace.co/BAAI/bge-small/": HF,
    "www.huggingface.co/BAAI/bge-small?library=transformers#files": HF,
    "huggingface.co/BAAI/bge-small/tree/main": HF,
    "www.huggingface.co/BAAI/bge-small/tree/v1.5/onnx": {
        **HF,
        "revision": "v1.5",
        "include": ["onnx/"],
    },
    "huggingface.co/BAAI/bge-small/blob/main/a@b.gguf": {**HF, "include": ["a@b.gguf"]},
    "hf.co/BAAI/bge-small/resolve/main/c.bin?download=true": {**HF, "include": ["c.bin"]},
    "huggingface.co/datasets/o/n/tree/v1": {
        "source": "huggingface",
        "repo": "o/n",
        "repo_type": "dataset",
        "revision": "v1",
    },
    "hf://BAAI/bge-small/onnx/model.onnx": {**HF, "include": ["onnx/model.onnx"]},
    "hf://datasets/o/n@v1/a.csv": {
        "source": "huggingface",
        "repo": "o/n",
        "repo_type": "dataset",
        "revision": "v1",
        "include": ["a.csv"],
    },
    PAGE: HF,
    f"{PAGE}/": HF,
    f"{PAGE}?library=transformers#files": HF,
    f"{PAGE}/tree/main": HF,
    f"{PAGE}/tree/v1.5": {**HF, "revision": "v1.5"},
    f"{PAGE}/tree/refs%2Fpr%2F3": {**HF, "revision": "refs/pr/3"},
    f"{PAGE}/tree/refs/pr/3/onnx": {**HF, "revision": "refs/pr/3", "include": ["onnx/"]},
    f"{PAGE}/tree/main/onnx": {**HF, "include": ["onnx/"]},
    f"{PAGE}/commit/abc": {**HF, "revision": "abc"},
    f"{PAGE}/blob/main/a%20b/c.bin": {**HF, "include": ["a b/c.bin"]},
    f"{PAGE}/blob/v1/a[1]*.bin": {**HF, "revision": "v1", "include": ["a[[]1][*].bin"]},
    f"{PAGE}/resolve/main/c.bin?download=true": {**HF, "include": ["c.bin"]},
    f"{PAGE}/raw/main/c.json": {**HF, "include": ["c.json"]},
    f"{PAGE}/discussions/4": HF,
    "https://hf.co/BAAI/bge-small": HF,
    "https://www.huggingface.co/BAAI/bge-small": HF,
    "HTTPS://HuggingFace.co/BAAI/bge-small": HF,
    "http://huggingface.co/BAAI/bge-small": HF,
    f"{SITE}/gpt2": {"source": "huggingface", "repo": "gpt2"},
    f"{SITE}/gpt2/resolve/main/vocab.json": {
        "source": "huggingface",
        "repo": "gpt2",
        "include": ["vocab.json"],
    },
    f"{SITE}/datasets/o/n/tree/v1": {
        "source": "huggingface",
        "repo": "o/n",
        "repo_type": "dataset",
        "revision": "v1",
    },
    f"{SITE}/spaces/o/n": {"source": "huggingface", "repo": "o/n", "repo_type": "space"},
    f"{SITE}/docs/hub": {"source": "http", "url": f"{SITE}/docs/hub"},
    f"{SITE}/datasets": {"source": "http", "url": f"{SITE}/datasets"},
    f"{SITE}/api/models/gpt2": {"source": "http", "url": f"{SITE}/api/models/gpt2"},
    "https://huggingface.co.evil.org/o/n": {
        "source": "http",
        "url": "https://huggingface.co.evil.org/o/n",
    },
    "gpt2:124M": {"source": "openai-gpt2", "size": "124M"},
    "together:ft-0123": {"source": "together", "job": "ft-0123"},
    "oci://ghcr.io/team/model:v1": {"source": "oci", "image": "ghcr.io/team/model:v1"},
    "OCI://localhost:5000/m": {"source": "oci", "image": "localhost:5000/m"},
    "ollama:llama3.2:1b": OLLAMA,
    "ollama:llama3.2": {"source": "oci", "image": "ollama:llama3.2"},
    "https://ollama.com/library/llama3.2:1b": OLLAMA,
    "ollama.com/library/llama3.2:1b": OLLAMA,
    "https://ollama.com/someone/model": {"source": "oci", "image": "ollama:someone/model"},
    "https://hub.docker.com/r/ai/smollm2/tags?page=1": {
        "source": "oci",
        "image": "docker.io/ai/smollm2",
    },
    "hub.docker.com/r/ai/smollm2": {"source": "oci", "image": "docker.io/ai/smollm2"},
    "https://hub.docker.com/search": {"source": "http", "url": "https://hub.docker.com/search"},
    "https://ollama.com/blog/new": {"source": "http", "url": "https://ollama.com/blog/new"},
    "https://ollama.com/search": {"source": "http", "url": "https://ollama.com/search"},
    "https://ollama.com/library/llama3.2:1b/blobs/74701a8c35f6": {
        "source": "http",
        "url": "https://ollama.com/library/llama3.2:1b/blobs/74701a8c35f6",
    },
    "together:ft-0123:100": {"source": "together", "job": "ft-0123:100"},
    "https://example.org/a.bin?b=c": {"source": "http", "url": "https://example.org/a.bin?b=c"},
    "http://127.0.0.1:1/a.bin": {"source": "http", "url": "http://127.0.0.1:1/a.bin"},
}


@pytest.mark.parametrize(("text", "entry"), READ.items(), ids=READ)
def test_a_reference_is_read(text: str, entry: dict[str, object]) -> None:
    """Each provider knows its own; any other URL is a file at that URL."""
    found = find_reference(text)
    assert found
    assert found.keys == entry
    assert next(iter(found.keys)) == "source"


@pytest.mark.parametrize(
    "text", ["", "BAAI/bge-small", "ftp://e.org/a", "./a.bin", "s3:b/a", "x:y"]
)
def test_what_nobody_knows_is_none(text: str) -> None:
    """A repository's bare name may be a path, or another host's."""
    assert find_reference(text) is None


NAMES = {
    "hf:BAAI/bge-small@v1": ("bge-small", "BAAI-bge-small"),
    "gpt2:124M": ("gpt2-124M",),
    "oci://ghcr.io/team/model:v1": ("model-v1", "model", "team-model"),
    "oci://ghcr.io/team/model": ("model", "team-model"),
    "ollama:llama3.2:1b": ("llama3.2-1b", "llama3.2", "library-llama3.2"),
    "together:ft-0123:100": ("ft-0123:100",),
    "https://example.org/whisper/ggml-base.en.bin?x=y": ("ggml-base.en", "example.org"),
    "https://example.org/a.tar.gz": ("a", "example.org"),
}


@pytest.mark.parametrize(("text", "names"), NAMES.items())
def test_a_reference_suggests_names(text: str, names: tuple[str, ...]) -> None:
    """The shortest that says what it is comes first."""
    found = find_reference(text)
    assert found
    assert found.names == names


@pytest.mark.parametrize(
    ("text", "is_page"),
    [
        (f"{PAGE}/blob/main/a.bin", True),
        (f"{PAGE}/tree/main", True),
        (f"{PAGE}/resolve/main/a.bin", False),
        (f"{PAGE}/raw/main/a.json", False),
    ],
)
def test_a_page_is_told_from_a_file(text: str, *, is_page: bool) -> None:
    """On any host that is a Hub, `tree` and `blob` cannot be the bytes of a file."""
    found = find_reference(text)
    assert found
    assert found.is_page == is_page


def test_every_page_has_what_the_manifest_looks_for_before_it_asks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A manifest asks no provider about a URL that has none of these parts."""
    monkeypatch.setenv("HF_ENDPOINT", "http://h:1/hub")
    hosts = "https://huggingface.co", "http://www.hf.co", "http://h:1/hub"
    kinds = "", "datasets/", "spaces/"
    whats = "tree", "blob", "resolve", "raw", "commit", "commits", "x"
    rests = "", "/", "/main", "/main/", "/main/a?b=/c/#d"
    pages = [
        url
        for host, kind, what, rest in itertools.product(hosts, kinds, whats, rests)
        for url in (f"{host}/{kind}o/n/{what}{rest}", f"{host}/{kind}n/{what}{rest}")
        if (found := find_reference(url, is_url=True)) and found.is_page
    ]
    assert len(pages) > len(hosts)
    assert [url for url in pages if not any(part in url for part in PAGE_PARTS)] == []


def test_the_users_own_hub_has_pages_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """HF_ENDPOINT names it, also below a path; a host that only begins like it is another one."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:8080/hub/")
    for text in ("http://127.0.0.1:8080/hub/BAAI/bge-small", PAGE):
        found = find_reference(text)
        assert found
        assert found.keys == HF
    other = find_reference("http://127.0.0.1:8080/BAAI/bge-small")
    assert other
    assert other.keys["source"] == "http"


SLIPS = {
    "docker.io/library/x:tag": "oci://docker.io/library/x:tag",
    "ghcr.io/a/b@sha256:" + "0" * 64: "oci://ghcr.io/a/b@sha256:" + "0" * 64,
    "localhost/a": "oci://localhost/a",
    "registry:5000/a:v1": "oci://registry:5000/a:v1",
    "oci:ghcr.io/a/b": "oci://ghcr.io/a/b",
    "oci://x": "oci://docker.io/x",
    "docker:ai/x:v1": "oci://docker.io/ai/x:v1",
    "ollama://llama3:8b": "ollama:llama3:8b",
    "ollama/llama3": "ollama:llama3",
    "s3:b/p/": "s3://b/p/",
    "s3a://b/p": "s3://b/p",
    "GCS:/b/p": "gs://b/p",
    "s3n://b/p": "s3://b/p",
    "r2://b/p": "s3://b/p",
    "azure://a/c/p": "az://a/c/p",
    "abfs://c@a.dfs.core.windows.net/p/": "az://a/c/p/",
    "wasbs://c@a.blob.core.windows.net": "az://a/c",
    "https:/e.org/a": "https://e.org/a",
    "https:e.org:8443/a": "https://e.org:8443/a",
    "http//e.org": "https://e.org",
    "htps://e.org/a": "https://e.org/a",
    "hf:/o/n": "hf:o/n",
    "gpt2-345M": "gpt2:345M",
    "gpt-2_xl": "gpt2:1558M",
    "huggingface:o/n": "hf:o/n",
    "huggingface://o/n": "hf:o/n",
}


@pytest.mark.parametrize(("text", "form"), SLIPS.items(), ids=SLIPS)
def test_a_slip_means_one_form(text: str, form: str) -> None:
    """That form is read, by the source that knows the slip; the slip itself is not."""
    assert find_reference(text) is None
    meant = [
        (source, found.expand(each))
        for source, kind in entry_types().items()
        for slip, each in kind.reference_slips.items()
        if (found := re.fullmatch(slip, text, re.IGNORECASE))
    ]
    reference = find_reference(form)
    assert reference
    assert meant == [(reference.keys["source"], form)]


def test_every_form_is_read_by_its_source() -> None:
    """What the help shows is taken."""
    for source, kind in entry_types().items():
        for form in kind.reference_forms:
            found = find_reference(form.partition("[")[0])
            assert found, form
            assert found.keys["source"] == source
    assert len(reference_forms()) >= 4


@pytest.mark.parametrize("host", ["[::1", "a]b", "e\u2100.org", "[::1]:x"])
@pytest.mark.parametrize("start", ["https://", "HTTP://", "s3://", "oci://", "hf:", "htps://"])
def test_no_text_is_too_broken_to_look_at(start: str, host: str) -> None:
    """Python's parser of URLs raises for some; here they are what nobody knows, at worst."""
    find_reference(f"{start}{host}/m/x.bin")
    find_meant(f"{start}{host}/m/x.bin")
    find_meant(f"{start}{host}/m/x.bin", is_url=True)
