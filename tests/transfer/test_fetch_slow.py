"""Servers that keep us waiting: in the handshake, in the head, in the body (rows A13, C3, C4)."""

import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from msgspec import structs

from downloader.errors import ConnectionLost, Stop, TimedOut
from downloader.network._connection import LEAST_BYTES_A_SECOND
from downloader.urls import Location
from tests.servers import faults
from tests.servers.exchange import Exchange, Fault
from tests.servers.faults import chunks, framing, timing
from tests.servers.reply import Reply
from tests.transfer.desk import BODY, PATH, Desk, pinned, unpinned

PATIENCE_SECONDS = 0.6
MORE_SECONDS = 2.0


@pytest.fixture
def hasty(desk: Desk) -> Desk:
    """Give a desk with little patience, that tries once."""
    desk.settings = structs.replace(desk.settings, timeout_seconds=PATIENCE_SECONDS, retries=1)
    return desk


def took(act: Callable[[], object]) -> float:
    """Return how many seconds something took."""
    began = time.monotonic()
    act()
    return time.monotonic() - began


SLOW: dict[str, tuple[Fault, str]] = {
    "silent": (timing.stall_before_headers(), "sent no data"),
    "stops in the head": (timing.stall_in_headers(), "endless head"),
    "drips its head": (timing.drip_headers(1, 0.2), "endless head"),
    "stops in the body": (timing.stall_after(100), "sent "),
    "drips its body": (timing.drip(1, 0.2), "sent less than"),
    "drips its chunks": (
        faults.combined(chunks.chunked(1), timing.drip(1, 0.1)),
        "sent less than",
    ),
    "drips an unsized body": (
        faults.combined(framing.unsized, timing.drip(1, 0.2)),
        "sent less than",
    ),
}


@pytest.mark.sampled(keep=3)
@pytest.mark.parametrize(("fault", "said"), SLOW.values(), ids=SLOW.keys())
def test_whoever_keeps_us_waiting_is_given_up(hasty: Desk, fault: Fault, said: str) -> None:
    """No byte now and then buys a server more time."""
    hasty.server.always(PATH, fault)
    seconds = took(lambda: hasty.refuses(TimedOut, pinned()))
    assert seconds < PATIENCE_SECONDS + MORE_SECONDS
    assert said in str(hasty.refuses(TimedOut, pinned()))


def test_a_slow_body_is_gone_on_with(hasty: Desk) -> None:
    """What dripped in is kept, and the rest is asked for."""
    hasty.settings = structs.replace(hasty.settings, retries=2)
    hasty.server.script(PATH, timing.drip(300, 0.5))
    hasty.fetch(unpinned())
    first, second = hasty.seen
    assert first.headers.get("Range") is None
    # CPython's BufferedReader may drop what it holds of the body when the read behind it fails.
    assert second.headers["Range"] in {f"bytes={at}-{len(BODY) - 1}" for at in (512, 600)}


def test_a_server_that_always_drips_is_given_up(hasty: Desk) -> None:
    """A few bytes are no progress: the number of attempts is bounded."""
    hasty.settings = structs.replace(hasty.settings, timeout_seconds=0.3, retries=4)
    hasty.server.always(PATH, timing.drip(1, 0.1))
    hasty.refuses(TimedOut)
    assert len(hasty.seen) == 4


def test_a_server_that_brings_little_and_hangs_up_is_given_up(desk: Desk) -> None:
    """Nor is it progress when each connection is closed after a few bytes."""
    desk.server.always(PATH, timing.drop_after(600))
    desk.refuses(ConnectionLost)
    assert len(desk.seen) == desk.settings.retries


def test_steady_and_slow_is_fast_enough(hasty: Desk) -> None:
    """Above the least speed, a body may take many times the patience."""
    seconds = 4 * PATIENCE_SECONDS
    piece = 8 * LEAST_BYTES_A_SECOND // 10
    body = BODY[: int(piece * seconds / 0.1)]
    hasty.server.put(PATH, body)
    hasty.server.always(PATH, timing.drip(piece, 0.1))
    assert took(lambda: hasty.fetch(pinned(body))) > 2 * PATIENCE_SECONDS
    assert len(hasty.seen) == 1


