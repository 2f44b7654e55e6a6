"""A registry as a place for published copies: Debian's docker-registry, and one that is odd."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from downloader.errors import (
    AccessDenied,
    BadResponse,
    ConnectionLost,
    DigestMismatch,
    Interrupted,
    ModelmakeError,
    SettingError,
    Stop,
)
from downloader.fs.rooted_path import RootedPath
from downloader.network.client import Client, Head
from downloader.settings import Settings
from downloader.transfer import _registry
from downloader.transfer.places import PART_BYTES, Edition, Place, Upload, open_place
from downloader.urls import Location
from tests.servers.exchange import Exchange
from tests.servers.fake_registry import FakeRegistry
from tests.servers.faulty import FaultyServer
from tests.servers.honest import dated
from tests.servers.process import free_port
from tests.servers.registry import DockerRegistry
from tests.servers.reply import Reply
from tests.transfer.desk import sha256

BODY = bytes(range(256)) * (PART_BYTES // 256) * 3 + b"tail"
Start = Callable[..., DockerRegistry]


@pytest.fixture
def client() -> Iterator[Client]:
    """Give a client with some patience."""
    with closing(Client(Settings(timeout_seconds=30.0, retries=3))) as made:
        yield made


@pytest.fixture
def registry(docker_registry: Start) -> DockerRegistry:
    """Give the real registry."""
    return docker_registry()


@pytest.fixture
def place(registry: DockerRegistry, client: Client) -> Place:
    """Give a repository of it."""
    return open_place(f"oci://{registry.name}/team/models", client)


@pytest.fixture(params=[True])
def in_parts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Let a large blob be one of more than 1 MiB and some bytes, unless a test says otherwise."""
    if request.param:
        monkeypatch.setattr(_registry, "PART_BYTES", PART_BYTES + 1000)
    return bool(request.param)


def upload(
    tmp_path: Path, body: bytes, moved: list[int] | None = None, *, wrong: bytes | None = None
) -> Upload:
    """Return an upload of a file that is to be `body`."""
    file = tmp_path / "a.bin"
    file.write_bytes(body if wrong is None else wrong)
    return Upload(
        name="m/a.bin",
        file=RootedPath.of(file),
        sha256=sha256(body),
        size=len(body),
        moved=(moved if moved is not None else []).append,
        stop=Stop(),
    )


def kept(registry: DockerRegistry, digest: str) -> bytes | None:
    """Return a blob as anybody gets it."""
    status, _, body = registry.call("GET", f"/v2/team/models/blobs/sha256:{digest}")
    return body if status == 200 else None


@pytest.mark.parametrize("body", [b"", b"x", BODY[:PART_BYTES], BODY], ids=len)
@pytest.mark.parametrize("in_parts", [False, True], indirect=True)
def test_a_blob_is_there_afterwards(
    registry: DockerRegistry,
    place: Place,
    tmp_path: Path,
    body: bytes,
    *,
    in_parts: bool,
) -> None:
    """Whole, under its digest; every byte was told once."""
    moved: list[int] = []
    assert not place.has(sha256(body), len(body))
    place.upload(upload(tmp_path, body, moved))
    assert place.has(sha256(body), len(body))
    assert kept(registry, sha256(body)) == body
    assert sum(moved) == len(body)
    assert ("PATCH" in registry.log) == (in_parts and body is BODY)


@pytest.mark.usefixtures("in_parts")
@pytest.mark.parametrize("in_parts", [False, True], indirect=True)
@pytest.mark.parametrize("wrong", [b"y" * len(BODY), BODY + b"more", BODY[:-1]])
def test_other_bytes_are_not_kept(
    registry: DockerRegistry,
    place: Place,
    tmp_path: Path,
    wrong: bytes,
) -> None:
    """A file that changed since it was verified is refused before its end is sent."""
    with pytest.raises(DigestMismatch, match=r"m/a\.bin"):
        place.upload(upload(tmp_path, BODY, wrong=wrong))
    assert kept(registry, sha256(BODY)) is None
    assert kept(registry, sha256(wrong)) is None


