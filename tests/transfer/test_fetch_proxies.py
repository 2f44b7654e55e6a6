"""Proxies: honoured, not retried for ever, their passwords shown to nobody (row C12)."""

import pytest
from msgspec import structs

from downloader.errors import AccessDenied, Interrupted, TransferError
from downloader.transfer.fetch import Fetcher
from downloader.urls import Location
from tests.servers.exchange import Exchange
from tests.servers.faults import statuses, timing
from tests.servers.faulty import FaultyServer
from tests.servers.process import free_port
from tests.servers.reply import Reply
from tests.transfer.desk import BODY, CANARY, PATH, Desk, pinned

HTTPS = Location(url=f"https://proxied.example{PATH}?sig={CANARY}")
TUNNEL = "proxied.example:443"


def proxy(monkeypatch: pytest.MonkeyPatch, address: str, *schemes: str) -> None:
    """Set a proxy in the environment."""
    for scheme in schemes or ("http", "https"):
        monkeypatch.setenv(f"{scheme}_proxy", address)


def test_a_proxy_that_wants_a_password_is_named(
    desk: Desk, elsewhere: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A 407 for plain http is a refusal, asked once."""
    proxy(monkeypatch, f"http://user:{CANARY}@127.0.0.1:{elsewhere.port}")
    elsewhere.always(desk.location().url.partition("?")[0], statuses.status(407))
    error = desk.refuses(AccessDenied)
    assert "407" in str(error)
    assert "proxy" in error.hint
    assert (len(elsewhere.requests), desk.server.connections) == (1, 0)


def test_a_tunnel_that_is_refused_says_how(
    desk: Desk, elsewhere: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A 407 to CONNECT is one line with its number, and is not tried again."""
    proxy(monkeypatch, f"http://user:{CANARY}@127.0.0.1:{elsewhere.port}")
    elsewhere.always(TUNNEL, statuses.status(407))
    error = desk.refuses(TransferError, None, HTTPS)
    assert "proxy" in str(error)
    assert "407" in str(error)
    (seen,) = elsewhere.requests
    assert (seen.method, seen.target) == ("CONNECT", TUNNEL)
    assert "Proxy-Authorization" in seen.headers


def test_a_proxys_password_goes_to_the_proxy_alone(
    desk: Desk, elsewhere: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What NO_PROXY names sees no Proxy-Authorization (urllib3 CVE-2024-37891)."""
    proxy(monkeypatch, f"http://user:{CANARY}@127.0.0.1:{elsewhere.port}")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    elsewhere.put(f"http://proxied.example{PATH}", BODY)
    elsewhere.always(f"http://proxied.example{PATH}", statuses.redirect(desk.server.url(PATH)))
    named = Location(url=f"http://proxied.example{PATH}", named_hosts=frozenset({"127.0.0.1"}))
    desk.fetch(pinned(), named)
    assert "Proxy-Authorization" in elsewhere.requests[0].headers
    assert "Proxy-Authorization" not in desk.seen[0].headers


@pytest.mark.parametrize(
    "address",
    [
        "http://[::1",
        "http://host:notaport",
        "ftp://127.0.0.1:21",
        "socks5://127.0.0.1:1080",
        "http://",
    ],
)
def test_a_proxy_that_cannot_be_one_is_one_line(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    """A setting that cannot work is said to be one, and is not tried again."""
    proxy(monkeypatch, address)
    error = desk.refuses(TransferError)
    assert "proxy" in str(error)
    assert "HTTPS_PROXY" in error.hint
    assert desk.waits.delays == []


@pytest.mark.parametrize("names", ["127.0.0.1", "127.0.0.0/8", "*", "localhost,127.0.0.1"])
def test_what_no_proxy_may_say(desk: Desk, monkeypatch: pytest.MonkeyPatch, names: str) -> None:
    """Addresses, networks and everything."""
    proxy(monkeypatch, f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("no_proxy", names)
    desk.fetch()


def test_all_proxy_is_the_last_resort(
    desk: Desk, elsewhere: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ALL_PROXY counts where no proxy is set for the scheme."""
    elsewhere.put(f"http://proxied.example{PATH}", BODY)
    monkeypatch.setenv("all_proxy", f"http://127.0.0.1:{elsewhere.port}")
    desk.fetch(pinned(), Location(url=f"http://proxied.example{PATH}"))
    assert len(elsewhere.requests) == 1


@pytest.mark.parametrize(
    "location", [Location(url=f"http://proxied.example{PATH}"), HTTPS], ids=["http", "tunnel"]
)
def test_an_interrupt_ends_the_wait_for_a_proxy(
    desk: Desk, elsewhere: FaultyServer, monkeypatch: pytest.MonkeyPatch, location: Location
) -> None:
    """A proxy that says nothing does not outlive the run either."""
    desk.settings = structs.replace(desk.settings, timeout_seconds=60.0)
    proxy(monkeypatch, f"http://127.0.0.1:{elsewhere.port}")
    with desk.transport() as transport:

        def silent(exchange: Exchange, reply: Reply) -> Reply:
            desk.waits.set()
            transport.interrupt()
            return timing.stall_before_headers()(exchange, reply)

        for path in (TUNNEL, f"http://proxied.example{PATH}"):
            elsewhere.always(path, silent)
        fetcher = Fetcher(transport)
        with pytest.raises(Interrupted):
            fetcher.fetch(desk.job(pinned(), location))
