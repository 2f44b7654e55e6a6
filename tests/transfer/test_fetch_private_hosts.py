"""Redirects from a public host into a private network, and plain http (rows C9, C11)."""

import socket
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from downloader.artifact import Location
from downloader.errors import BadResponse, ConnectionLost
from tests.servers.faults import statuses
from tests.servers.faulty import FaultyServer
from tests.transfer.desk import CANARY, PATH, SECRETS, Desk, pinned

Resolver = Callable[[dict[str, str]], None]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Resolver:
    """Give a function that makes names resolve to addresses, while dialling stays on loopback."""
    real = socket.getaddrinfo

    def resolve(known: dict[str, str]) -> None:
        def getaddrinfo(host: Any, port: Any, *rest: Any, **named: Any) -> Any:
            if host not in known:
                return real(host, port, *rest, **named)
            address = "127.0.0.1" if port else known[host]
            return real(address, port, *rest, **named)

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    return resolve


PUBLIC = "8.8.8.8"


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "192.168.0.1",
        "169.254.169.254",
        "0.0.0.0",
        "100.64.0.1",
        "::1",
        "fc00::1",
        "fe80::1",
        "::ffff:127.0.0.1",
    ],
)
def test_a_public_host_may_not_lead_into_the_private_network(
    desk: Desk, names: Resolver, elsewhere: FaultyServer, address: str
) -> None:
    """A redirect to a name that resolves to a private address is refused, and not dialled."""
    names({"public.example": PUBLIC, "inside.example": address})
    desk.server.always(PATH, statuses.redirect(f"http://inside.example:{elsewhere.port}{PATH}"))
    error = desk.refuses(BadResponse, None, public(desk))
    assert "inside.example, a private address" in str(error)
    assert "name that host in models.yaml" in error.hint
    assert elsewhere.requests == []


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f000001", "0.0.0.0", "a.localhost"],
)
def test_a_public_host_may_not_lead_to_this_machine(
    desk: Desk, names: Resolver, elsewhere: FaultyServer, host: str
) -> None:
    """Every way to write loopback is seen through."""
    names({"public.example": PUBLIC})
    desk.server.always(PATH, statuses.redirect(f"http://{host}:{elsewhere.port}{PATH}"))
    desk.refuses(BadResponse, None, public(desk))
    assert elsewhere.requests == []


def test_a_named_private_host_may_be_led_to(
    desk: Desk, names: Resolver, elsewhere: FaultyServer
) -> None:
    """What models.yaml names is meant."""
    names({"public.example": PUBLIC, "inside.example": "10.0.0.1"})
    desk.server.always(PATH, statuses.redirect(f"http://inside.example:{elsewhere.port}{PATH}"))
    named = replace(public(desk), named_hosts=frozenset({"inside.example"}))
    desk.fetch(None, named)
    assert len(elsewhere.requests) == 1


def test_a_public_host_may_lead_to_a_public_one(
    desk: Desk, names: Resolver, elsewhere: FaultyServer
) -> None:
    """A hub's redirect to its CDN is the usual case."""
    names({"public.example": PUBLIC, "cdn.example": "1.1.1.1"})
    desk.server.always(PATH, statuses.redirect(f"http://cdn.example:{elsewhere.port}{PATH}"))
    desk.fetch(None, public(desk))
    assert len(elsewhere.requests) == 1


def test_a_name_that_cannot_be_written_is_a_clean_error(desk: Desk, names: Resolver) -> None:
    """A label no resolver takes ends in one line, not in a traceback."""
    names({"public.example": PUBLIC})
    desk.server.always(PATH, statuses.redirect(f"http://{'a' * 70}.example/x"))
    desk.settings = replace(desk.settings, retries=1)
    desk.refuses(ConnectionLost, None, public(desk))


def public(desk: Desk) -> Location:
    """Return the desk's file by its public name."""
    return Location(url=f"http://public.example:{desk.server.port}{PATH}?sig={CANARY}")


def test_a_credential_is_not_sent_over_plain_http(desk: Desk, names: Resolver) -> None:
    """Away from loopback, http carries a pinned file and no header of its location."""
    names({"public.example": PUBLIC})
    desk.fetch(pinned(), replace(public(desk), headers=SECRETS))
    assert not any(name in desk.seen[0].headers for name in SECRETS)
