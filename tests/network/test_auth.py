"""What a server asks for in WWW-Authenticate, and which token services are asked."""

import threading
from collections.abc import Iterator
from contextlib import closing
from http import HTTPStatus
from typing import NoReturn

import pytest
from msgspec import structs
from msgspec.structs import replace

from downloader.errors import AccessDenied, BadResponse, ModelmakeError, ServerBusy
from downloader.network._auth import Tokens, challenges
from downloader.network.client import Client, Head
from downloader.settings import Settings
from downloader.sources.oci import challenge_for, endpoint
from downloader.urls import Location, LogIn
from tests.servers.fake_registry import FakeRegistry, digest_of
from tests.servers.faults import statuses

CONTENT = b"weights"
USERS = {"ada": "correct horse"}
BLOB = f"/v2/team/model/blobs/{digest_of(CONTENT)}"


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    """Give a registry that wants a token."""
    with FakeRegistry() as running:
        running.push("team/model", "v1", {"model.gguf": CONTENT})
        running.requires_token(uses=100)
        yield running


@pytest.fixture
def client() -> Iterator[Client]:
    """Give the program's client, without patience."""
    with closing(Client(Settings(timeout_seconds=5.0, retries=1))) as made:
        yield made


def ada(_: str) -> LogIn:
    return LogIn(user="ada", password=USERS["ada"])


def wrong(_: str) -> LogIn:
    return LogIn(user="ada", password="wrong")


def nobody(_: str) -> None:
    return None


def blob(registry: FakeRegistry, log_in: object = nobody) -> Location:
    challenge = structs.replace(challenge_for(registry.name, "team/model"), log_in=log_in)
    return Location(url=registry.api.url(BLOB), challenge=challenge)


def read(client: Client, location: Location) -> bytes:
    with client.open(location, {}, is_pinned=True) as reply:
        if reply.head.status != HTTPStatus.OK:
            raise reply.refusal(location)
        return reply.read_some(100)


HEADERS: dict[str, list[tuple[str, dict[str, str]]]] = {
    'Bearer realm="https://a/token",service="a",scope="repository:x:pull"': [
        ("bearer", {"realm": "https://a/token", "service": "a", "scope": "repository:x:pull"})
    ],
    'BEARER Realm = "https://a" , Service=a': [("bearer", {"realm": "https://a", "service": "a"})],
    'Basic realm="a, b=\\"c\\""': [("basic", {"realm": 'a, b="c"'})],
    'Basic realm="a", Bearer realm="b",scope="c,d"': [
        ("basic", {"realm": "a"}),
        ("bearer", {"realm": "b", "scope": "c,d"}),
    ],
    "Negotiate, Basic realm=a": [("negotiate", {}), ("basic", {"realm": "a"})],
    "Negotiate": [("negotiate", {})],
    'Bearer realm="a",realm="b"': [("bearer", {"realm": "a"})],
    'Bearer realm="a': [("bearer", {})],
    "": [],
    "=": [],
    '"': [],
}


@pytest.mark.parametrize("text", HEADERS)
def test_challenges_are_read(text: str) -> None:
    """Names in any case, quoted or not, several in one header; the first of two counts."""
    assert list(challenges(text)) == HEADERS[text]


def test_a_long_header_takes_no_time() -> None:
    """No text makes the parser go back and forth."""
    for piece in ('a="', "a=", ", ", 'a="\\', "a ", 'Bearer a="b",'):
        list(challenges(piece * 20_000))


def test_one_token_serves_many_requests(registry: FakeRegistry, client: Client) -> None:
    """It is asked for once, anonymously, with the service and scope that the registry names."""
    for _ in range(3):
        assert read(client, blob(registry)) == CONTENT
    (asked,) = registry.service.requests
    assert dict(asked.query) == {"service": registry.name, "scope": "repository:team/model:pull"}
    assert "Authorization" not in asked.headers
    assert [each.status for each in registry.requests] == [401, 200, 200, 200]