class Breaking(Upload, frozen=True, kw_only=True):
    """An upload whose connection breaks at some bytes, once each."""

    at: list[int]

    def parts(self, start: int = 0) -> Iterator[bytes]:
        """See Upload."""
        done = start
        for piece in Upload.parts(self, start):
            if self.at and done >= self.at[0]:
                del self.at[0]
                raise ConnectionLost("broken by the test")
            yield piece
            done += len(piece)


@pytest.mark.usefixtures("in_parts")
def test_a_blob_that_breaks_off_is_sent_again(
    registry: DockerRegistry, place: Place, tmp_path: Path
) -> None:
    """docker-registry 2.8 drops an upload whose connection broke in a part, so it begins anew."""
    whole = upload(tmp_path, BODY)
    fields = {name: getattr(whole, name) for name in ("name", "file", "sha256", "size", "stop")}
    at = [PART_BYTES, 2 * PART_BYTES]
    place.upload(Breaking(**fields, moved=lambda _: None, at=at))
    assert not at
    assert kept(registry, sha256(BODY)) == BODY
    assert registry.log.count('"POST /v2/team/models/blobs/uploads/') == 3


def test_a_run_that_is_stopped_keeps_nothing(
    registry: DockerRegistry, place: Place, tmp_path: Path
) -> None:
    """The upload is broken off."""
    blob = upload(tmp_path, BODY)
    blob.stop.set()
    with pytest.raises(Interrupted):
        place.upload(blob)
    assert kept(registry, sha256(BODY)) is None


def test_an_edition_is_an_artifact_of_files(
    registry: DockerRegistry, place: Place, tmp_path: Path
) -> None:
    """Tagged by its lock, and `latest`; again it is the same."""
    place.upload(upload(tmp_path, b"weights"))
    files = [{"path": "sub/a.bin", "size": 7, "sha256": sha256(b"weights")}]
    files.append({"path": "absent.bin", "size": 7, "sha256": "0" * 64})
    lock = json.dumps({"version": 1, "models": {"m": {"files": files}}}).encode()
    edition = Edition(lock, b"pieces", ((sha256(b"weights"), 7),))
    for _ in range(2):
        place.write(edition)
    for tag in ("latest", edition.sha256):
        _, _, text = registry.call(
            "GET", f"/v2/team/models/manifests/{tag}", Accept=_registry.MANIFEST
        )
        titles = {
            each["annotations"][_registry.TITLE]: each["digest"].partition(":")[2]
            for each in json.loads(text)["layers"]
        }
        assert titles == {
            "m/sub/a.bin": sha256(b"weights"),
            "models.lock": sha256(lock),
            "models.pieces": sha256(b"pieces"),
        }


def test_too_many_files_are_an_error_about_that(place: Place) -> None:
    """A registry may refuse a manifest of more than 4 MiB."""
    files = [{"path": f"{n}.bin", "size": 1, "sha256": "0" * 64} for n in range(30_000)]
    lock = json.dumps({"models": {"m": {"files": files}}}).encode()
    with pytest.raises(SettingError, match="too many files") as told:
        place.write(Edition(lock, b"", (("0" * 64, 1),)))
    assert "fewer models" in told.value.hint


Answer = Callable[[Exchange], Reply | None]


class Odd(FaultyServer):
    """A registry that a test makes odd: what `answers` has for a method comes first."""

    def __init__(self) -> None:
        super().__init__(self._reply)
        self.answers: dict[str, Answer] = {}
        self.kept: dict[str, bytes] = {}

    def _reply(self, exchange: Exchange) -> Reply:
        request = exchange.request
        found = self.answers[request.method](exchange) if request.method in self.answers else None
        if found is not None:
            return dated(found)
        digest = dict(request.query).get("digest", "").removeprefix("sha256:")
        if request.method == "POST":
            return dated(begun("/v2/a/blobs/uploads/1"))
        if request.method == "PUT" and digest:
            self.kept[digest] = request.body
            return dated(Reply(status=201).with_body(b""))
        content = self.kept.get(request.path.rpartition(":")[2])
        return dated(Reply(status=404 if content is None else 200).with_body(content or b""))


