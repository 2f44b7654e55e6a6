"""Registries keep the contract of sources that ask; and what they alone promise."""

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from downloader.artifact import Artifact, LockedModel
from downloader.errors import (
    AccessDenied,
    BadResponse,
    ManifestError,
    ModelmakeError,
    NotFound,
    ServerBusy,
    SettingError,
    SourceError,
)
from downloader.network.api import ApiClient
from downloader.network.client import Client
from downloader.project.resolve import ask
from downloader.settings import Settings
from downloader.sources import _docker_config, oci
from downloader.sources._docker_config import docker_log_in
from downloader.sources.interface import Provider
from downloader.sources.oci import Image, Oci, OciEntry, endpoint, parse_image
from downloader.urls import LogIn
from tests.servers.fake_registry import FakeRegistry, digest_of, error, layer, manifest_of
from tests.sources.asking_contract import AskingSourceContract

FILES = {"config.json": b"{}", "model.gguf": b"weights", "sub/a b.txt": b"text"}
HEX = "a" * 64
DIGEST = f"sha256:{HEX}"
FILE = Artifact(path="model.gguf", size=7, sha256=HEX)
CNCF = "application/vnd.cncf.model"
KITOPS = "application/vnd.kitops.modelkit"
OLLAMA = "application/vnd.ollama.image"
DOCKER = "application/vnd.docker.ai"
LAYER = "application/vnd.oci.image.layer.v1"
FILEPATH = "org.cncf.model.filepath"


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    """Give a registry with one model."""
    with FakeRegistry() as running:
        running.push("team/model", "v1", FILES)
        yield running


@pytest.fixture
def provider() -> Iterator[Provider]:
    """Give the program's own way to ask, without patience."""
    with closing(Client(Settings(timeout_seconds=5.0, retries=1))) as transport:
        yield ApiClient(transport, lambda _: None)


class TestOci(AskingSourceContract):
    """The contract, for each form of a name and choice of files."""

    entries: tuple[OciEntry, ...] = (OciEntry(image="ghcr.io/team/model:v1"),)

    @pytest.fixture(autouse=True)
    def provider_is_there(self, registry: FakeRegistry) -> None:
        """Name the registry's port in the entries."""
        digest = registry.push("solo", "latest", FILES)
        image = f"{registry.name}/team/model:v1"
        self.entries = (
            OciEntry(image=image),
            OciEntry(image=f"{registry.name}/solo"),
            OciEntry(image=f"{registry.name}/solo@{digest}"),
            OciEntry(image=image, include=("*.gguf",), mirrors=("https://mirror.example/",)),
            OciEntry(image="ghcr.io/team/model:v1", base_url=f"http://{registry.name}"),
        )


IMAGES = {
    "ghcr.io/team/model:v1": Image("ghcr.io", "team/model", "v1", ""),
    "GHCR.io/team/model": Image("ghcr.io", "team/model", "latest", ""),
    f"ghcr.io/team/model:v1@{DIGEST}": Image("ghcr.io", "team/model", "", DIGEST),
    f"ghcr.io/team/model@{DIGEST}": Image("ghcr.io", "team/model", "", DIGEST),
    "ai/smollm2": Image("docker.io", "ai/smollm2", "latest", ""),
    "alpine:3": Image("docker.io", "library/alpine", "3", ""),
    "docker.io/alpine": Image("docker.io", "library/alpine", "latest", ""),
    "index.docker.io/ai/smollm2:1": Image("docker.io", "ai/smollm2", "1", ""),
    "localhost:5000/m:1": Image("localhost:5000", "m", "1", ""),
    "localhost/m": Image("localhost", "m", "latest", ""),
    "127.0.0.1:5000/a/b/c/m:1": Image("127.0.0.1:5000", "a/b/c/m", "1", ""),
    "ollama:llama3.2:1b": Image("registry.ollama.ai", "library/llama3.2", "1b", ""),
    "ollama:llama3.2": Image("registry.ollama.ai", "library/llama3.2", "latest", ""),
    "ollama:Someone/model": Image("registry.ollama.ai", "Someone/model", "latest", ""),
    "ollama.com/library/llama3.2:1b": Image("registry.ollama.ai", "library/llama3.2", "1b", ""),
    "registry.ollama.ai/library/llama3.2": Image(
        "registry.ollama.ai", "library/llama3.2", "latest", ""
    ),
}
NO_IMAGES = (
    "",
    ":v1",
    "/a",
    "ghcr.io/../a",
    "ghcr.io//a",
    "ghcr.io/a:b:c",
    "ghcr.io/a@sha256:abc",
    f"ghcr.io/a@sha512:{HEX}",
    "https://ghcr.io/a",
    "user:secret@ghcr.io/a",
    "ghcr.io/a?x=1",
    "ghcr.io/a b",
    "ghcr.io/a\n",
    "ghcr.io/%2e%2e/a",
    f"ghcr.io/a:{'t' * 129}",
)


