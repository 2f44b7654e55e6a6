"""Hugging Face's own client, huggingface_hub 2.4.0, downloads from our fake of the Hub.

MODELMAKE_HUGGINGFACE_HUB names the Python that has it.
"""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.examples import GIVEN
from tests.sdk.together import GIVE_UP_SECONDS, KEPT, Call
from tests.servers.hub.server import HubServer, git_sha1
from tests.servers.process import NotInstalled

ASK = Path(__file__).with_name("ask_hub.py")
VARIABLE = "MODELMAKE_HUGGINGFACE_HUB"
QUIET = {
    "HF_HUB_DISABLE_XET": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_UPDATE_CHECK": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
}
REPO = "BAAI/bge"
FILES = {
    "config.json": b'{"a": 1}',
    "model.safetensors": os.urandom(300_000),
    "1_Pooling/config.json": b"{}",
    "empty.txt": b"",
    "README.md": b"# hi",
    "a b.txt": b"x",
}

Ask = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def hub() -> Iterator[HubServer]:
    """Give a Hub with a model whose tree has several pages."""
    with HubServer(page_size=3) as running:
        running.add(REPO, FILES)
        yield running


def client(hub: HubServer, folder: Path, given: str, *arguments: str, **variables: str) -> Any:
    """Run ask_hub.py with their client in a folder, and return what it prints."""
    if not GIVEN.get(VARIABLE):
        raise NotInstalled(f"{VARIABLE} names no Python with huggingface_hub")
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    own = {"HF_ENDPOINT": hub.url, "HF_HOME": str(folder / "hf")}
    ended = subprocess.run(
        [GIVEN[VARIABLE], "-I", str(ASK), *arguments],
        cwd=folder,
        env={**kept, **QUIET, **own, **variables},
        input=given,
        capture_output=True,
        text=True,
        timeout=GIVE_UP_SECONDS,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


@pytest.fixture
def ask(hub: HubServer, tmp_path: Path) -> Ask:
    """Give a function that calls methods of their HfApi, in order, in one process."""

    def call(*calls: Call, **variables: str) -> list[dict[str, Any]]:
        returned: list[dict[str, Any]] = client(hub, tmp_path, json.dumps(calls), **variables)
        return returned

    return call


def below(folder: Path) -> dict[str, bytes]:
    """Return the files of a folder by path."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


@pytest.mark.parametrize("protection", ["", "is_gated", "is_private"])
def test_a_snapshot_has_every_byte(ask: Ask, hub: HubServer, protection: str) -> None:
    """Large, small and empty files, in folders; no token reaches the CDN."""
    if protection:
        setattr(hub.repositories[f"models/{REPO}"], protection, True)
    (result,) = ask(("snapshot_download", {"repo_id": REPO}), HF_TOKEN=hub.token)
    assert below(Path(result["returned"])) == FILES
    assert hub.cdn.requests
    assert hub.cdn.with_credentials == []


def test_other_kinds_and_names_of_repositories(ask: Ask, hub: HubServer) -> None:
    """The URLs of datasets and spaces begin otherwise; an old name is one word."""
    for kind in ("datasets", "spaces"):
        hub.add("owner/other", FILES, kind=kind, branch="v1.0")
    hub.add("gpt2", FILES)
    other = {"repo_id": "owner/other", "revision": "v1.0"}
    results = ask(
        ("snapshot_download", {**other, "repo_type": "dataset"}),
        ("snapshot_download", {**other, "repo_type": "space"}),
        ("snapshot_download", {"repo_id": "gpt2"}),
    )
    assert [below(Path(each["returned"])) for each in results] == [FILES] * 3


def test_the_list_of_files(ask: Ask, hub: HubServer) -> None:
    """Its pages are read to the last, with sizes and digests; a folder is no file."""
    commit = hub.repositories[f"models/{REPO}"].refs["main"]
    given = {"repo_id": REPO, "recursive": True}
    info, tree = ask(("model_info", {"repo_id": REPO}), ("list_repo_tree", given))
    assert info["returned"]["sha"] == commit
    found = {each["path"]: each for each in tree["returned"] if "size" in each}
    assert {path: each["size"] for path, each in found.items()} == {
        path: len(content) for path, content in FILES.items()
    }
    assert found["config.json"]["blob_id"] == git_sha1(FILES["config.json"])
    assert found["model.safetensors"]["lfs"]["size"] == 300_000
    pages = [each for each in hub.requests if "/tree/" in each.path]
    assert len(pages) == 3


REFUSED = [
    ({"repo_id": "owner/gated"}, "GatedRepoError"),
    ({"repo_id": "owner/private"}, "RepositoryNotFoundError"),
    ({"repo_id": "owner/missing"}, "RepositoryNotFoundError"),
    ({"repo_id": "owner/disabled"}, "DisabledRepoError"),
    ({"repo_id": REPO, "revision": "v9"}, "RevisionNotFoundError"),
    ({"repo_id": REPO, "filename": "none.txt"}, "RemoteEntryNotFoundError"),
]


def test_refusals_are_told_apart(ask: Ask, hub: HubServer) -> None:
    """For each, the client raises the error that it has for it."""
    hub.add("owner/gated", FILES, is_gated=True)
    hub.add("owner/private", FILES, is_private=True)
    hub.add("owner/disabled", FILES, is_disabled=True)
    results = ask(
        *(("hf_hub_download", {"filename": "config.json", **given}) for given, _ in REFUSED)
    )
    for (_, error), result in zip(REFUSED, results, strict=True):
        assert error in result["raised"], result


def test_a_wrong_token(ask: Ask) -> None:
    """It is told so, for a public repository too."""
    (result,) = ask(("model_info", {"repo_id": REPO}), HF_TOKEN="hf_wrong")
    assert "Invalid credentials in Authorization header" in result["text"]


def test_the_rate_limit_is_understood(hub: HubServer, tmp_path: Path) -> None:
    """The two headers say what is left, until when, and of how many."""
    hub.limits["api"].leave(1, window_seconds=200)
    reply = requests.get(f"{hub.url}/api/models/{REPO}", timeout=10)
    headers = {name.lower(): value for name, value in reply.headers.items()}
    found = client(hub, tmp_path, json.dumps(headers), "--rate-limit")
    assert (found["resource_type"], found["remaining"]) == ("api", 0)
    assert 190 <= found["reset_in_seconds"] <= 200
    assert (found["limit"], found["window_seconds"]) == (500, 300)