def begun(location: str) -> Reply:
    return Reply(status=202).with_body(b"").with_header("Location", location)


@pytest.fixture
def odd() -> Iterator[Odd]:
    """Give an odd registry."""
    with Odd() as running:
        yield running


@pytest.mark.usefixtures("in_parts")
@pytest.mark.parametrize("status", [404, 405, 415, 416, 501])
def test_a_registry_that_takes_no_parts_gets_blobs_whole(
    odd: Odd, client: Client, tmp_path: Path, status: int
) -> None:
    """It is asked once in a run."""
    odd.answers["PATCH"] = lambda _: Reply(status=status).with_body(b"")
    place = open_place(f"oci://127.0.0.1:{odd.port}/a", client)
    for body in (BODY, BODY[::-1]):
        place.upload(upload(tmp_path, body))
        assert odd.kept[sha256(body)] == body
    assert [each.method for each in odd.requests].count("PATCH") == 1


@pytest.mark.usefixtures("in_parts")
def test_a_blob_goes_on_where_the_registry_stopped(
    odd: Odd, client: Client, tmp_path: Path
) -> None:
    """Each part is kept by half at first; no byte that was kept is sent again."""
    got = bytearray()
    failing = [True]

    def take(exchange: Exchange) -> Reply:
        body, start = exchange.request.body, len(got)
        whole = f"{start}-{start + len(body) - 1}"
        assert exchange.request.headers["Content-Range"] == whole
        got.extend(body[: len(body) // 2] if failing[0] else body)
        failing[0] = not failing[0]
        if not failing[0]:
            return Reply(status=503).with_body(b"")
        return begun("/v2/a/blobs/uploads/2").with_header("Range", f"0-{len(got) - 1}")

    def tell(_: Exchange) -> Reply:
        reply = Reply(status=204).with_header("Range", f"0-{len(got) - 1}")
        return reply.with_header("Location", "/v2/a/blobs/uploads/3")

    odd.answers = {"PATCH": take, "GET": tell}
    open_place(f"oci://127.0.0.1:{odd.port}/a", client).upload(upload(tmp_path, BODY))
    assert bytes(got) == BODY
    assert [each.method for each in odd.requests].count("POST") == 1
    assert sha256(BODY) in odd.kept


def test_a_blob_whose_reply_was_lost_is_not_sent_again(
    odd: Odd, client: Client, tmp_path: Path
) -> None:
    """The registry is asked for it first."""
    lost = [True]

    def lose(exchange: Exchange) -> Reply | None:
        if not lost:
            return None
        lost.clear()
        odd.kept[sha256(b"weights")] = exchange.request.body
        return Reply(status=503).with_body(b"")

    odd.answers["PUT"] = lose
    open_place(f"oci://127.0.0.1:{odd.port}/a", client).upload(upload(tmp_path, b"weights"))
    assert [each.method for each in odd.requests] == ["POST", "PUT", "HEAD"]
    assert "Transfer-Encoding" not in odd.requests[-1].headers


@pytest.mark.parametrize(
    "location",
    [
        "",
        "http://[",
        "http://registry.example/upload",
        "ftp://127.0.0.1/x",
        "http://u:p@127.0.0.1/",
    ],
)
def test_a_place_that_nobody_may_send_to_is_refused(
    odd: Odd, client: Client, tmp_path: Path, location: str
) -> None:
    """A model is not sent in plain text, nor where it cannot go."""
    odd.answers["POST"] = lambda _: begun(location)
    with pytest.raises(BadResponse, match="does not say where"):
        open_place(f"oci://127.0.0.1:{odd.port}/a", client).upload(upload(tmp_path, b"x"))


def test_an_error_names_the_place_and_no_blob(client: Client) -> None:
    """That is what the user typed; which blob was asked for first says nothing."""
    place = f"oci://127.0.0.1:{free_port()}/team/models"
    with pytest.raises(ConnectionLost) as caught:
        open_place(place, client).has(sha256(BODY), len(BODY))
    assert str(caught.value) == f"The connection to {place} failed: Connection refused."


@pytest.mark.parametrize(
    ("peer", "is_refused"), [("8.8.8.8", True), ("", True), ("10.1.2.3", False)]
)
def test_a_public_registry_may_not_send_a_model_into_the_private_network(
    server: FaultyServer, client: Client, peer: str, *, is_refused: bool
) -> None:
    """No server of this machine is to be written to because a stranger says so."""
    server.always("/upload", lambda *_: Reply(status=201).with_body(b""))
    registry = open_place("oci://registry.example/a", client)
    assert isinstance(registry, _registry.Registry)
    url = "https://registry.example/v2/a/blobs/uploads/"
    fields = {"Location": [f"http://127.0.0.1:{server.port}/upload"]}
    head = Head(status=202, place=url, values=lambda name: fields.get(name, []))
    reply: Any = SimpleNamespace(url=url, peer=peer, head=head)
    place = registry.next_place(reply, Location(url=url))
    refuses = pytest.raises(BadResponse, match="a private address") if is_refused else nullcontext()
    with refuses:
        registry.end(place, sha256(b"x"), 1, b"x")
    assert bool(server.requests) is not is_refused


@pytest.mark.parametrize("asks", [False, True])
def test_another_server_gets_the_bytes_without_the_token(
    odd: Odd, server: FaultyServer, client: Client, tmp_path: Path, *, asks: bool
) -> None:
    """The registry may have them sent to its storage; its token is for itself, whoever asks."""
    with FakeRegistry() as fake:
        token = f"Bearer {'t' * 20}"
        fake.service.always("/token", lambda *_: Reply(status=200).with_body(token_of(token)))
        asked = f'Bearer realm="{fake.realm}",service="s"'
        refused = Reply(status=401).with_body(b"").with_header("WWW-Authenticate", asked)

        def begin(exchange: Exchange) -> Reply:
            if exchange.request.headers.get("Authorization") != token:
                return refused
            return begun(server.url("/storage?signed=1"))

        odd.answers["POST"] = begin
        done = refused if asks else Reply(status=201).with_body(b"")
        server.always("/storage", lambda *_: done)
        place = open_place(f"oci://127.0.0.1:{odd.port}/a", client)
        with pytest.raises(AccessDenied) if asks else nullcontext():
            place.upload(upload(tmp_path, b"weights"))
        (request,) = fake.service.requests
        assert dict(request.query)["scope"] == "repository:a:pull,push"
    (sent,) = server.requests
    assert sent.body == b"weights"
    assert "Authorization" not in sent.headers


def token_of(header: str) -> bytes:
    return json.dumps({"token": header.partition(" ")[2]}).encode()


REFUSALS: Mapping[str, tuple[int, type[ModelmakeError], str]] = {
    "DENIED": (403, AccessDenied, "may write to it"),
    "UNAUTHORIZED": (401, AccessDenied, "may write to it"),
    "NAME_UNKNOWN": (404, ModelmakeError, "docker login"),
}


@pytest.mark.parametrize("code", REFUSALS)
def test_a_refusal_says_what_the_account_needs(
    odd: Odd, client: Client, tmp_path: Path, code: str
) -> None:
    """Reading is another right than writing."""
    status, kind, hint = REFUSALS[code]
    body = json.dumps({"errors": [{"code": code, "message": "no"}]}).encode()
    odd.answers["POST"] = lambda _: Reply(status=status).with_body(body)
    with pytest.raises(kind, match=code) as told:
        open_place(f"oci://127.0.0.1:{odd.port}/a", client).upload(upload(tmp_path, b"x"))
    assert hint in told.value.hint
