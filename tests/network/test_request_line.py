"""What the request line says: the bytes of a URL go out as curl sends them."""

import subprocess

import pytest

from downloader.errors import BadResponse
from downloader.network.client import Client, first_hop, next_hop
from downloader.settings import Settings
from downloader.urls import Location
from tests.servers.faults import statuses
from tests.servers.faulty import FaultyServer

START = "/a/start"
AS_WRITTEN = [
    "/model.bin",
    "/%7Euser/model.bin",
    "/~user/model.bin",
    "/a%2Db.bin",
    "/mod%c3%a8le.bin",
    "/mod%C3%A8le.bin",
    "/a%2fb.bin",
    "/a%2Fb.bin",
    "/100%25.bin",
    "/100%.bin",
    "/a%zz.bin",
    "/a%20b.bin",
    "/a+b.bin",
    "/a//b///c.bin",
    "/a/./b/../c.bin",
    "/a/b/..",
    "/../../c.bin",
    "/a;v=1/b;w=2",
    "/a=b&c,d@e:f$g!h*i(j)'k.bin",
    '/a|b"c<d>e^f`g.bin',
    "/a{b}[c].bin",
    "/a.bin?x=%7e&y=%2D",
    "/a.bin?x=a%2Fb&sig=Zm9v%2b%3D",
    "/a.bin?x=a/b+c==&y=//?z",
    "/a.bin?x={1}|[2]&y='(3)'",
    "?x=%7e",
    "/a.bin?q=1#fragment",
    "/a.bin#fragment?q=1",
    "/",
]
NOT_IN_A_LOCATION = ["", "/a.bin?"]
"""There is no such Location, and curl 7.88 loses the empty query of one."""
ONLY_IN_A_LOCATION = [
    "b.bin",
    "./b.bin",
    "../b.bin",
    "c//d.bin",
    "?x=2",
    "/modèle.bin",
    "/voilà",
    "/模型/权重.bin?name=模型",
    "/a b.bin",
    "b;v=1",
]


def asked_by_us(server: FaultyServer, url: str) -> list[str]:
    """Return the targets of our requests for a URL; what is answered does not matter."""
    before = len(server.requests)
    client = Client(Settings(timeout_seconds=5, retries=1))
    client.open(Location(url=url), {}, is_pinned=True).close()
    client.close()
    return [seen.target for seen in server.requests[before:]]


def asked_by_curl(server: FaultyServer, curl: str, url: str) -> list[str]:
    """Return the targets of curl's requests; `-g`: brackets in a URL are no pattern."""
    before = len(server.requests)
    subprocess.run([curl, "-q", "-g", "-s", "-L", "--max-time", "5", url], check=True)
    return [seen.target for seen in server.requests[before:]]


def as_location(text: str) -> str:
    """Return what the server's header is to be given so that it sends these characters as UTF-8."""
    return text.encode().decode("latin-1")


@pytest.mark.parametrize("form", [*AS_WRITTEN, *NOT_IN_A_LOCATION])
def test_a_url_goes_out_as_curl_sends_it(server: FaultyServer, curl: str, form: str) -> None:
    """Escapes keep their case, and what needs no escape gets none; dot segments are resolved."""
    url = server.url("") + form
    assert asked_by_us(server, url) == asked_by_curl(server, curl, url)


@pytest.mark.parametrize("form", [*AS_WRITTEN, *ONLY_IN_A_LOCATION])
def test_a_redirect_is_followed_as_curl_follows_it(
    server: FaultyServer, curl: str, form: str
) -> None:
    """The bytes of a Location are UTF-8, and are encoded once where they must be.

    Only the hexadecimal digits of new escapes may differ: RFC 3986 §2.1 wants upper case.
    """
    redirect = statuses.redirect(as_location(form))
    server.script(START, redirect)
    server.put(START, b"")  # it may lead back here
    ours = asked_by_us(server, server.url(START))
    server.script(START, redirect)
    theirs = asked_by_curl(server, curl, server.url(START))
    assert len(ours) == 2
    if form.isascii():
        assert ours == theirs
    else:
        assert [each.upper() for each in ours] == [each.upper() for each in theirs]


def test_raw_text_of_a_url_is_encoded_once(server: FaultyServer) -> None:
    """models.yaml may write a name as people read it; curl would send the raw bytes."""
    url = f"{server.url('')}/modèle%20%E6.bin?q=ü"
    assert asked_by_us(server, url) == ["/mod%C3%A8le%20%E6.bin?q=%C3%BC"]


def test_bytes_that_are_no_utf8_go_on_as_they_came(server: FaultyServer) -> None:
    """A server that writes Latin-1 into Location gets the same bytes back."""
    server.script(START, statuses.redirect("/mod\xe8le.bin"))
    assert asked_by_us(server, server.url(START))[-1] == "/mod%E8le.bin"


def test_the_same_bytes_go_out_by_way_of_a_proxy(
    server: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy gets the whole URL, whose path is as little changed."""
    monkeypatch.setenv("HTTP_PROXY", server.url(""))
    assert asked_by_us(server, "http://hub.example/a//%7e.bin?x={1}") == [
        "http://hub.example/a//%7e.bin?x={1}"
    ]


@pytest.mark.parametrize(
    "target",
    ["//evil.example\\@hub.example/c", "https://evil.example\\@hub.example/c", "//hub\x85/c"],
)
def test_a_host_that_parsers_read_differently_is_refused(target: str) -> None:
    """One parser would say whose credential it is, and another one whom to dial."""
    start = first_hop(Location(url="https://hub.example/a", headers={"A": "b"}), is_pinned=True)
    with pytest.raises(BadResponse, match="broken URL"):
        next_hop(start, target)


def test_every_request_accepts_anything(server: FaultyServer) -> None:
    """Some firewalls refuse a request without Accept (OWASP CRS 920300)."""
    asked_by_us(server, server.url("/model.bin"))
    assert server.requests[-1].headers["Accept"] == "*/*"
