"""The Hub keeps the contract of sources that ask; and what it alone promises."""

from collections.abc import Iterator

import msgspec
import pytest

from downloader.sources.huggingface import HuggingFaceEntry
from tests.servers.hub.server import HubServer
from tests.sources.asking_contract import AskingSourceContract

REPO = "owner/name"
FILES = {
    "config.json": b"{}",
    "model.safetensors": b"weights",
    "onnx/model.onnx": b"other weights",
    "onnx/config.json": b"{ }",
    "empty.txt": b"",
    "a b%.txt": b"a name to be escaped",
}
COMMIT = "c" * 40


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """Give a Hub with a model, as HF_ENDPOINT."""
    with HubServer(page_size=3) as hub:
        hub.add(REPO, FILES)
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub


class TestHuggingFace(AskingSourceContract):
    """The contract, for each kind of repository, revision and choice of files."""

    entries: tuple[HuggingFaceEntry, ...] = (
        HuggingFaceEntry(repo=REPO),
        HuggingFaceEntry(repo=REPO, revision=COMMIT),
        HuggingFaceEntry(repo=REPO, revision="refs/pr/1", mirrors=("https://mirror.example/hf/",)),
        HuggingFaceEntry(repo=REPO, include=("onnx/", "*.safetensors"), exclude=("*.json",)),
        HuggingFaceEntry(repo="gpt2"),
        HuggingFaceEntry(repo="owner/data", repo_type="dataset"),
        HuggingFaceEntry(repo="owner/app", repo_type="space"),
    )

    @pytest.fixture(autouse=True)
    def provider_is_there(self, hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
        """Add the other repositories; a token is sent along."""
        monkeypatch.setenv("HF_TOKEN", hub.token)
        commit = hub.add(REPO, {**FILES, "new.json": b"[]"}, branch="refs/pr/1")
        hub.add("gpt2", FILES)
        hub.add("owner/data", FILES, kind="datasets")
        hub.add("owner/app", FILES, kind="spaces")
        self.entries = tuple(
            msgspec.structs.replace(each, revision=commit) if each.revision == COMMIT else each
            for each in self.entries
        )
