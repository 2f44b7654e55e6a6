"""Redirects on the wire (rows C6, C8, C10)."""

import pytest
from msgspec.structs import replace

from downloader.errors import BadResponse
from tests.servers.exchange import Exchange
from tests.servers.faults import framing, statuses
from tests.servers.faulty import FaultyServer
from tests.servers.reply import Reply
from tests.transfer.desk import BODY, CANARY, PATH, SECRETS, Desk, unpinned


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirect_is_followed(desk: Desk, elsewhere: FaultyServer, code: int) -> None:
    """Each of the five statuses leads to the file."""
    desk.server.always(PATH, statuses.redirect(elsewhere.url(PATH), code))
    desk.fetch()
    assert [seen.method for seen in elsewhere.requests] == ["GET"]


@pytest.mark.parametrize(
    "location",
    [
        "/moved.bin",
        "moved.bin",
        "./a/../moved.bin",
        "?x=1",
        "/moved file.bin",
        "//{host}/moved.bin",
    ],
)
def test_a_relative_redirect_is_followed(desk: Desk, location: str) -> None:
    """A Location without scheme or host is read by RFC 3986; a space in it does no harm."""
    for path in ("/moved.bin", "/moved file.bin"):
        desk.server.put(path, BODY)
    host = f"127.0.0.1:{desk.server.port}"
    desk.server.script(PATH, statuses.redirect(location.format(host=host)))
    desk.fetch()
    assert len(desk.seen) == 2


def test_ten_redirects_are_followed_and_eleven_are_not(desk: Desk) -> None:
    """A long way is gone, a longer one is taken for a loop."""
    for hop in range(11):
        desk.server.always(f"/{hop}", statuses.redirect(f"/{hop + 1}"))
    desk.server.put("/11", BODY)
    desk.fetch(None, desk.location("/1"))
    error = desk.refuses(BadResponse, None, desk.location("/0"))
    assert "redirects more than 10 times" in str(error)


def test_a_loop_ends(desk: Desk) -> None:
    """A redirect to itself is followed ten times, not for ever, and not tried again."""
    desk.server.always(PATH, statuses.redirect_to_itself())
    error = desk.refuses(BadResponse)
    assert "loop" in str(error)
    assert len(desk.seen) == 11


@pytest.mark.parametrize(
    "location",
    [
        None,
        "",
        "file:///etc/passwd",
        "ftp://127.0.0.1/x",
        "data:,x",
        "http://[::1",
        "http://a:99999/",
    ],
)
def test_a_redirect_to_nowhere_is_an_error(desk: Desk, location: str | None) -> None:
    """Without a usable http URL there is no next hop."""
    desk.server.always(PATH, statuses.redirect(location))
    desk.refuses(BadResponse)
    assert len(desk.seen) == 1


def test_the_redirects_page_is_never_the_file(desk: Desk) -> None:
    """The body of a redirect is not received, be it endless."""
    moved = statuses.redirect("/gone.bin")
    desk.server.always(
        PATH, lambda exchange, reply: framing.endless()(exchange, moved(exchange, reply))
    )
    desk.server.put("/gone.bin", BODY)
    desk.fetch()
    assert desk.target.read_bytes() == BODY


def test_plain_http_elsewhere_needs_a_pin(desk: Desk) -> None:
    """Away from loopback, http brings pinned files only; the redirect is not followed."""
    desk.server.always(PATH, statuses.redirect("http://plain.invalid/model.bin"))
    error = desk.refuses(BadResponse, unpinned())
    assert "plain http" in str(error)


def test_headers_go_to_their_origin_alone(desk: Desk, elsewhere: FaultyServer) -> None:
    """Another port is another origin: neither token, nor key, nor cookie goes there."""
    desk.server.always(PATH, statuses.redirect(elsewhere.url(PATH)))
    desk.fetch(None, replace(desk.location(), headers=SECRETS))
    (first,), (second,) = desk.seen, elsewhere.requests
    assert {name: first.headers[name] for name in SECRETS} == SECRETS
    assert CANARY not in repr(second)


def test_headers_stay_on_the_same_origin(desk: Desk) -> None:
    """A redirect within the origin keeps them."""
    desk.server.put("/moved.bin", BODY)
    desk.server.always(PATH, statuses.redirect("/moved.bin"))
    desk.fetch(None, replace(desk.location(), headers=SECRETS))
    assert [seen.headers["X-Api-Key"] for seen in desk.seen] == [CANARY] * 2


def test_headers_are_not_restored_on_the_way_back(desk: Desk, elsewhere: FaultyServer) -> None:
    """Who was led away and back again comes without credentials."""
    desk.server.put("/back.bin", BODY)
    desk.server.always(PATH, statuses.redirect(elsewhere.url("/hop")))
    elsewhere.always("/hop", statuses.redirect(desk.server.url("/back.bin")))
    desk.fetch(None, replace(desk.location(), headers=SECRETS))
    assert desk.seen[-1].path == "/back.bin"
    assert CANARY not in repr(desk.seen[-1])


def test_no_cookie_is_kept(desk: Desk) -> None:
    """What one reply sets is not sent with the next request."""
    desk.server.put(PATH, BODY, headers={"Set-Cookie": "track=me; Path=/"})
    desk.server.script(PATH, framing.short(1))
    desk.fetch()
    assert all("Cookie" not in seen.headers for seen in desk.seen)


def test_conditions_go_along_to_the_last_hop(desk: Desk, elsewhere: FaultyServer) -> None:
    """Range and If-Match are for the file, wherever it lies."""
    desk.server.always(PATH, statuses.redirect(elsewhere.url(PATH)))
    elsewhere.script(PATH, framing.short(1))
    desk.fetch(unpinned())
    last = elsewhere.requests[-1]
    assert last.headers["Range"] == f"bytes={len(BODY) - 1}-{len(BODY) - 1}"
    assert last.status == 206


def test_a_redirect_that_waits_for_its_cookie_names_it(desk: Desk) -> None:
    """Walls against bots, log-ins and consent pages do so; like curl, we keep no cookies."""

    def wall(exchange: Exchange, reply: Reply) -> Reply:
        led = statuses.redirect_to_itself()(exchange, reply)
        return led.with_header("Set-Cookie", "consent\x1b=yes; Path=/")

    desk.server.always(PATH, wall)
    error = desk.refuses(BadResponse)
    assert "more than 10 times. It sets the cookie 'consent\\x1b'" in str(error)
    assert "a direct link" in error.hint
    assert not any("Cookie" in seen.headers for seen in desk.seen)