@pytest.mark.parametrize("text", IMAGES)
def test_an_image_is_read_as_dockers_tools_read_it(text: str) -> None:
    """Docker Hub, `library/` and `latest` may be left out; written out, it means the same."""
    entry = msgspec.convert({"source": "oci", "image": text}, OciEntry)
    image = parse_image(entry.image)
    assert image == IMAGES[text]
    assert parse_image(str(image)) == image


@pytest.mark.parametrize("text", NO_IMAGES)
def test_what_is_no_image_is_refused(text: str) -> None:
    """The pattern lets nothing through that would be read otherwise in a URL."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"source": "oci", "image": text}, OciEntry)


@pytest.mark.parametrize(
    ("registry", "url"),
    [
        ("docker.io", "https://registry-1.docker.io"),
        ("ghcr.io", "https://ghcr.io"),
        ("localhost:5000", "http://localhost:5000"),
        ("127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("10.0.0.1:5000", "https://10.0.0.1:5000"),
        ("localhost.example:5000", "https://localhost.example:5000"),
    ],
)
def test_plain_http_is_for_this_machine_only(registry: str, url: str) -> None:
    """Docker Hub's API is at another name than its images."""
    assert endpoint(registry) == url


def locked(*files: Artifact, revision: str | None = DIGEST, **keys: Any) -> LockedModel:
    return LockedModel(entry="", source="oci", revision=revision, files=files, **keys)


def changed(**fields: Any) -> LockedModel:
    return locked(msgspec.structs.replace(FILE, **fields))


