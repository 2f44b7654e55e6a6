"""The Hub keeps the contract of sources that ask; and what it alone promises."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest

from downloader.artifact import Artifact, LockedModel
from downloader.errors import (
    BadResponse,
    ManifestError,
    NotFound,
    SettingError,
    TransferError,
)
from downloader.network import api
from downloader.network.api import ApiClient
from downloader.network.client import Client, first_hop
from downloader.project.resolve import ask
from downloader.settings import Settings
from downloader.sources import huggingface
from downloader.sources.huggingface import ENDPOINT, HuggingFace, HuggingFaceEntry
from downloader.sources.interface import Provider
from downloader.urls import Location
from tests.servers.faults import heads, statuses
from tests.servers.hub.server import HubServer, git_sha1
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
SMALL = Artifact(path="config.json", size=2, git_sha1=git_sha1(b"{}"))
LARGE = Artifact(path="model.safetensors", size=7, sha256="a" * 64)
REVISION = f"/api/models/{REPO}/revision/main"
TREE = f"/api/models/{REPO}/tree"


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
        HuggingFaceEntry(repo=REPO, format="safetensors"),
        HuggingFaceEntry(repo=REPO, layout="hf-cache"),
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


@pytest.fixture
def provider() -> Iterator[Provider]:
    """Give the program's own way to ask, without patience."""
    with closing(Client(Settings(timeout_seconds=5.0, retries=1))) as transport:
        yield ApiClient(transport, lambda _: None)


def source(**keys: Any) -> HuggingFace:
    return HuggingFace(HuggingFaceEntry(repo=REPO, **keys))


def places(file: Artifact = SMALL, **keys: Any) -> tuple[Location, ...]:
    return source(**keys).locate(file, COMMIT)


def token_of(location: Location) -> str:
    return location.headers.get("Authorization", "").removeprefix("Bearer ")


def locked(*files: Artifact, revision: str | None = COMMIT, **keys: Any) -> LockedModel:
    return LockedModel(entry="", source="huggingface", revision=revision, files=files, **keys)


def changed(file: Artifact, **fields: Any) -> LockedModel:
    return locked(msgspec.structs.replace(file, **fields))


FETCHED = msgspec.structs.replace(SMALL, sha256="b" * 64, first_use=True)
ACCEPTED = {
    "listed": locked(SMALL, LARGE),
    "fetched": locked(FETCHED, LARGE),
    "with pieces": changed(LARGE, root="d" * 64),
}
REFUSED = {
    "no revision": (locked(SMALL, revision=None), "its revision"),
    "a branch": (locked(SMALL, revision="main"), "its revision"),
    "no file": (locked(), "its list of files"),
    "an archive": (locked(SMALL, archives=(LARGE,)), "its list of files"),
    "no digest": (locked(Artifact(path="config.json", size=2)), "a field of a file"),
    "no size": (changed(LARGE, size=None), "a field of a file"),
    "a SHA-256 of ours alone": (changed(LARGE, first_use=True), "a field of a file"),
    "two published digests": (changed(FETCHED, first_use=False), "a field of a file"),
    "a URL": (changed(LARGE, url="https://evil.example/f"), "a field of a file"),
    "an MD5": (changed(LARGE, md5="0" * 32), "a field of a file"),
    "an ETag": (changed(LARGE, etag='"x"'), "a field of a file"),
    "from an archive": (changed(LARGE, archive="a.tar"), "a field of a file"),
    "into a folder": (changed(LARGE, into="a"), "a field of a file"),
    "a text": (changed(LARGE, content="a"), "a field of a file"),
}


@pytest.mark.parametrize("model", ACCEPTED.values(), ids=list(ACCEPTED))
def test_a_lock_that_the_hub_can_have_led_to_is_accepted(model: LockedModel) -> None:
    """As it was listed, after the first download, and with pieces."""
    assert source().check(model) == ""


@pytest.mark.parametrize(("model", "what"), REFUSED.values(), ids=list(REFUSED))
def test_a_field_that_the_hub_does_not_list_is_refused(model: LockedModel, what: str) -> None:
    """It was written by somebody else, who may want other bytes."""
    assert source().check(model) == what


def test_a_lock_of_another_commit_than_the_entrys_is_refused() -> None:
    """A branch may be at any commit; a commit is one."""
    assert source(revision="v1").check(locked(SMALL)) == ""
    assert source(revision="d" * 40).check(locked(SMALL)) == "its revision"


