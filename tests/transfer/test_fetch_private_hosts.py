"""Redirects from a public host into a private network, and plain http (rows C9, C11)."""

import socket
from collections.abc import Callable
from typing import Any

import pytest
from msgspec import structs
from msgspec.structs import replace

from downloader.errors import BadResponse, ConnectionLost
from downloader.transfer.fetch import Fetcher
from downloader.urls import Location, is_public_address
from tests.servers.faults import framing, statuses
from tests.servers.faulty import FaultyServer
from tests.transfer.desk import CANARY, PATH, SECRETS, Desk, pinned

Resolver = Callable[[dict[str, str]], None]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Resolver:
    """Give a function that makes names resolve to addresses; public ones are this machine's.

    Several addresses, separated by spaces, are those of as many look-ups: the last one stays.
    """
    look_up, dial = socket.getaddrinfo, socket.socket.connect_ex

    def connect(self: socket.socket, place: Any) -> int:
        is_public = is_public_address(place[0])
        return dial(self, ("127.0.0.1", place[1]) if is_public else place)

    def resolve(known: dict[str, str]) -> None:
        answers = {name: addresses.split() for name, addresses in known.items()}

        def getaddrinfo(host: Any, port: Any, *rest: Any, **named: Any) -> Any:
            left = answers.get(host, [host])
            address = left.pop(0) if len(left) > 1 else left[0]
            return look_up(address, port, *rest, **named)

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        monkeypatch.setattr(socket.socket, "connect_ex", connect)

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
        "fd12:3456::1",
        "fe80::1",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
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
    assert "name it in models.yaml" in error.hint
    assert elsewhere.requests == []


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "localhost.",
        "a.localhost",
        "127.1",
        "2130706433",
        "0x7f000001",
        "017700000001",
        "0.0.0.0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::]",
    ],
)
def test_a_public_host_may_not_lead_to_this_machine(
    desk: Desk, names: Resolver, elsewhere: FaultyServer, host: str
) -> None:
    """Every way to write loopback is seen through."""
    names({"public.example": PUBLIC})
    desk.server.always(PATH, statuses.redirect(f"http://{host}:{elsewhere.port}{PATH}"))
    desk.refuses(BadResponse, None, public(desk))
    assert elsewhere.requests == []


def test_what_is_judged_is_what_is_dialled(
    desk: Desk, names: Resolver, elsewhere: FaultyServer
) -> None:
    """A name that is public when it is looked at and private when it is dialled gains nothing."""
    names({"public.example": PUBLIC, "rebound.example": f"{PUBLIC} 127.0.0.1"})
    target = f"http://rebound.example:{elsewhere.port}{PATH}"
    desk.server.always(PATH, statuses.redirect(target))
    elsewhere.script(PATH, framing.short(1))
    desk.refuses(BadResponse, None, public(desk))
    assert len(elsewhere.requests) == 1


def test_one_private_address_among_several_is_enough(
    desk: Desk, names: Resolver, elsewhere: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which of a name's addresses answers is not left to chance."""
    names({"public.example": PUBLIC})
    look_up = socket.getaddrinfo

    def both(host: Any, *rest: Any, **named: Any) -> Any:
        found = [PUBLIC, "127.0.0.1"] if host == "both.example" else [host]
        return [entry for each in found for entry in look_up(each, *rest, **named)]

    monkeypatch.setattr(socket, "getaddrinfo", both)
    desk.server.always(PATH, statuses.redirect(f"http://both.example:{elsewhere.port}{PATH}"))
    desk.refuses(BadResponse, None, public(desk))
    assert elsewhere.requests == []


def test_a_private_host_may_lead_to_another(
    desk: Desk, names: Resolver, elsewhere: FaultyServer
) -> None:
    """Within the network that the user named, redirects are the network's own business."""
    names({})
    desk.server.always(PATH, statuses.redirect(f"http://localhost:{elsewhere.port}{PATH}"))
    desk.fetch()
    assert len(elsewhere.requests) == 1


def test_a_connection_of_one_who_may_is_not_used_by_one_who_may_not(
    desk: Desk, names: Resolver, elsewhere: FaultyServer
) -> None:
    """A kept-alive connection into the network is judged as a new one is."""
    names({"public.example": PUBLIC})
    inside = f"http://127.0.0.1:{elsewhere.port}{PATH}"
    desk.server.always(PATH, statuses.redirect(inside))
    with desk.transport() as transport:
        fetcher = Fetcher(transport)
        fetcher.fetch(desk.job(None, Location(url=inside)))
        with pytest.raises(BadResponse, match="a private address"):
            fetcher.fetch(desk.job(None, public(desk), target=desk.folder / "other.bin"))
    assert (len(elsewhere.requests), elsewhere.connections) == (1, 1)


def test_a_named_private_host_may_be_led_to(
    desk: Desk, names: Resolver, elsewhere: FaultyServer
) -> None:
    """What models.yaml names is meant."""
    names({"public.example": PUBLIC, "inside.example": "127.0.0.1"})
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
    desk.settings = structs.replace(desk.settings, retries=1)
    desk.refuses(ConnectionLost, None, public(desk))


def public(desk: Desk) -> Location:
    """Return the desk's file by its public name."""
    return Location(url=f"http://public.example:{desk.server.port}{PATH}?sig={CANARY}")


def test_a_credential_is_not_sent_over_plain_http(desk: Desk, names: Resolver) -> None:
    """Away from loopback, http carries a pinned file and no header of its location."""
    names({"public.example": PUBLIC})
    desk.fetch(pinned(), replace(public(desk), headers=SECRETS))
    assert not any(name in desk.seen[0].headers for name in SECRETS)
