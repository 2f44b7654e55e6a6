"""TLS: fast on several connections, and never without a certificate that holds (row C5)."""

import random
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme
from msgspec import structs
from msgspec.structs import replace

from downloader.errors import ConnectionLost, TransferError
from downloader.transfer.fetch import Fetcher
from tests.servers.exchange import Exchange
from tests.servers.faults import framing, timing
from tests.servers.faulty import FaultyServer
from tests.servers.reply import Reply
from tests.transfer.desk import BODY, PATH, Desk, pinned, unpinned

BIG = random.Random(5).randbytes(12_000_000)
AUTHORITY = trustme.CA()


def serving(authority: trustme.CA, host: str, expires: datetime | None = None) -> ssl.SSLContext:
    """Return a server's context with a certificate for a host."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(host, not_after=expires).configure_cert(context)
    return context


@pytest.fixture
def trusted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Have the authority trusted, as a network's own is."""
    bundle = tmp_path / "authority.pem"
    AUTHORITY.cert_pem.write_to_path(str(bundle))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))


def secure_desk(folder: Path, running: ExitStack, context: ssl.SSLContext) -> Desk:
    """Return a desk whose server speaks TLS."""
    server = running.enter_context(FaultyServer(tls=context))
    server.put(PATH, BODY)
    return Desk(server, folder)


@pytest.fixture
def secure(trusted: None, tmp_path: Path) -> Iterator[Desk]:
    """Give a desk whose server has a certificate that holds."""
    with ExitStack() as running:
        yield secure_desk(tmp_path, running, serving(AUTHORITY, "127.0.0.1"))


def slow(_: Exchange, reply: Reply) -> Reply:
    """Send 2 MB/s on each connection."""
    return timing.drip(100_000, 0.05)(_, reply)


def test_several_connections_with_tls_bring_the_file(secure: Desk) -> None:
    """Segments over TLS are joined to the right bytes, each connection with its own handshake."""
    secure.server.put(PATH, BIG)
    secure.server.always(PATH, slow)
    secure.fetch(pinned(BIG))
    assert secure.server.connections > 1
    assert sum(asked is None for asked in secure.asked) == 1


def test_a_tls_connection_is_used_again(secure: Desk) -> None:
    """A second file costs no second handshake."""
    with secure.transport() as transport:
        fetcher = Fetcher(transport)
        for name in ("a.bin", "b.bin"):
            fetcher.fetch(secure.job(target=secure.folder / name))
    assert (len(secure.seen), secure.server.connections) == (2, 1)


def test_a_body_cut_without_close_notify_is_cut(secure: Desk) -> None:
    """The end of the connection is no end of the file, and the rest is asked for."""
    secure.server.script(PATH, framing.short(1000))
    secure.fetch(unpinned())
    assert secure.asked == [None, f"bytes={len(BODY) - 1000}-{len(BODY) - 1}"]


CONTEXTS = {
    "another authority": lambda: serving(trustme.CA(), "127.0.0.1"),
    "expired": lambda: serving(AUTHORITY, "127.0.0.1", datetime(2020, 1, 1, tzinfo=UTC)),
    "another host": lambda: serving(AUTHORITY, "elsewhere.example"),
}


@pytest.mark.parametrize("reason", CONTEXTS)
def test_a_certificate_that_does_not_hold_is_refused(
    trusted: None, tmp_path: Path, reason: str
) -> None:
    """One line says so; it is not tried again, and no request is sent."""
    with ExitStack() as running:
        desk = secure_desk(tmp_path, running, CONTEXTS[reason]())
        error = desk.refuses(TransferError)
        assert (desk.seen, desk.server.connections) == ([], 1)
    assert "certificate" in str(error)
    assert "REQUESTS_CA_BUNDLE" in error.hint


def test_a_self_signed_certificate_is_refused(tmp_path: Path) -> None:
    """Without the network's own authority nothing of it is trusted."""
    with ExitStack() as running:
        desk = secure_desk(tmp_path, running, serving(AUTHORITY, "127.0.0.1"))
        assert "certificate" in str(desk.refuses(TransferError))


def test_a_server_that_is_too_old_is_refused(trusted: None, tmp_path: Path) -> None:
    """TLS 1.0 is never agreed to, and a broken handshake is not tried as plain http."""
    context = serving(AUTHORITY, "127.0.0.1")
    with pytest.warns(DeprecationWarning, match="deprecated"):
        context.options |= ssl.OP_NO_TLSv1_3 | ssl.OP_NO_TLSv1_2
    with ExitStack() as running:
        desk = secure_desk(tmp_path, running, context)
        assert "TLS" in str(desk.refuses(TransferError))
        assert desk.seen == []


def test_a_bundle_that_is_not_there_is_one_line(
    secure: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong path in the environment turns no check off."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/authority.pem")
    error = secure.refuses(TransferError)
    assert "REQUESTS_CA_BUNDLE" in error.report()
    assert secure.seen == []


def test_plain_http_on_a_tls_port_is_one_line(secure: Desk) -> None:
    """A scheme that does not fit the port ends cleanly."""
    place = secure.location()
    secure.settings = structs.replace(secure.settings, retries=1)
    secure.refuses(ConnectionLost, None, replace(place, url=place.url.replace("https", "http")))