@pytest.mark.parametrize("redirects", [False, True])
def test_a_token_that_ends_is_replaced(
    registry: FakeRegistry, client: Client, *, redirects: bool
) -> None:
    """Each is good for two requests; no caller notices, and storage never sees one."""
    registry.redirects = redirects
    registry.requires_token(uses=2)
    for _ in range(5):
        assert read(client, blob(registry)) == CONTENT
        registry.storage.expire_links()
    assert len(registry.issued) == 3
    assert registry.storage.with_credentials == []


def test_connections_share_a_new_token(registry: FakeRegistry, client: Client) -> None:
    """All are refused at once, and one of them asks."""
    got: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: got.append(read(client, blob(registry)))) for _ in range(8)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert got == [CONTENT] * 8
    assert len(registry.issued) == 1


def test_a_password_goes_to_the_token_service_only(registry: FakeRegistry, client: Client) -> None:
    """The registry itself gets the token."""
    registry.requires_token(uses=100, users=USERS)
    assert read(client, blob(registry, ada)) == CONTENT
    assert [each.headers.get("Authorization", "")[:6] for each in registry.service.requests] == [
        "Basic "
    ]
    sent = [each.headers.get("Authorization", "") for each in registry.requests]
    assert sent == ["", f"Bearer {registry.issued[0]}"]


@pytest.mark.parametrize(
    ("log_in", "what"), [(nobody, "without a log-in"), (wrong, "refused your log-in")]
)
def test_no_token_is_an_error_about_the_log_in(
    registry: FakeRegistry, client: Client, log_in: object, what: str
) -> None:
    """It names the registry, says what to run, and shows no password."""
    registry.requires_token(uses=100, users=USERS)
    with pytest.raises(AccessDenied, match=what) as told:
        read(client, blob(registry, log_in))
    assert f"docker login {registry.name}" in told.value.hint


def test_a_password_is_sent_where_it_is_asked_for(registry: FakeRegistry, client: Client) -> None:
    """Basic: to the registry itself, once it asked, and not again if it is wrong."""
    registry.challenge = "Basic"
    registry.requires_token(uses=100, users=USERS)
    for _ in range(2):
        assert read(client, blob(registry, ada)) == CONTENT
    assert [each.status for each in registry.requests] == [401, 200, 200]
    for log_in, sent in (wrong, 2), (nobody, 1):
        before = len(registry.requests)
        with closing(Client(client.settings)) as other, pytest.raises(AccessDenied):
            read(other, blob(registry, log_in))
        assert len(registry.requests) == before + sent


def test_a_refused_token_is_not_renewed_for_ever(registry: FakeRegistry, client: Client) -> None:
    """A registry that takes no token gets one per request, and the refusal is told."""
    registry.requires_token(uses=0)
    with pytest.raises(AccessDenied, match="401 UNAUTHORIZED"):
        read(client, blob(registry))
    assert len(registry.issued) == 1


def test_a_location_without_a_challenge_answers_none(
    registry: FakeRegistry, client: Client
) -> None:
    """A server of another provider may ask as it likes."""
    with pytest.raises(AccessDenied):
        read(client, replace(blob(registry), challenge=None))
    assert registry.service.requests == []


def test_storage_that_asks_for_a_token_gets_none(client: Client) -> None:
    """Only the location's own origin may ask: another would choose who is asked."""
    with FakeRegistry() as open_to_all:
        open_to_all.push("team/model", "v1", {"model.gguf": CONTENT})
        open_to_all.redirects = True
        asked = f'Bearer realm="{open_to_all.realm}",service="{open_to_all.name}"'
        path = f"/xet-bridge-us/{digest_of(CONTENT).removeprefix('sha256:')}"
        refused = statuses.status(401, b"", {"WWW-Authenticate": asked})
        open_to_all.storage.always(path, refused)
        with pytest.raises(AccessDenied):
            read(client, blob(open_to_all, ada))
        assert open_to_all.service.requests == []


@pytest.mark.parametrize("scheme", ["Basic", 'Bearer realm="https://mirror.example/token",x'])
def test_nothing_is_sent_in_plain_text(scheme: str) -> None:
    """A mirror may be plain http, since digests prove its bytes; a log-in never goes there."""
    url = "http://mirror.example/v2/a/blobs/b"
    challenge = structs.replace(challenge_for("mirror.example", "a"), log_in=ada)
    head = Head(status=401, place=url, values=lambda _: [f'{scheme} realm="x"'])
    location = Location(url=url, challenge=challenge)
    assert Tokens().answer(location, head, asked_by_nobody) is None


