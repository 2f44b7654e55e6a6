"""docs/sources.md and the page of each source are held against the code."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from downloader.artifact import CHECKSUM, Artifact
from downloader.manifest import manifest
from downloader.operations.sync import sync_models
from downloader.sources.registry import SOURCES
from tests.docs.documents import blocks, page
from tests.docs.test_commands_page import CONSTANT, LOOKED_UP
from tests.e2e.project import REPOSITORY
from tests.e2e.together.projects import ADAPTER, JOB, files, usual_checkpoints
from tests.servers.fake_registry import FakeRegistry, digest_of, layer, manifest_of
from tests.servers.hub.server import HubServer
from tests.servers.together.server import TogetherServer

PAGE = page("sources.md")
PAGES = {
    "http": page("sources/http.md"),
    "huggingface": page("sources/huggingface.md"),
    "object-store": page("sources/object-store.md"),
    "oci": page("sources/oci.md"),
    "openai-gpt2": page("sources/openai-gpt2.md"),
    "together": page("sources/together.md"),
}
NAMES = list(SOURCES)
SAID = [
    "Authentication:",
    "Checksums:",
    "Resuming:",
    "Pinning:",
    "Changes upstream:",
    "Mirrors:",
]
MODULES = {
    "openai-gpt2": "sources/openai_gpt2.py",
    "http": "sources/netrc.py",
    "huggingface": "sources/huggingface.py",
    "object-store": "sources/object_store.py",
    "oci": "sources/_docker_config.py",
    "together": "sources/together.py",
}


@pytest.mark.parametrize("name", NAMES)
def test_each_source_has_a_row(name: str) -> None:
    """A row begins with its name, as models.yaml has it, and there is a page of its own."""
    assert list(PAGES) == sorted(NAMES)
    assert f"\n| `{name}` |" in PAGE


@pytest.mark.parametrize("name", NAMES)
def test_each_source_has_its_smallest_entry(name: str) -> None:
    """It loads, is of that source, and has no key that may be left out, but `optional`."""
    text, *_ = blocks(PAGES[name], "yaml")
    (entry,) = manifest.load(text.encode()).models.values()

    assert entry.source_name == name
    needed = {e.name for e in msgspec.structs.fields(entry) if e.required} or {"url"}
    assert set(re.findall(r"^    (\w+):", text, re.MULTILINE)) - {"optional"} == needed | {"source"}


@pytest.mark.parametrize("name", NAMES)
def test_each_source_answers_every_question(name: str) -> None:
    """In one order."""
    assert re.findall(r"^- \*\*(.*?)\*\*", PAGES[name], re.MULTILINE) == SAID


def looked_up(module: str) -> set[str]:
    """Return each name that a module looks up in the environment."""
    text = (REPOSITORY / "downloader" / module).read_text(encoding="utf-8")
    constants = dict(CONSTANT.findall(text))
    return {constants.get(name, name) for name in LOOKED_UP.findall(text)}


@pytest.mark.parametrize("name", NAMES)
def test_every_variable_that_a_source_asks_for_is_told(name: str) -> None:
    """In its own section: what its modules look up in the environment."""
    found = looked_up(MODULES[name])
    assert found
    for variable in found:
        assert f"`{variable}`" in PAGES[name], variable


def test_the_examples_of_object_stores_load() -> None:
    """Each entry, and the line of models.lock with all its fields."""
    text = PAGES["object-store"]
    for example in blocks(text, "yaml"):
        manifest.load(example.encode())
    (line,) = blocks(text, "json")
    found = msgspec.json.decode(line, type=Artifact)
    assert found.version
    assert re.fullmatch(CHECKSUM, found.checksum or "")
    locked = {each for each in msgspec.json.decode(line) if getattr(found, each)}
    assert locked == set(msgspec.json.decode(line))


HUB_FILES = {
    "models/BAAI/bge-small-en-v1.5": [
        "config.json",
        "1_Pooling/config.json",
        "model.safetensors",
        "pytorch_model.bin",
        "onnx/model.onnx",
    ],
    "models/bartowski/Meta-Llama-3.1-8B-Instruct-GGUF": [
        "README.md",
        "Meta-Llama-3.1-8B-Instruct-Q4_K_M.gguf",
        "Meta-Llama-3.1-8B-Instruct-Q8_0.gguf",
    ],
    "datasets/owner/reviews": ["a.parquet", "a.csv"],
}
CHOSEN = [
    {
        "bge-small": {"config.json", "1_Pooling/config.json", "model.safetensors"},
        "reviews": {"a.parquet"},
    },
    {
        "bge-small": {"config.json", "1_Pooling/config.json", "model.safetensors"},
        "llama-gguf": {"README.md", "Meta-Llama-3.1-8B-Instruct-Q4_K_M.gguf"},
    },
]
"""Which files each example of the page chooses."""
EXAMPLES = blocks(PAGES["huggingface"], "yaml")[1:]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """Give a Hub with the repositories of the page, and name it in the environment."""
    with HubServer() as started:
        for repository, paths in HUB_FILES.items():
            kind, _, name = repository.partition("/")
            for branch in ("v1.5", "main"):
                contents = {path: f"{name}/{path}".encode() for path in paths}
                started.add(name, contents, branch=branch, kind=kind)
        monkeypatch.setenv("HF_ENDPOINT", started.url)
        yield started


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize(("text", "chosen"), [*zip(EXAMPLES, CHOSEN, strict=False)])
def test_a_manifest_of_the_hub_is_fetched(
    tmp_path: Path, text: str, chosen: dict[str, set[str]]
) -> None:
    """Each example: some files at a tag and a dataset; one format and one quantization."""
    (tmp_path / "models.yaml").write_text(text, encoding="utf-8")
    sync_models([*chosen], tmp_path)

    assert {name: files(tmp_path, name) for name in chosen} == chosen


@pytest.mark.usefixtures("hub")
def test_the_snippet_loads_from_the_cache_of_its_example(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`from_pretrained` gets a cache with the repository in it; transformers is a stand-in."""
    asked: list[tuple[str, Path]] = []

    class AutoModel:
        @staticmethod
        def from_pretrained(name: str, *, cache_dir: Path, local_files_only: bool) -> None:
            assert local_files_only
            asked.append((name, cache_dir))

    monkeypatch.setitem(sys.modules, "transformers", SimpleNamespace(AutoModel=AutoModel))
    (tmp_path / "models.yaml").write_text(EXAMPLES[-1], encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    (snippet,) = blocks(PAGES["huggingface"], "python")
    exec(snippet, {})

    ((name, cache),) = asked
    folder = cache / f"models--{name.replace('/', '--')}"
    commit = (folder / "refs/main").read_text()
    assert (folder / "snapshots" / commit / "1_Pooling/config.json").is_file()


@pytest.mark.parametrize("text", blocks(PAGES["oci"], "yaml")[1:])
def test_a_manifest_of_registries_is_fetched(tmp_path: Path, text: str) -> None:
    """The example of the page, asked of a registry of ours: a digest, and a model of Ollama."""
    with FakeRegistry() as registry:
        pinned = registry.push("team/model", "v1", {"a.bin": b"a"})
        text = re.sub("sha256:[0-9a-f]{64}", pinned, text)
        text = text.replace("optional: true", f"base_url: http://{registry.name}")
        kinds = {"model": b"weights", "template": b"{{ .Prompt }}"}
        registry.blobs |= {digest_of(content): content for content in kinds.values()}
        layers = [
            {**layer(content), "mediaType": f"application/vnd.ollama.image.{kind}"}
            for kind, content in kinds.items()
        ]
        registry.put("library/llama3.2", "1b", manifest_of(layers))
        (tmp_path / "models.yaml").write_text(text, encoding="utf-8")
        sync_models(["pinned", "llama"], tmp_path)

    assert {name: files(tmp_path, name) for name in ("pinned", "llama")} == {
        "pinned": {"a.bin"},
        "llama": {"model.gguf"},
    }


@pytest.mark.parametrize("text", blocks(PAGES["together"], "yaml")[1:])
def test_a_manifest_of_together_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """The example of the page: one model unpacked, an archive a checkpoint of the other."""
    (tmp_path / "models.yaml").write_text(text, encoding="utf-8")
    with TogetherServer() as together:
        together.add_job(JOB, checkpoints=usual_checkpoints())
        monkeypatch.setenv("TOGETHER_API_KEY", together.key)
        monkeypatch.setenv("TOGETHER_BASE_URL", together.url)
        sync_models(["support-bot", "every-checkpoint"], tmp_path)

    assert files(tmp_path, "support-bot") >= ADAPTER
    archives = [each for each in files(tmp_path, "every-checkpoint") if each.endswith(".tar.zst")]
    assert len(archives) == len(usual_checkpoints())