def test_a_file_that_the_patterns_leave_out_is_refused() -> None:
    """A lock may not bring a file that its entry excludes."""
    assert source(exclude=("*.json",)).check(locked(SMALL, LARGE)) == "a field of a file"


def test_every_file_has_a_size_and_a_digest(provider: Provider, hub: HubServer) -> None:
    """The SHA-256 of a file in LFS, git's ID of any other; folders are no files."""
    found = {each.path: each for each in source().resolve(provider).artifacts}
    assert found.keys() == FILES.keys()
    for path, content in FILES.items():
        in_lfs = path.endswith((".safetensors", ".onnx"))
        assert found[path].size == len(content)
        assert found[path].git_sha1 == (None if in_lfs else git_sha1(content))
        assert found[path].is_pinned is in_lfs
    assert [each.path for each in hub.requests] == [REVISION, *[f"{TREE}/{commit_of(hub)}"] * 3]


def commit_of(hub: HubServer) -> str:
    return hub.repositories[f"models/{REPO}"].refs["main"]


def test_a_commit_is_not_resolved(provider: Provider, hub: HubServer) -> None:
    """It is what a revision resolves to."""
    assert source(revision=commit_of(hub)).resolve(provider).revision == commit_of(hub)
    assert REVISION not in [each.path for each in hub.requests]


# The token


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give an empty HF_HOME."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    (tmp_path / "hf").mkdir()
    return tmp_path / "hf"