REFUSED = {
    "no revision": locked(FILE, revision=None),
    "no digest": locked(FILE, revision="v1"),
    "no files": locked(),
    "archives": locked(FILE, archives=(FILE,)),
    "no SHA-256": changed(sha256=None),
    "no size": changed(size=None),
    "a pin of ours": changed(first_use=True),
    "a URL": changed(url="https://evil.example/x"),
    "an archive": changed(archive="model.gguf"),
    "into": changed(into="sub"),
    "content": changed(content="x"),
    "an ETag": changed(etag='"x"'),
    "an MD5": changed(md5="0" * 32),
    "git's id": changed(git_sha1="0" * 40),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_lock_that_no_registry_can_have_given_is_refused(name: str) -> None:
    """Only path, size, SHA-256 and root follow from a manifest."""
    source = Oci(OciEntry(image="ghcr.io/team/model:v1"))
    assert source.check(REFUSED[name])
    assert not source.check(locked(FILE))
    assert not source.check(changed(root="d" * 64))


def test_a_lock_has_the_digest_that_the_entry_says() -> None:
    """Another one is not what models.yaml declares; nor is a file that it leaves out."""
    pinned = Oci(OciEntry(image=f"ghcr.io/team/model@{DIGEST}"))
    assert not pinned.check(locked(FILE))
    assert pinned.check(locked(FILE, revision=f"sha256:{'b' * 64}")) == "its revision"
    chosen = Oci(OciEntry(image="ghcr.io/team/model", exclude=("*.gguf",)))
    assert chosen.check(locked(FILE))


def test_blobs_are_named_by_their_digest() -> None:
    """Registry first, then the mirrors, each with log-ins of its own; no host but theirs."""
    entry = OciEntry(image="ai/smollm2", mirrors=("https://mirror.example/",))
    first, second = Oci(entry).locate(FILE, DIGEST)
    assert first.url == f"https://registry-1.docker.io/v2/ai/smollm2/blobs/{DIGEST}"
    assert second.url == f"https://mirror.example/v2/ai/smollm2/blobs/{DIGEST}"
    assert first.challenge
    assert second.challenge
    assert (first.challenge.server, second.challenge.server) == ("docker.io", "mirror.example")
    assert first.challenge.token_hosts == {"auth.docker.io"}
    assert second.challenge.token_hosts == frozenset()


def named(
    content: bytes, kind: str, name: str = "", key: str = oci.NAME_KEYS[-1]
) -> dict[str, Any]:
    notes = {"annotations": {key: name}} if name else {}
    return {**layer(content), "mediaType": kind, **notes}


def resolved(
    registry: FakeRegistry, provider: Provider, layers: list[dict[str, Any]], **keys: Any
) -> dict[str, int]:
    """Return the sizes of what a manifest with these layers means, by path."""
    registry.put("team/m", "v1", manifest_of(layers))
    entry = OciEntry(image=f"{registry.name}/team/m:v1", **keys)
    found = ask("m", entry, Oci(entry), provider)
    return {each.path: each.size or 0 for each in found.files}


NAMED = {
    "ModelPack": (
        [
            named(b"1", f"{CNCF}.weight.v1.raw", "model.safetensors", FILEPATH),
            named(b"12", f"{CNCF}.weight.config.v1.raw", "./sub/config.json", FILEPATH),
            named(b"123", f"{CNCF}.doc.v1.tar", "docs", FILEPATH),
            named(b"1234", f"{CNCF}.code.v1.tar+gzip", "run.tar.gz", FILEPATH),
            named(b"12345", f"{CNCF}.dataset.v1.tar+zstd", "data", FILEPATH),
        ],
        {
            "model.safetensors": 1,
            "sub/config.json": 2,
            "docs.tar": 3,
            "run.tar.gz": 4,
            "data.tar.zst": 5,
        },
    ),
    "ModelPack's path before a title": (
        [
            {
                **named(b"1", f"{CNCF}.weight.v1.raw"),
                "annotations": {oci.NAME_KEYS[-1]: "a.bin", FILEPATH: "sub/a.bin"},
            }
        ],
        {"sub/a.bin": 1},
    ),
    "KitOps": (
        [
            named(b"1", f"{KITOPS}.model.v1.tar+gzip"),
            named(b"12", f"{KITOPS}.dataset.v1.tar"),
            named(b"123", f"{KITOPS}.dataset.v1.tar"),
        ],
        {"model.tar.gz": 1, "dataset-1.tar": 2, "dataset-2.tar": 3},
    ),
    "Ollama": (
        [
            named(b"1", f"{OLLAMA}.model"),
            named(b"12", f"{OLLAMA}.template"),
            named(b"123", f"{OLLAMA}.license"),
            named(b"1234", f"{OLLAMA}.license"),
            named(b"12345", f"{OLLAMA}.params"),
        ],
        {
            "model.gguf": 1,
            "template.txt": 2,
            "license-1.txt": 3,
            "license-2.txt": 4,
            "params.json": 5,
        },
    ),
    "Ollama's safetensors": (
        [{**named(b"1", f"{OLLAMA}.json"), "name": "config.json"}],
        {"config.json": 1},
    ),
    "Docker": (
        [
            named(b"1", f"{DOCKER}.gguf.v3"),
            named(b"12", f"{DOCKER}.gguf.v3"),
            named(b"123", f"{DOCKER}.mmproj"),
            named(b"1234", f"{DOCKER}.license"),
            named(b"12345", f"{DOCKER}.model.file", "vae/config.json", FILEPATH),
        ],
        {
            "model-00001-of-00002.gguf": 1,
            "model-00002-of-00002.gguf": 2,
            "model.mmproj": 3,
            "LICENSE": 4,
            "vae/config.json": 5,
        },
    ),
    "ORAS": (
        [
            named(b"1", f"{LAYER}.tar", "a.bin"),
            named(b"12", f"{LAYER}.tar+gzip", "folder"),
            named(b"123", f"{LAYER}.tar+gzip", "packed.tgz"),
        ],
        {"a.bin": 1, "folder.tar.gz": 2, "packed.tgz": 3},
    ),
    "the same file twice": (
        [named(b"1", f"{LAYER}.tar", "a.bin"), named(b"1", f"{LAYER}.tar", "a.bin")],
        {"a.bin": 1},
    ),
}


@pytest.mark.parametrize("kind", NAMED)
def test_files_have_the_names_of_their_publishers(
    registry: FakeRegistry, provider: Provider, kind: str
) -> None:
    """An annotation if there is one, else what the media type says."""
    layers, expected = NAMED[kind]
    assert resolved(registry, provider, layers) == expected


def test_patterns_choose_by_name(registry: FakeRegistry, provider: Provider) -> None:
    """What is left out is counted; patterns that leave nothing are told what there is."""
    layers, _ = NAMED["Ollama"]
    kept = resolved(registry, provider, layers, include=("*.gguf", "params*"), exclude=("p*",))
    assert kept == {"model.gguf": 1}
    with pytest.raises(ManifestError) as told:
        resolved(registry, provider, layers, include=("*.bin",))
    assert "model.gguf" in told.value.hint


HOSTILE_NAMES = (
    "../x",
    "/etc/passwd",
    "a/../../x",
    "a\\b",
    "C:x",
    "a\0b",
    "a\nb",
    "\x1b[2J",
    ".modelmake/receipts",
    "CON",
    "a//b",
    "a/",
    "%2e%2e/x",
    "n" * 300,
    "‥/x",
    "-x",
)


@pytest.mark.parametrize("name", HOSTILE_NAMES)
@pytest.mark.parametrize("key", oci.NAME_KEYS)
def test_a_hostile_name_is_refused(
    registry: FakeRegistry, provider: Provider, key: str, name: str
) -> None:
    """A title leads to no place outside the model's folder, and is shown escaped."""
    with pytest.raises(BadResponse) as told:
        resolved(registry, provider, [named(b"1", f"{LAYER}.tar", name, key)])
    assert "layer 1" in str(told.value)
    assert str(told.value).isprintable()


BAD_MANIFESTS: dict[str, tuple[Any, str]] = {
    "no JSON": (b"<html>", "cannot be read"),
    "not UTF-8": (b"\xff{}", "cannot be read"),
    "a list": (b"[]", "cannot be read"),
    "deep": (b"[" * 200_000, "cannot be read"),
    "of schema 1": (b'{"schemaVersion": 1, "fsLayers": []}', "of an old kind"),
    "no layers": (manifest_of([]), "lists no files"),
    "a negative size": (manifest_of([{**layer(b"1", "a"), "size": -1}]), "cannot be read"),
    "a huge size": (manifest_of([{**layer(b"1", "a"), "size": 2**63}]), "cannot be read"),
    "sizes that are too large": (
        manifest_of([{**layer(b"1", "a"), "size": 2**62}, layer(b"2", "b")]),
        "too large",
    ),
    "a SHA-512": (
        manifest_of([{**layer(b"1", "a"), "digest": f"sha512:{'0' * 128}"}]),
        "no SHA-256",
    ),
    "a digest in capitals": (
        manifest_of([{**layer(b"1", "a"), "digest": f"sha256:{'A' * 64}"}]),
        "no SHA-256",
    ),
    "a digest that is a path": (
        manifest_of([{**layer(b"1", "a"), "digest": f"sha256:{'../' * 21}a"}]),
        "no SHA-256",
    ),
    "a name twice": (manifest_of([layer(b"1", "a"), layer(b"2", "a")]), "two of its layers"),
    "a name twice, in another case": (
        manifest_of([layer(b"1", "a"), layer(b"2", "A")]),
        "would be one place",
    ),
    "a file that is a folder": (
        manifest_of([layer(b"1", "a"), layer(b"2", "a/b")]),
        "a/b",
    ),
    "a layer without a name": (manifest_of([layer(b"1")]), "has no file name"),
    "a layer of a media type that is no text": (
        manifest_of([{**layer(b"1"), "mediaType": "a\x1b[2Jb"}]),
        "has no file name",
    ),
    "a container": (
        manifest_of([named(b"1", f"{LAYER}.tar+gzip"), named(b"2", f"{LAYER}.tar+gzip")]),
        "container's image",
    ),
    "a container of Docker": (
        manifest_of([named(b"1", "application/vnd.docker.image.rootfs.diff.tar.gzip")]),
        "container's image",
    ),
    "too long": (manifest_of([layer(b"1", "a")], annotations={"a": "x" * (4 << 20)}), "4,194,304"),
    "much too long": (b" " * (17 << 20), "16,777,216"),
}


@pytest.mark.parametrize("kind", BAD_MANIFESTS)
def test_a_bad_manifest_is_refused(registry: FakeRegistry, provider: Provider, kind: str) -> None:
    """Each is one error with the image's name, and nothing is locked."""
    manifest, what = BAD_MANIFESTS[kind]
    registry.put("team/m", "v1", manifest)
    entry = OciEntry(image=f"{registry.name}/team/m:v1")
    with pytest.raises(ModelmakeError, match=what) as told:
        ask("m", entry, Oci(entry), provider)
    assert str(told.value).isprintable()


def test_a_manifest_of_another_digest_is_refused(
    registry: FakeRegistry, provider: Provider
) -> None:
    """What `@sha256:…` names is compared with the bytes that came, not with a header."""
    right = registry.push("team/m", "v1", FILES)
    registry.manifests["team/m", right] = registry.manifests["team/model", "v1"]
    registry.manifests["team/m", right] = ("x", manifest_of([layer(b"evil", "model.gguf")]))
    with pytest.raises(BadResponse, match="sent another manifest"):
        Oci(OciEntry(image=f"{registry.name}/team/m@{right}")).resolve(provider)


def index_of(*digests: str, **fields: Any) -> bytes:
    listed = [{"mediaType": "x", "size": 1, "digest": each, **fields} for each in digests]
    return json.dumps({"schemaVersion": 2, "manifests": listed}).encode()


def test_the_only_manifest_of_an_index_is_taken(registry: FakeRegistry, provider: Provider) -> None:
    """Attestations do not count; the revision is what the tag names."""
    digest = registry.push("team/m", "inner", FILES)
    attested = {"annotations": {oci.ATTESTATION: "attestation-manifest"}}
    manifests = json.loads(index_of(digest))["manifests"]
    manifests += json.loads(index_of(DIGEST, **attested))["manifests"]
    text = json.dumps({"schemaVersion": 2, "manifests": manifests}).encode()
    revision = registry.put("team/m", "v1", text)
    found = Oci(OciEntry(image=f"{registry.name}/team/m:v1")).resolve(provider)
    assert found.revision == revision
    assert {each.path for each in found.artifacts} == {*FILES}


def test_of_several_manifests_the_user_chooses(registry: FakeRegistry, provider: Provider) -> None:
    """The error lists their digests and platforms, and says what to write."""
    platform = {"platform": {"os": "linux", "architecture": "arm64"}}
    registry.put("team/m", "v1", index_of(DIGEST, f"sha256:{'b' * 64}", **platform))
    with pytest.raises(SourceError, match=rf"2 manifests.*{DIGEST}.*linux/arm64") as told:
        Oci(OciEntry(image=f"{registry.name}/team/m:v1")).resolve(provider)
    assert f"{registry.name}/team/m@sha256:" in told.value.hint


@pytest.mark.parametrize(
    "text", [index_of(), index_of("sha512:0"), index_of("../../x")], ids=["none", "512", "path"]
)
def test_an_index_without_a_manifest_is_refused(
    registry: FakeRegistry, provider: Provider, text: bytes
) -> None:
    """A digest of an index is part of a URL, so it has to be one."""
    registry.put("team/m", "v1", text)
    with pytest.raises(SourceError, match="index of"):
        Oci(OciEntry(image=f"{registry.name}/team/m:v1")).resolve(provider)


def test_an_index_in_an_index_is_refused(registry: FakeRegistry, provider: Provider) -> None:
    """There is no end of them."""
    inner = registry.put("team/m", "inner", index_of(DIGEST))
    registry.put("team/m", "v1", index_of(inner))
    with pytest.raises(BadResponse, match="lists no layers"):
        Oci(OciEntry(image=f"{registry.name}/team/m:v1")).resolve(provider)


ANSWERS: dict[str, tuple[int, type[ModelmakeError], str, str]] = {
    "MANIFEST_UNKNOWN": (404, NotFound, "has no tag v1", "Check the tag"),
    "NAME_UNKNOWN": (404, NotFound, "There is no", "docker login"),
    "UNAUTHORIZED": (401, AccessDenied, "is private, or does not exist", "docker login"),
    "DENIED": (403, AccessDenied, "is private, or does not exist", "docker login"),
    "TOOMANYREQUESTS": (429, ServerBusy, "TOOMANYREQUESTS", "may raise the limit"),
}


@pytest.mark.parametrize("code", ANSWERS)
def test_each_refusal_says_what_to_do(
    registry: FakeRegistry, provider: Provider, code: str
) -> None:
    """The codes of the distribution specification, in words about the image."""
    status, kind, what, hint = ANSWERS[code]
    registry.api.always("/v2/team/m/manifests/v1", lambda *_: error(status, code))
    with pytest.raises(kind, match=what) as told:
        Oci(OciEntry(image=f"{registry.name}/team/m:v1")).resolve(provider)
    assert hint in told.value.hint


def write_config(folder: Path, monkeypatch: pytest.MonkeyPatch, config: object) -> None:
    folder.mkdir(exist_ok=True)
    text = config if isinstance(config, str) else json.dumps(config)
    (folder / "config.json").write_text(text)
    monkeypatch.setenv("DOCKER_CONFIG", str(folder))


def pair(user: str, password: str) -> str:
    return base64.b64encode(f"{user}:{password}".encode()).decode()


ADA = LogIn(user="ada", password="correct:horse")
AUTH = {"auth": pair("ada", "correct:horse")}
LOG_INS: dict[str, tuple[str, object, LogIn | None]] = {
    "by name": ("ghcr.io", {"auths": {"ghcr.io": AUTH}}, ADA),
    "with a port": ("ghcr.io:8443", {"auths": {"ghcr.io": {}, "ghcr.io:8443": AUTH}}, ADA),
    "as a URL": ("ghcr.io", {"auths": {"https://ghcr.io/v2/": AUTH}}, ADA),
    "Docker Hub's": ("docker.io", {"auths": {"https://index.docker.io/v1/": AUTH}}, ADA),
    "written out": (
        "ghcr.io",
        {"auths": {"ghcr.io": {"username": "ada", "password": "correct:horse"}}},
        ADA,
    ),
    "another's": ("ghcr.io", {"auths": {"evil.ghcr.io": AUTH, "ghcr.io.evil": AUTH}}, None),
    "of another port": ("ghcr.io", {"auths": {"ghcr.io:444": AUTH}}, None),
    "empty": ("ghcr.io", {"auths": {"ghcr.io": {}}}, None),
    "no base64": ("ghcr.io", {"auths": {"ghcr.io": {"auth": "?"}}}, None),
    "none": ("ghcr.io", {}, None),
}


@pytest.mark.parametrize("kind", LOG_INS)
def test_log_ins_are_dockers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """As `docker login` writes them, for exactly that registry."""
    registry, config, expected = LOG_INS[kind]
    write_config(tmp_path / "docker", monkeypatch, config)
    assert docker_log_in(registry) == expected


def test_the_usual_place_is_in_the_home_folder() -> None:
    """Without DOCKER_CONFIG; a file that is not there is no error."""
    assert docker_log_in("ghcr.io") is None
    folder = Path("~/.docker").expanduser()
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"auths": {"ghcr.io": AUTH}}))
    assert docker_log_in("ghcr.io") == ADA


