"""One GET: what goes along, what does not, and which connections are used again."""

import time
import traceback
from pathlib import Path

import pytest
import requests

from downloader.artifact import Artifact
from downloader.errors import ConnectionLost, ModelmakeError, Offline, TransferError
from downloader.network._connection import CancellableAdapter
from downloader.network.client import Client
from downloader.settings import Settings
from downloader.transfer.fetch import Fetcher
from downloader.urls import Location
from tests.servers import faults
from tests.servers.exchange import Fault
from tests.servers.faults import chunks, framing, heads, pages, statuses
from tests.servers.process import free_port
from tests.servers.reply import last
from tests.transfer.desk import BODY, CANARY, PATH, Desk, pinned, unpinned


def fetch_all(desk: Desk, *artifacts: Artifact) -> None:
    """Fetch one after the other over one transport, ignoring what fails."""
    with desk.transport() as transport:
        fetcher = Fetcher(transport)
        for artifact in artifacts:
            place = desk.location(f"/{artifact.path}")
            job = desk.job(artifact, place, target=desk.folder / "out" / artifact.path)
            try:
                fetcher.fetch(job)
            except ModelmakeError:
                continue


@pytest.mark.parametrize("fault", [faults.honest, chunks.chunked()], ids=["sized", "chunked"])
def test_a_connection_read_to_its_end_is_used_again(desk: Desk, fault: Fault) -> None:
    """Twenty files in a row need one connection."""
    files = [unpinned(path=f"{number}.bin") for number in range(20)]
    for number, file in enumerate(files):
        desk.server.put(f"/{file.path}", BODY[:number])
        desk.server.always(f"/{file.path}", fault)
    fetch_all(desk, *files)
    for number, file in enumerate(files):
        assert (desk.folder / "out" / file.path).read_bytes() == BODY[:number]
    assert (len(desk.seen), desk.server.connections) == (20, 1)


LEFT_UNREAD: dict[str, Fault] = {
    "coded": framing.content_encoding("gzip"),
    "long refusal": statuses.status(404, BODY),
    "long page": statuses.status(200, pages.PORTAL + BODY),
    "unknown coding": framing.transfer_encoding("x-unknown"),
    "broken chunks": chunks.bad_size(),
}


@pytest.mark.parametrize("fault", LEFT_UNREAD.values(), ids=LEFT_UNREAD.keys())
def test_a_connection_with_unread_bytes_is_never_used_again(desk: Desk, fault: Fault) -> None:
    """The next file does not begin with the tail of one that was refused (curl test 1479)."""
    desk.server.put("/next.bin", b"the next file")
    desk.server.script(PATH, fault)
    fetch_all(desk, unpinned(), unpinned(path="next.bin"))
    assert (desk.folder / "out" / "next.bin").read_bytes() == b"the next file"
    assert desk.server.connections == 2


def test_bytes_after_a_body_spoil_no_later_file(desk: Desk) -> None:
    """Surplus on a connection that stays open is not taken for the next reply."""
    surplus = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
    desk.server.put("/next.bin", b"the next file")
    desk.server.script(PATH, lambda _, reply: reply.through(last(surplus)))
    fetch_all(desk, unpinned(), unpinned(path="next.bin"))
    assert (desk.folder / "out" / "next.bin").read_bytes() == b"the next file"


def test_bytes_after_an_interim_reply_spoil_no_later_file(desk: Desk) -> None:
    """The reply behind a 103 belongs to its own request, or to none."""
    desk.server.put("/next.bin", b"the next file")
    desk.server.script(PATH, heads.interim(103))
    fetch_all(desk, unpinned(), unpinned(path="next.bin"))
    assert (desk.folder / "out" / "next.bin").read_bytes() == b"the next file"


