"""A rate limit that a server announces stops the requests that it would refuse, and no others."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from downloader.errors import ServerBusy
from downloader.network.client import Client
from downloader.network.failures import RetryPolicy
from downloader.settings import Settings
from downloader.urls import Location
from tests.servers.exchange import Exchange
from tests.servers.faults import statuses
from tests.servers.faulty import FaultyServer
from tests.servers.reply import Reply

USED_UP = '"resolvers";r=0;t=42'
POLICY = '"fixed window";"resolvers";q=3000;w=300'


@pytest.fixture
def client() -> Iterator[Client]:
    """Give a client that is not patient."""
    with closing(Client(Settings(timeout_seconds=5.0, retries=1))) as made:
        yield made


@pytest.fixture
def storage() -> Iterator[FaultyServer]:
    """Give the server that holds the bytes."""
    with FaultyServer() as started:
        started.put("/a", b"bytes of a")
        yield started


@pytest.fixture
def hub(storage: FaultyServer) -> Iterator[FaultyServer]:
    """Give a server that redirects to the storage, and says that this was the last request."""

    def answered(exchange: Exchange) -> Reply:
        reply = Reply(status=302).with_header("Location", storage.url("/a"))
        return reply.with_header("RateLimit", USED_UP).with_header("RateLimit-Policy", POLICY)

    with FaultyServer(answered) as started:
        yield started


def place(hub: FaultyServer, path: str, limit: str = "resolvers") -> Location:
    """Return a location that counts against a limit."""
    advice = {"RateLimit": "A token raises it."}
    return Location(url=hub.url(path), rate_limit=limit, advice=advice)


def read(client: Client, location: Location) -> bytes:
    """Return what is there."""
    with client.open(location, {}, is_pinned=True) as reply:
        return reply.read_some(100)


def test_a_used_up_limit_is_obeyed_before_it_refuses(client: Client, hub: FaultyServer) -> None:
    """The next request that counts is not sent; the error says which limit, and how long."""
    assert read(client, place(hub, "/a")) == b"bytes of a"
    with pytest.raises(ServerBusy) as caught:
        read(client, place(hub, "/b"))

    assert len(hub.requests) == 1
    assert "the rate limit 'resolvers' of 3,000 requests in 300 s is used up" in str(caught.value)
    assert str(caught.value).endswith("A token raises it.")
    assert caught.value.wait_seconds is not None
    assert 40 < caught.value.wait_seconds <= 43


def test_what_does_not_count_goes_on(client: Client, hub: FaultyServer) -> None:
    """A link that is known already, another limit, and a place without one."""
    read(client, place(hub, "/a"))
    assert read(client, place(hub, "/a")) == b"bytes of a"
    assert len(hub.requests) == 1

    for path, limit in (("/b", "api"), ("/c", "")):
        assert read(client, place(hub, path, limit)) == b"bytes of a"
    assert len(hub.requests) == 3


def test_a_limit_that_admits_again_is_not_waited_for(client: Client, storage: FaultyServer) -> None:
    """A later reply says so: a window began, or its server counts in another way."""
    storage.put("/a", b"x", headers={"RateLimit": USED_UP})
    storage.put("/b", b"x", headers={"RateLimit": '"resolvers";r=5;t=30'})
    read(client, place(storage, "/a"))
    read(client, place(storage, "/b", "api"))  # asked before the other reply came

    assert read(client, place(storage, "/a")) == b"x"


def test_a_wait_that_cannot_be_read_is_the_windows(client: Client, storage: FaultyServer) -> None:
    """A 429 with an odd Retry-After is not asked again at once."""
    headers = {"RateLimit": USED_UP, "Retry-After": "soon"}
    storage.always("/a", statuses.status(429, b"", headers))
    location = place(storage, "/a", "")
    with client.open(location, {}, is_pinned=True) as reply:
        error = reply.refusal(location)

    assert isinstance(error, ServerBusy)
    assert (error.wait_seconds, error.is_window) == (43.0, True)


@pytest.mark.parametrize(
    ("seconds", "is_window", "is_waited"),
    [(250.0, True, True), (250.0, False, False), (400.0, True, False)],
)
def test_the_end_of_a_window_is_worth_a_longer_wait(
    seconds: float, is_window: bool, is_waited: bool
) -> None:
    """It is certain that the server admits requests then; a Retry-After is a guess."""
    policy = RetryPolicy(retries=3, max_wait_seconds=120.0, max_window_seconds=301.0)
    error = ServerBusy("busy", wait_seconds=seconds, is_window=is_window)
    delay = policy.delay_seconds(error, 1, 0.0)
    assert (delay is not None) is is_waited


@pytest.mark.parametrize(
    "header", ["", "nonsense", '"api";r=1;t=1', '"api";r=-1;t=1', '"api";t=1', '"api";r=0;t=x', "0"]
)
def test_a_limit_that_is_not_used_up_or_not_readable_stops_nothing(
    client: Client, storage: FaultyServer, header: str
) -> None:
    """Whatever the header says."""
    storage.put("/a", b"x", headers={"RateLimit": header} if header else {})
    for _ in range(2):
        assert read(client, Location(url=storage.url("/a"), rate_limit="api")) == b"x"