Helper = Callable[[str], None]


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Helper:
    """Give a function that installs docker-credential-test with a body of shell."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder), prepend=":")

    def install(body: str) -> None:
        program = folder / "docker-credential-test"
        program.write_text(f"#!/bin/sh\nread -r server\n{body}\n")
        program.chmod(0o755)

    return install


PRINTS = """printf '{"ServerURL":"%s","Username":"ada","Secret":"correct:horse"}' "$server" """
BY_HELPER: dict[str, tuple[str, Mapping[str, object], str, LogIn | None]] = {
    "for all": ("ghcr.io", {"credsStore": "test"}, PRINTS, ADA),
    "for one": ("ghcr.io", {"credHelpers": {"ghcr.io": "test"}}, PRINTS, ADA),
    "for another": ("ghcr.io", {"credHelpers": {"quay.io": "test"}}, PRINTS, None),
    "before the file": (
        "ghcr.io",
        {"credsStore": "test", "auths": {"ghcr.io": {"auth": pair("old", "old")}}},
        PRINTS,
        ADA,
    ),
    "that has none": ("ghcr.io", {"credsStore": "test"}, "echo no; exit 1", None),
    "else the file": (
        "ghcr.io",
        {"credsStore": "test", "auths": {"ghcr.io": AUTH}},
        "echo no; exit 1",
        ADA,
    ),
    "Docker Hub's": (
        "docker.io",
        {"credsStore": "test"},
        f'test "$server" = https://index.docker.io/v1/ && {PRINTS}',
        ADA,
    ),
}


@pytest.mark.parametrize("kind", BY_HELPER)
def test_a_credential_helper_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, helper: Helper, kind: str
) -> None:
    """docker-credential-NAME gets the registry on standard input."""
    registry, config, body, expected = BY_HELPER[kind]
    helper(body)
    write_config(tmp_path / "docker", monkeypatch, config)
    assert docker_log_in(registry) == expected


FAULTS: dict[str, tuple[object, str, str]] = {
    "broken": ("{", "", "cannot be read"),
    "of other types": ('{"auths": []}', "", "cannot be read"),
    "helper not installed": ({"credsStore": "nowhere"}, "", "not installed"),
    "helper that is a path": ({"credsStore": "../evil"}, "", "not installed"),
    "helper that prints nothing": ({"credsStore": "test"}, "exit 0", "printed no log-in"),
    "helper that hangs": ({"credsStore": "test"}, "exec sleep 600", "within 0 s"),
    "identity token": ({"auths": {"ghcr.io": {"identitytoken": "secret-token"}}}, "", "identity"),
    "identity token of a helper": (
        {"credsStore": "test"},
        """echo '{"Username":"<token>","Secret":"secret-token"}'""",
        "identity",
    ),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_a_log_in_that_cannot_be_read_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, helper: Helper, kind: str
) -> None:
    """Not silence: without it a registry only says that access is denied."""
    config, body, what = FAULTS[kind]
    helper(body)
    if "hangs" in kind:
        monkeypatch.setattr(_docker_config, "HELPER_SECONDS", 0.2)
    write_config(tmp_path / "docker", monkeypatch, config)
    with pytest.raises(SettingError, match=what) as told:
        docker_log_in("ghcr.io")
    assert told.value.hint
    assert "secret-token" not in told.value.report()


def test_no_log_in_is_shown() -> None:
    """In a traceback its `repr` would be."""
    assert "horse" not in repr(ADA)
    assert "ada" not in repr(ADA)


def test_digests_are_of_bytes(registry: FakeRegistry, provider: Provider) -> None:
    """The revision is the SHA-256 of the manifest as it came."""
    _, text = registry.manifests["team/model", "v1"]
    found = Oci(OciEntry(image=f"{registry.name}/team/model:v1")).resolve(provider)
    assert found.revision == digest_of(text)