def test_our_own_bound_makes_no_server_slow(hasty: Desk) -> None:
    """A rate below the least speed, wished by the user, is no reason to give up."""
    body = BODY[:1200]
    hasty.server.put(PATH, body)
    hasty.settings = structs.replace(hasty.settings, limit_rate=500)
    hasty.waits = Stop()  # type: ignore[assignment]
    assert took(lambda: hasty.fetch(pinned(body))) > 2 * PATIENCE_SECONDS
    assert len(hasty.seen) == 1


def test_a_clock_that_is_set_harms_nobody(hasty: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wall clock may jump by a year in the middle of a body (row C14)."""
    offset = [0.0]
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + offset[0])

    def jump(exchange: Exchange, reply: Reply) -> Reply:
        offset[0] -= 365 * 86400
        return timing.drip(50_000, 0.1)(exchange, reply)

    hasty.server.always(PATH, jump)
    hasty.fetch()
    assert len(hasty.seen) == 1


def test_a_silent_handshake_is_given_up(hasty: Desk) -> None:
    """Who takes the connection and never speaks TLS is given no more time than another."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        place = Location(url=f"https://127.0.0.1:{mute.getsockname()[1]}/m.bin")
        seconds = took(lambda: hasty.refuses(TimedOut, None, place))
    assert seconds < PATIENCE_SECONDS + MORE_SECONDS


def test_a_handshake_that_is_cut_is_tried_again(desk: Desk) -> None:
    """A connection that ends in the handshake is lost, as one that ends later (curl 05_09)."""
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as executor:
        place = Location(url=f"https://127.0.0.1:{listener.getsockname()[1]}/m.bin")

        def cut_each() -> None:
            for _ in range(desk.settings.retries):
                sock, _ = listener.accept()
                with sock:
                    sock.recv(65536)  # the whole hello, so that a FIN follows and no RST

        cut = executor.submit(cut_each)
        desk.refuses(ConnectionLost, None, place)
        cut.result(timeout=10)


def test_a_silent_address_does_not_hide_the_next(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of several addresses the first dead one costs a part of the patience only (row C4)."""
    desk.settings = structs.replace(desk.settings, timeout_seconds=1.0)
    look_up, dial = socket.getaddrinfo, socket.socket.connect_ex
    dialled: list[str] = []

    def two(host: str, *rest: object, **named: object) -> object:
        known = ["192.0.2.1", "127.0.0.1"] if host == "two.example" else [host]
        return [entry for each in known for entry in look_up(each, *rest, **named)]  # type: ignore[arg-type]

    def connect(self: socket.socket, place: tuple[str, int]) -> int:
        dialled.append(place[0])
        return 115 if place[0] == "192.0.2.1" else dial(self, place)

    monkeypatch.setattr(socket, "getaddrinfo", two)
    monkeypatch.setattr(socket.socket, "connect_ex", connect)
    waited = lambda sock, timeout: dialled[-1] != "192.0.2.1"  # noqa: ARG005, E731
    monkeypatch.setattr("downloader.network._connection.wait_for_write", waited)
    desk.fetch(None, Location(url=f"http://two.example:{desk.server.port}{PATH}"))
    assert dialled == ["192.0.2.1", "127.0.0.1"]


def test_a_resolver_that_never_answers_is_given_up(
    hasty: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system's look-up knows no bound, and is bounded all the same (row C4)."""
    release = threading.Event()
    look_up = socket.getaddrinfo

    def slow(host: str, *rest: object, **named: object) -> object:
        if host == "slow.example":
            release.wait(20)
        return look_up("127.0.0.1", *rest, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    try:
        place = Location(url="http://slow.example/m.bin")
        seconds = took(lambda: hasty.refuses(TimedOut, None, place))
    finally:
        release.set()
    assert seconds < PATIENCE_SECONDS + MORE_SECONDS
