"""Where a redirect may lead, and what goes along."""

import pytest
from msgspec.structs import replace

from downloader.errors import BadResponse
from downloader.network.client import Hop, first_hop, next_hop
from downloader.urls import Location
from tests.transfer.desk import CANARY, SECRETS

SECRET = {"Authorization": "Bearer secret"}
HUB = Location(url="https://hub.example/a/b?sig=1", headers=SECRET)


def start(url: str = HUB.url, *, is_pinned: bool = True) -> Hop:
    return first_hop(Location(url=url, headers=SECRET), is_pinned=is_pinned)


@pytest.mark.parametrize(
    ("target", "url"),
    [
        ("/c", "https://hub.example/c"),
        ("c", "https://hub.example/a/c"),
        ("../c?x=1", "https://hub.example/c?x=1"),
        ("//cdn.example/c", "https://cdn.example/c"),
        ("https://cdn.example/c", "https://cdn.example/c"),
        ("?x=2", "https://hub.example/a/b?x=2"),
    ],
)
def test_a_location_is_read_relative_to_the_url_asked(target: str, url: str) -> None:
    """Every form of RFC 3986 leads where a browser would go."""
    assert next_hop(start(), target).url == url


@pytest.mark.parametrize(
    "target",
    [
        "https://cdn.example/c",
        "https://hub.example:444/c",
        "https://sub.hub.example/c",
        "https://hub.example.evil.example/c",
        "https://hub.example@evil.example/c",
        "//evil.example/c",
    ],
)
def test_headers_stay_with_their_exact_origin(target: str) -> None:
    """Another host or port gets none of the headers, and the way back does not restore them."""
    away = next_hop(start(), target)
    assert not away.headers
    assert not next_hop(away, HUB.url).headers


@pytest.mark.parametrize("target", ["/c", "https://HUB.example/c", "https://hub.example:443/c"])
def test_headers_go_along_within_their_origin(target: str) -> None:
    """The same scheme, host and port, however written, is the place they are meant for."""
    assert next_hop(start(), target).headers == SECRET


def test_a_scheme_upgrade_is_another_origin() -> None:
    """From http to https on one host the headers are dropped too."""
    loopback = start("http://127.0.0.1/a")
    assert loopback.headers == SECRET
    assert not next_hop(loopback, "https://127.0.0.1/a").headers


def test_plain_http_never_carries_a_credential() -> None:
    """Away from loopback, headers are not sent without TLS."""
    assert not start("http://hub.example/a").headers


def test_a_downgrade_is_refused_whatever_the_pin() -> None:
    """From https nobody is led to http."""
    with pytest.raises(BadResponse, match="from https to http, which is never followed"):
        next_hop(start(is_pinned=True), "http://hub.example/a/b")


def test_plain_http_needs_a_pin() -> None:
    """Only a known SHA-256 makes up for a missing TLS, at the start and at each hop."""
    with pytest.raises(BadResponse, match="plain http, and no SHA-256") as caught:
        start("http://hub.example/a?sig=1", is_pinned=False)
    assert "sig" not in caught.value.report()
    with pytest.raises(BadResponse, match="plain http"):
        next_hop(start("http://127.0.0.1/a", is_pinned=False), "http://hub.example/a")
    assert start("http://hub.example/a").number == 0


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://hub.example/a",
        "gopher://hub.example/a",
        "data:text/plain,x",
        "unix:/run/x",
        "https://hub.example:99999/a",
        "https://[::1/a",
        "javascript:x",
    ],
)
def test_no_other_scheme_and_no_broken_url_is_followed(url: str) -> None:
    """Only http and https fetch a file."""
    with pytest.raises(BadResponse):
        start(url)
    with pytest.raises(BadResponse):
        next_hop(start(), url)


def test_an_url_without_a_host_is_refused() -> None:
    """There is nobody to dial."""
    with pytest.raises(BadResponse, match="no host"):
        start("https:///a")


def test_a_redirect_must_say_where_to() -> None:
    """Without a Location there is no way to go, and the redirect's page is no file."""
    with pytest.raises(BadResponse, match="without a Location"):
        next_hop(start(), "")


def test_the_eleventh_redirect_is_one_too_many() -> None:
    """Ten hops are followed; what goes on is a loop."""
    hop = start()
    for number in range(10):
        hop = next_hop(hop, f"/{number}")
    with pytest.raises(BadResponse, match="more than 10 times"):
        next_hop(hop, "/once-more")


def test_the_manifests_own_host_counts_as_named() -> None:
    """The start is always named, another host only where models.yaml says so."""
    location = Location(url=HUB.url, named_hosts=frozenset({"mirror.example"}))
    hop = first_hop(location, is_pinned=True)
    assert hop.is_named
    assert next_hop(hop, "https://mirror.example/").is_named
    assert not next_hop(hop, "https://cdn.example/").is_named


def test_the_repr_of_a_way_holds_no_secret() -> None:
    """Whoever prints a location or a hop sees where it leads, and neither header nor query."""
    signed = replace(HUB, url=f"https://u:{CANARY}@hub.example/a?sig={CANARY}", headers=SECRETS)
    for each in (signed, first_hop(signed, is_pinned=True)):
        assert "https://hub.example/a" in repr(each)
        assert CANARY not in repr(each)