def test_a_netrc_is_not_read(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A netrc that names the host neither adds credentials nor replaces ours."""
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login mallory password evil\ndefault login x password y\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(netrc))
    desk.fetch()
    location = desk.location()
    desk.fetch(None, type(location)(url=location.url, headers={"Authorization": "Bearer ours"}))
    assert [seen.headers.get("Authorization") for seen in desk.seen] == [None, "Bearer ours"]


def test_offline_dials_nobody(desk: Desk) -> None:
    """MODELMAKE_OFFLINE ends the fetch before a socket is opened."""
    desk.settings = Settings(is_offline=True)
    error = desk.refuses(Offline)
    assert "MODELMAKE_OFFLINE" in str(error)
    assert desk.server.connections == 0


def test_a_refused_connection_is_one_line(desk: Desk) -> None:
    """Nobody listens: the system's words, the place without its query, and a hint."""
    place = desk.location()
    nobody = type(place)(url=f"http://127.0.0.1:{free_port()}/m.bin?sig={CANARY}")
    error = desk.refuses(ConnectionLost, None, nobody)
    assert "Connection refused" in str(error)
    # A program that does not catch it shows all of this.
    assert CANARY not in "".join(traceback.format_exception(error))
    assert "/m.bin failed" in str(error)


def test_an_unknown_name_is_one_line(desk: Desk) -> None:
    """A host that does not resolve is named, and tried again as often as is set."""
    place = desk.location()
    nowhere = type(place)(url=f"http://nowhere.invalid/m.bin?sig={CANARY}")
    error = desk.refuses(ConnectionLost, pinned(), nowhere)
    assert "nowhere.invalid" in str(error)


def test_a_proxy_that_is_down_is_named_without_its_password(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy's failure is not the server's, and its credentials are shown to nobody."""
    monkeypatch.setenv("http_proxy", f"http://user:{CANARY}@127.0.0.1:{free_port()}")
    error = desk.refuses(TransferError)
    assert "proxy" in str(error)
    assert desk.server.connections == 0


def test_no_proxy_is_heeded(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """What NO_PROXY names is dialled directly."""
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    desk.fetch()
    assert len(desk.seen) == 1


def test_a_proxy_is_used(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """With http_proxy set, the proxy is asked for the whole URL."""
    desk.server.put(f"http://proxied.example{PATH}", BODY)
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{desk.server.port}")
    place = desk.location()
    desk.fetch(pinned(), type(place)(url=f"http://proxied.example{PATH}"))
    assert [seen.target for seen in desk.seen] == [f"http://proxied.example{PATH}"]


def test_closing_ends_every_connection(desk: Desk) -> None:
    """After close, no connection of the pool is left open."""
    transport = Client(desk.settings)
    Fetcher(transport).fetch(desk.job())
    transport.close()
    began = time.monotonic()
    while desk.server._open and time.monotonic() - began < 5:
        time.sleep(0.01)
    assert not desk.server._open


def pool_of(adapter: CancellableAdapter, url: str, proxies: dict[str, str] | None = None) -> object:
    """Return the pool that a request for this URL goes over."""
    request = requests.Request("GET", url).prepare()
    return adapter.get_connection_with_tls_context(request, verify=True, proxies=proxies)


def test_a_host_has_one_pool_that_another_scheme_port_or_proxy_does_not_share() -> None:
    """It is looked up once, and not used again after the adapter was closed."""
    adapter = CancellableAdapter(2, 2, max_retries=0)
    first = pool_of(adapter, "http://one.example/a")
    assert pool_of(adapter, "http://one.example/b?c") is first
    others = {
        pool_of(adapter, "https://one.example/a"),
        pool_of(adapter, "http://one.example:81/a"),
        pool_of(adapter, "http://one.example/a", {"http": "http://proxy.example:3128"}),
    }
    assert first not in others
    assert len(others) == 3
    adapter.close()
    assert pool_of(adapter, "http://one.example/a") is not first


def test_a_socks_proxy_without_its_package_says_what_to_install(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Desktops set ALL_PROXY for everything, and requests needs PySocks for it."""

    def missing(*_: object, **__: object) -> None:
        raise requests.exceptions.InvalidSchema("Missing dependencies for SOCKS support.")

    monkeypatch.setattr(requests.adapters, "SOCKSProxyManager", missing)
    monkeypatch.setenv("ALL_PROXY", "socks5h://127.0.0.1:9")
    location = Location(url="http://hub.example/model.bin")
    error = desk.refuses(TransferError, pinned(), location)
    assert "is a SOCKS proxy, and PySocks is not installed" in str(error)
    assert "pip install PySocks" in error.hint