def test_the_token_is_taken_from_where_their_client_takes_it(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In its order; each place hides those that come later."""
    assert token_of(places()[0]) == ""
    (home / "token").write_text("hf_home\n")
    assert token_of(places()[0]) == "hf_home"
    (home / "elsewhere").write_text(" hf_path ")
    monkeypatch.setenv("HF_TOKEN_PATH", str(home / "elsewhere"))
    assert token_of(places()[0]) == "hf_path"
    monkeypatch.setenv("HUGGING_FACE_HUB_TOKEN", "hf_old")
    assert token_of(places()[0]) == "hf_old"
    monkeypatch.setenv("HF_TOKEN", "hf_new\r\n")
    assert token_of(places()[0]) == "hf_new"
    monkeypatch.setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")
    assert token_of(places()[0]) == ""


def test_without_hf_home_the_token_is_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Below XDG_CACHE_HOME, or ~/.cache."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for cache in (tmp_path / ".cache", tmp_path / "xdg"):
        (cache / "huggingface").mkdir(parents=True)
        (cache / "huggingface/token").write_text(f"hf_{cache.name}")
    assert token_of(places()[0]) == "hf_.cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert token_of(places()[0]) == "hf_xdg"


@pytest.mark.parametrize("token", ["hf_a b", "hf_\u00fc", "hf_\x00", "hf_a\tb"])
def test_what_cannot_be_a_token_is_named_and_not_shown(
    home: Path, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    """It would break the header, or be another one; the message says where it stands."""
    (home / "token").write_text(token, encoding="utf-8")
    with pytest.raises(SettingError) as caught:
        places()
    assert str(home / "token") in str(caught.value)
    assert token not in str(caught.value)


def test_the_token_is_for_the_hub_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not for a mirror, and not for a `base_url`: models.yaml may come from anybody."""
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub, mirror = places(mirrors=("https://mirror.example",))
    assert hub.url.startswith(f"{ENDPOINT}/")
    assert (token_of(hub), token_of(mirror)) == ("hf_secret", "")
    assert token_of(places(base_url="https://huggingface.co/")[0]) == "hf_secret"
    assert token_of(places(base_url="https://evil.example")[0]) == ""
    assert token_of(places(base_url="https://huggingface.co:8443")[0]) == ""
    assert token_of(places(base_url="https://huggingface.co.evil.example")[0]) == ""


# The endpoint


def test_the_users_endpoint_wins_and_gets_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """HF_ENDPOINT is the user's own word, over a `base_url`."""
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.example/hf/")
    first = places(base_url="https://other.example")[0]
    assert first.url == f"https://hub.example/hf/{REPO}/resolve/{COMMIT}/config.json"
    assert token_of(first) == "hf_secret"
    assert first.named_hosts == {"hub.example"}


@pytest.mark.parametrize(
    "url", ["hub.example", "ftp://hub.example", "https://u:p@hub.example", "https://hub.example?q"]
)
def test_an_endpoint_that_is_no_address_is_an_error(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    """It names the variable."""
    monkeypatch.setenv("HF_ENDPOINT", url)
    with pytest.raises(SettingError, match="HF_ENDPOINT must be an http or https URL"):
        places()


def test_a_plain_endpoint_serves_what_is_pinned_and_lists_nothing(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its list would be believed; a file is compared with the lock. It gets no token."""
    monkeypatch.setenv("HF_ENDPOINT", "http://mirror.example:8090")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert places(LARGE)[0].url.startswith("http://mirror.example:8090/")
    assert first_hop(places(LARGE)[0], is_pinned=True).headers == {}
    with pytest.raises(SettingError, match="HF_ENDPOINT is plain http"):
        source().resolve(provider)


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
@pytest.mark.parametrize(("value", "is_offline"), [("1", True), ("True", True), ("0", False)])
def test_their_offline_switch_is_obeyed(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, *, is_offline: bool
) -> None:
    """The error names the variable that is set."""
    monkeypatch.setenv(variable, value)
    if not is_offline:
        assert places()
        return
    with pytest.raises(TransferError, match=f"{variable} is set"):
        places()


# Answers that cannot be meant

ENTRY = {"type": "file", "path": "f", "size": 1, "oid": "0" * 40}
LFS = {"oid": "0" * 64, "size": 1, "pointerSize": 1}
UNUSABLE: dict[str, tuple[str, bytes]] = {
    "a page": (REVISION, b"<html>log in</html>"),
    "no commit": (REVISION, b'{"id": "owner/name"}'),
    "a short commit": (REVISION, json.dumps({"sha": "c" * 7}).encode()),
    "another type": (REVISION, json.dumps({"sha": 1}).encode()),
    "too deep": (REVISION, b'{"x":' * 100_000),
    "no list": (TREE, b'{"error": "no"}'),
    "a file without an oid": (TREE, json.dumps([{**ENTRY, "oid": ""}]).encode()),
    "an oid of another kind": (TREE, json.dumps([{**ENTRY, "oid": "0" * 64}]).encode()),
    "an oid in upper case": (TREE, json.dumps([{**ENTRY, "oid": "A" * 40}]).encode()),
    "a size below zero": (TREE, json.dumps([{**ENTRY, "size": -1}]).encode()),
    "a wrong oid in LFS": (TREE, json.dumps([{**ENTRY, "lfs": {**LFS, "oid": "0"}}]).encode()),
    "no size in LFS": (TREE, json.dumps([{**ENTRY, "lfs": {"oid": "0" * 64}}]).encode()),
}


@pytest.mark.parametrize(("path", "text"), UNUSABLE.values(), ids=list(UNUSABLE))
def test_an_answer_that_is_of_no_hub_is_refused(
    provider: Provider, hub: HubServer, path: str, text: bytes
) -> None:
    """Nothing is guessed; the message says who answered, and what to look at."""
    place = f"{TREE}/{commit_of(hub)}" if path == TREE else path
    hub.site.script(place, statuses.status(200, text, {"Content-Type": "application/json"}))
    with pytest.raises(
        BadResponse, match=r"127\.0\.0\.1.*not about the files of owner/name"
    ) as caught:
        source().resolve(provider)
    assert "HF_ENDPOINT" in caught.value.hint


def test_a_file_without_oid_that_is_in_lfs_is_fine(provider: Provider, hub: HubServer) -> None:
    """Its `oid` is that of the pointer, and is not read."""
    text = json.dumps([{**ENTRY, "oid": "", "lfs": LFS}, {"type": "other", "path": "sub"}])
    hub.site.script(f"{TREE}/{commit_of(hub)}", statuses.status(200, text.encode()))
    (found,) = source().resolve(provider).artifacts
    assert found == Artifact(path="f", size=1, sha256="0" * 64)


def link(target: str) -> Any:
    return heads.header("Link", f'<{target}>; rel="next"')


@pytest.mark.parametrize("query", ["?cursor=0", "?recursive=true&expand=false", ""])
def test_pages_that_lead_in_a_circle_end(provider: Provider, hub: HubServer, query: str) -> None:
    """A page that names one of before, or none at all, does not end the list silently."""
    place = f"{TREE}/{commit_of(hub)}"
    hub.site.always(place, link(f"{hub.url}{place}{query}"))
    with pytest.raises(BadResponse, match="its pages do not end"):
        source().resolve(provider)
    assert len(hub.requests) <= 3


def test_endless_pages_end(
    provider: Provider, hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each page names another one."""
    monkeypatch.setattr(api, "MOST_PAGES", 5)
    place = f"{TREE}/{commit_of(hub)}"
    hub.site.script(place, *[link(f"?page={number}") for number in range(9)])
    with pytest.raises(BadResponse, match="its pages do not end"):
        source().resolve(provider)
    assert len(hub.requests) == 1 + 5


def test_of_a_link_only_the_query_is_used(
    provider: Provider, hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reply cannot send the token elsewhere, nor the question."""
    monkeypatch.setenv("HF_TOKEN", hub.token)
    place = f"{TREE}/{commit_of(hub)}"
    hub.site.script(place, link("http://127.0.0.2:9/elsewhere?cursor=3"))
    found = source().resolve(provider).artifacts
    assert {each.path for each in found} >= {"model.safetensors", "onnx/model.onnx"}
    assert {each.path for each in hub.requests} == {REVISION, place}
    assert hub.requests[2].query == [("cursor", "3")]


def test_patterns_that_end_with_a_slash_are_folders(provider: Provider, hub: HubServer) -> None:
    """As in snapshot_download."""
    found = source(include=("onnx/",)).resolve(provider).artifacts
    assert {each.path for each in found} == {"onnx/model.onnx", "onnx/config.json"}
    found = source(exclude=("onnx/", "*.txt")).resolve(provider).artifacts
    assert {each.path for each in found} == {"model.safetensors", "config.json"}


@pytest.mark.parametrize("layout", ["files", "hf-cache"])
def test_patterns_that_leave_nothing_are_an_error_that_lists_what_there_is(
    provider: Provider, hub: HubServer, layout: Literal["files", "hf-cache"]
) -> None:
    """Also in a cache, whose reference is no file of the repository."""
    entry = HuggingFaceEntry(repo=REPO, include=("nothing*",), layout=layout)
    with pytest.raises(ManifestError, match="leave none of its files") as caught:
        ask("m", entry, entry.source(), provider)
    assert "config.json" in caught.value.hint


@pytest.mark.parametrize("name", ["x" * 256, f"{'_Q1' * 10_000}!.gguf"])
def test_a_name_that_no_disk_takes_is_refused_before_it_is_read(
    provider: Provider, hub: HubServer, name: str
) -> None:
    """A pattern of file names must not be given a megabyte."""
    hub.add(REPO, {"config.json": b"{}", name: b"x"})
    entry = HuggingFaceEntry(repo=REPO, format="gguf")
    with pytest.raises(BadResponse, match="not about the files of owner/name"):
        entry.source().resolve(provider)


def test_more_files_or_bytes_than_a_repository_has_are_refused(
    provider: Provider, hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock could not be read again, or memory would end."""
    source = HuggingFaceEntry(repo=REPO).source()
    with monkeypatch.context() as patch:
        patch.setattr(huggingface, "MOST_FILES", len(FILES) - 1)
        with pytest.raises(BadResponse):
            source.resolve(provider)
    commit = hub.repositories[f"models/{REPO}"].refs["main"]
    huge = [
        {"type": "file", "path": f"{n}.bin", "lfs": {"oid": "a" * 64, "size": 2**62}}
        for n in range(3)
    ]
    fault = statuses.status(200, json.dumps(huge).encode())
    hub.site.always(f"{TREE}/{commit}", fault)
    with pytest.raises(BadResponse):
        source.resolve(provider)


@pytest.mark.parametrize(
    ("entry", "what"),
    [
        (HuggingFaceEntry(repo="owner/nam"), "The Hub has no model owner/nam, or it is private."),
        (
            HuggingFaceEntry(repo="owner/x", repo_type="dataset"),
            "The Hub has no dataset owner/x, or it is private.",
        ),
        (HuggingFaceEntry(repo=REPO, revision="v9"), "owner/name has no revision 'v9'."),
    ],
)
@pytest.mark.usefixtures("hub")
def test_what_the_hub_does_not_have_is_named(
    provider: Provider, entry: HuggingFaceEntry, what: str
) -> None:
    """In words about the repository, not about a URL of the API."""
    with pytest.raises(NotFound) as caught:
        entry.source().resolve(provider)
    assert str(caught.value) == what
    assert "in models.yaml" in caught.value.hint
