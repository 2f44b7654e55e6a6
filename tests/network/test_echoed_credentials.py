"""A server that repeats what it was sent: no message shows a credential, in no encoding."""

import base64
import json
from collections.abc import Callable
from urllib.parse import quote

import pytest

from downloader.errors import ModelmakeError
from downloader.urls import Location
from tests.servers.exchange import Exchange, Fault
from tests.servers.reply import Reply
from tests.transfer.desk import PATH, Desk, pinned, unpinned

USER, PASSWORD, KEY = "canary-user", "canary:pä/ss+w", "tgp_v1_Canary-Key-That-Is-Long-0123456789"
SENT_IN = ("Authorization", "Proxy-Authorization", "Cookie")


def sent_in(exchange: Exchange) -> str:
    """Return all that a request carried as a credential, and its log-in decoded."""
    headers = [exchange.request.headers.get(name, "") for name in SENT_IN]
    words = [each.rpartition(" ")[2] for each in headers]
    pairs = [base64.b64decode(each).decode("latin-1") for each in words if each.endswith("=")]
    return " ".join(filter(None, [*headers, *pairs, exchange.request.target.partition("?")[2]]))


WRITTEN: dict[str, Callable[[str], str]] = {
    "as it came": str,
    "lower case": str.lower,
    "percent-encoded": lambda text: quote(text, safe=""),
    "JSON": json.dumps,
    "Python": lambda text: repr(text.encode("latin-1", "replace")),
}
Echo = Callable[[Reply, str], Reply]
PLACES: dict[str, Echo] = {
    "page": lambda reply, said: reply.with_body(f"<html>{said}".encode()),
    "bytes": lambda reply, said: reply.with_body(said.encode()),
    "reason": lambda reply, said: _refused(reply, 403, said).with_body(b""),
    "code": lambda reply, said: _refused(reply, 400, "").with_body(
        f"<Error><Code>{said.split()[-1]}</Code></Error>".encode()
    ),
    "Content-Range": lambda reply, said: _refused(reply, 206, "").with_header(
        "Content-Range", said
    ),
    "Content-Encoding": lambda reply, said: reply.with_header("Content-Encoding", said),
    "Transfer-Encoding": lambda reply, said: reply.with_header("Transfer-Encoding", said),
    "Content-Length": lambda reply, said: reply.with_header("Content-Length", said),
    "Location": lambda reply, said: _refused(reply, 302, "").with_header(
        "Location", f"http://plain.example/{said}"
    ),
    "no URL": lambda reply, said: _refused(reply, 302, "").with_header("Location", f"x[://{said}"),
}


def _refused(reply: Reply, status: int, reason: str) -> Reply:
    return Reply(
        status=status,
        headers=reply.headers,
        status_line=f"HTTP/1.1 {status} {reason}",
    )


def echo(place: str, written: str) -> Fault:
    """Return a fault: the request's credentials stand in one place of the reply."""

    def fault(exchange: Exchange, reply: Reply) -> Reply:
        said = WRITTEN[written](sent_in(exchange)).encode().decode("latin-1")
        return PLACES[place](reply, said)

    return fault


def forms(secret: str) -> set[str]:
    """Return the secret as it may be found in a text, in lower case."""
    pair = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    return {each.lower() for each in (secret, quote(secret, safe=""), pair, pair[:20])}


def assert_told_without(error: ModelmakeError, *secrets: str) -> None:
    text = error.report().lower()
    assert [each for secret in secrets for each in forms(secret) if each in text] == []
    assert all(line.isprintable() for line in error.report().splitlines())


@pytest.mark.sampled(keep=10)
@pytest.mark.parametrize("written", WRITTEN)
@pytest.mark.parametrize("place", PLACES)
def test_a_key_that_is_repeated(desk: Desk, place: str, written: str) -> None:
    """The token of a `Bearer`, and a cookie."""
    desk.server.always(PATH, echo(place, written))
    headers = {"Authorization": f"Bearer {KEY}", "Cookie": f"session={KEY[::-1]}"}
    with pytest.raises(ModelmakeError) as caught:
        desk.run(desk.job(unpinned(5), Location(url=desk.server.url(PATH), headers=headers)))
    assert_told_without(caught.value, KEY, KEY[::-1], KEY[7:])


@pytest.mark.sampled(keep=10)
@pytest.mark.parametrize("written", WRITTEN)
@pytest.mark.parametrize("place", PLACES)
def test_a_log_in_that_is_repeated(desk: Desk, place: str, written: str) -> None:
    """User and password of a netrc, as Basic sends them and decoded."""
    desk.server.always(PATH, echo(place, written))
    pair = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    location = Location(url=desk.server.url(PATH), headers={"Authorization": f"Basic {pair}"})
    with pytest.raises(ModelmakeError) as caught:
        desk.run(desk.job(unpinned(5), location))
    assert_told_without(caught.value, PASSWORD, USER)


@pytest.mark.sampled(keep=10)
@pytest.mark.parametrize("written", WRITTEN)
@pytest.mark.parametrize("place", PLACES)
def test_a_proxys_log_in_that_is_repeated(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, place: str, written: str
) -> None:
    """A page that came through the proxy may show what the proxy was sent."""
    url = "http://hub.example/model.bin"
    proxy = f"127.0.0.1:{desk.server.port}"
    monkeypatch.setenv("HTTP_PROXY", f"http://{USER}:{quote(PASSWORD, safe='')}@{proxy}")
    desk.server.put(url, b"x")
    desk.server.always(url, echo(place, written))
    with pytest.raises(ModelmakeError) as caught:
        desk.run(desk.job(pinned(b"other"), Location(url=url)))
    assert desk.server.requests
    assert_told_without(caught.value, PASSWORD, USER, quote(PASSWORD))


@pytest.mark.sampled(keep=10)
@pytest.mark.parametrize("written", WRITTEN)
@pytest.mark.parametrize("place", PLACES)
def test_a_signature_that_is_repeated(desk: Desk, place: str, written: str) -> None:
    """The query of a signed URL, and the log-in of one, to which a redirect led."""
    port = desk.server.port
    signed = (
        f"http://{USER}:{quote(PASSWORD, safe='')}@127.0.0.1:{port}/signed?X-Amz-Signature={KEY}"
    )
    desk.server.put("/signed", b"x")
    desk.server.always("/signed", echo(place, written))
    desk.server.always(
        PATH, lambda _, reply: PLACES["no URL"](reply, "").with_header("Location", signed)
    )
    with pytest.raises(ModelmakeError) as caught:
        desk.run(desk.job(unpinned(5)))
    assert desk.server.requests[-1].path == "/signed"
    assert_told_without(caught.value, PASSWORD, USER, KEY)