def asked_by_nobody(url: str, _: object) -> NoReturn:
    raise AssertionError(f"{url} was asked")


ANSWERS = {
    "no JSON": b"<html>",
    "no token": b"{}",
    "an empty one": b'{"token": ""}',
    "a number": b'{"token": 1}',
    "a line end": b'{"token": "a\\r\\nX: b"}',
    "a space": b'{"token": "a b"}',
    "another script": '{"token": "ä"}'.encode(),
    "deep": b"[" * 100_000,
}


@pytest.mark.parametrize("kind", ANSWERS)
def test_what_is_no_token_is_refused(registry: FakeRegistry, client: Client, kind: str) -> None:
    """It would go into a header."""
    registry.service.always("/token", statuses.status(200, ANSWERS[kind]))
    with pytest.raises(BadResponse, match="sent no token"):
        read(client, blob(registry))


def test_a_busy_token_service_is_asked_again_later(registry: FakeRegistry, client: Client) -> None:
    """Its refusal is one that passes, as a registry's own."""
    registry.service.script("/token", statuses.busy())
    with pytest.raises(ServerBusy):
        read(client, blob(registry))
    assert read(client, blob(registry)) == CONTENT


REALMS = {
    "of another domain": ("https://evil.example/token", "not a host of its domain"),
    "that looks like its own": ("https://registry.example.evil.org/token", "not a host"),
    "of its top-level domain": ("https://example/token", "not a host"),
    "in plain text": ("http://auth.example.org/token", "without https"),
    "of this machine": ("http://127.0.0.1/token", "without https"),
    "of this machine, with TLS": ("https://127.0.0.1/token", "not a host"),
    "of a cloud's metadata": ("https://169.254.169.254/latest", "not a host"),
    "that is no URL": ("token", "names no URL"),
    "that is a file": ("file:///etc/passwd", "names no URL"),
    "with a user": ("https://a:b@registry.example.org/token", "names no URL"),
    "with a backslash": ("https://registry.example.org\\@evil.org/", "names no URL"),
    "with a space": ("https://registry.example.org /", "names no URL"),
    "that is empty": ("", "names no URL"),
}


@pytest.mark.parametrize("kind", REALMS)
def test_a_token_service_elsewhere_is_not_asked(kind: str) -> None:
    """What a server says leads no request, and no log-in, to a place of its choice."""
    realm, what = REALMS[kind]
    with pytest.raises(BadResponse, match=what):
        token(realm, "registry.example.org")


@pytest.mark.parametrize(
    ("registry", "realm"),
    [
        ("registry.example.org", "https://registry.example.org/token"),
        ("registry.example.org:8443", "https://registry.example.org/token"),
        ("registry.example.org", "https://auth.example.org/token"),
        ("registry.gitlab.com", "https://gitlab.com/jwt/auth"),
        ("docker.io", "https://auth.docker.io/token"),
        ("registry.ollama.ai", "https://ollama.com/token"),
    ],
)
def test_a_token_service_of_the_registry_is_asked(registry: str, realm: str) -> None:
    """On the same host, in the same domain, or known for this registry."""
    with pytest.raises(Asked) as asked:
        token(realm, registry)
    assert str(asked.value).startswith(realm)


class Asked(ModelmakeError):  # noqa: N818 - reads as what happened
    """The token service was asked."""


def token(realm: str, registry: str) -> None:
    """Answer a registry's refusal that names this realm, without any connection."""

    def ask(url: str, _: object) -> NoReturn:
        raise Asked(url)

    url = f"{endpoint(registry)}/v2/a/blobs/b"
    challenge = structs.replace(challenge_for(registry, "a"), log_in=nobody)
    values = {"WWW-Authenticate": [f'Bearer realm="{realm}"']}
    head = Head(status=401, place=url, values=lambda name: values.get(name, []))
    Tokens().answer(Location(url=url, challenge=challenge), head, ask)
