"""Redirects to signed URLs: remembered while they hold, asked anew when they expire (row C7)."""

import random
from collections.abc import Callable

import pytest
from msgspec.structs import replace

from downloader.errors import AccessDenied, BadResponse, LinkExpired
from downloader.network.client import Hop, RedirectCache
from downloader.transfer.fetch import Fetcher
from downloader.urls import Location
from tests.servers import faults
from tests.servers.exchange import Exchange, Fault
from tests.servers.faults import pages, statuses, timing
from tests.servers.faulty import FaultyServer
from tests.servers.reply import Reply
from tests.transfer.desk import BODY, CANARY, PATH, SECRETS, Desk, pinned, unpinned

BIG = random.Random(7).randbytes(12_000_000)
XML = '<?xml version="1.0"?>\n<Error><Code>{}</Code><Message>{}</Message></Error>'
EXPIRED = {
    "S3": (403, XML.format("AccessDenied", "Request has expired")),
    "S3 token": (400, XML.format("ExpiredToken", "The provided token has expired.")),
    "R2": (400, XML.format("ExpiredRequest", "Request has expired")),
    "Azure": (
        403,
        XML.format("AuthenticationFailed", "Signature not valid in the specified time frame"),
    ),
    "bare 401": (401, ""),
    "bare 403": (403, ""),
    "not found": (404, ""),
    "gone": (410, ""),
}


class Signing:
    """A hub that leads each request to storage, with a signature good for so many requests.

    Args:
        storage: Where it leads.
        uses: How many requests a signature is good for.
        refusal: What storage says to one that has expired: status and body.
        path: Of the file.
    """

    def __init__(
        self, storage: FaultyServer, uses: int, refusal: tuple[int, str], path: str = PATH
    ) -> None:
        self._storage, self._uses, self._path = storage, uses, path
        self._refusal = statuses.status(refusal[0], refusal[1].encode())
        self._left: dict[str, int] = {}
        self.then: list[Fault] = []
        """What storage does to requests with a good signature, in order."""

    def lead(self, exchange: Exchange, reply: Reply) -> Reply:
        """Redirect to a freshly signed URL."""
        signature = f"{CANARY}-{len(self._left)}"
        self._left[signature] = self._uses
        target = self._storage.url(f"{self._path}?X-Amz-Signature={signature}")
        return statuses.redirect(target)(exchange, reply)

    def store(self, exchange: Exchange, reply: Reply) -> Reply:
        """Answer while the signature holds."""
        signature = exchange.request.target.partition("Signature=")[2]
        self._left[signature] -= 1
        if self._left[signature] < 0:
            return self._refusal(exchange, reply)
        return self.then.pop(0)(exchange, reply) if self.then else reply


@pytest.fixture
def signing(desk: Desk, elsewhere: FaultyServer) -> Callable[..., Signing]:
    """Give a function that puts such a hub at the desk's URL, and its storage elsewhere."""

    def make(uses: int, refusal: tuple[int, str] = EXPIRED["S3"]) -> Signing:
        hub = Signing(elsewhere, uses, refusal)
        desk.server.always(PATH, hub.lead)
        elsewhere.always(PATH, hub.store)
        return hub

    return make


def test_segments_ask_the_hub_once(
    desk: Desk, elsewhere: FaultyServer, signing: Callable[..., Signing]
) -> None:
    """As long as the signature holds, further connections go to storage directly."""
    elsewhere.put(PATH, BIG)
    signing(uses=1000).then = [timing.drip(100_000, 0.02)] * 1000
    desk.fetch(pinned(BIG), replace(desk.location(), headers=SECRETS))
    assert len(elsewhere.requests) > 2
    assert len(desk.seen) == 1
    assert not any(name in seen.headers for seen in elsewhere.requests for name in SECRETS)


@pytest.mark.parametrize("refusal", EXPIRED.values(), ids=EXPIRED.keys())
@pytest.mark.parametrize("artifact", [pinned(), unpinned()], ids=["pinned", "unpinned"])
def test_an_expired_signature_is_renewed_in_mid_file(
    desk: Desk,
    elsewhere: FaultyServer,
    signing: Callable[..., Signing],
    refusal: tuple[int, str],
    artifact: object,
) -> None:
    """The hub is asked again, with its credential, and the file goes on at the same byte."""
    signing(1, refusal).then = [timing.drop_after(100_000), timing.drop_after(100_000)]
    asked = replace(desk.location(), headers=SECRETS)
    fetched = desk.fetch(pinned() if artifact == pinned() else unpinned(), asked)
    assert fetched.moved_bytes == len(BODY)
    assert len(desk.seen) == 3
    assert all(seen.headers["X-Api-Key"] == CANARY for seen in desk.seen)
    good = [seen.headers.get("Range") for seen in elsewhere.requests if seen.status in (200, 206)]
    end = len(BODY) - 1
    assert good == [None, f"bytes=100000-{end}", f"bytes=200000-{end}"]
    assert not any(name in seen.headers for seen in elsewhere.requests for name in SECRETS)


def test_signatures_that_expire_under_every_segment(
    desk: Desk, elsewhere: FaultyServer, signing: Callable[..., Signing]
) -> None:
    """With several connections each finds its way anew, and the bytes are right."""
    elsewhere.put(PATH, BIG)
    signing(uses=2).then = [timing.drip(100_000, 0.02)] * 1000
    desk.fetch(pinned(BIG))
    assert len(desk.seen) > 1


@pytest.mark.parametrize("refusal", list(EXPIRED.values())[:4], ids=list(EXPIRED)[:4])
def test_a_signature_that_never_holds_is_given_up(
    desk: Desk, signing: Callable[..., Signing], refusal: tuple[int, str]
) -> None:
    """A hub that hands out old signatures is asked as often as anything else, and no more."""
    signing(0, refusal)
    error = desk.refuses(LinkExpired, None, replace(desk.location(), headers=SECRETS))
    assert len(desk.seen) == desk.settings.retries
    assert "expired" in str(error)


def test_a_storage_that_refuses_is_asked_once(desk: Desk, signing: Callable[..., Signing]) -> None:
    """Where nothing speaks of time, a fresh refusal is a refusal."""
    signing(0, (403, XML.format("AccessDenied", "Access Denied")))
    error = desk.refuses(AccessDenied)
    assert len(desk.seen) == 1
    assert "AccessDenied" in str(error)


def test_the_hub_itself_is_believed(desk: Desk) -> None:
    """Expiry is what storage says; the location's own origin wants another credential."""
    desk.server.always(PATH, statuses.status(403, EXPIRED["S3"][1].encode()))
    desk.refuses(AccessDenied)
    assert len(desk.seen) == 1


def test_another_version_behind_the_new_signature_is_noticed(
    desk: Desk, elsewhere: FaultyServer, signing: Callable[..., Signing]
) -> None:
    """Size and ETag must agree, or the file begins anew."""
    other = BODY[::-1]

    def replaced(exchange: Exchange, reply: Reply) -> Reply:
        elsewhere.put(PATH, other)
        return timing.drop_after(100_000)(exchange, reply)

    signing(uses=1).then = [replaced]
    desk.fetch(unpinned())
    assert desk.target.read_bytes() == other


def test_storage_that_is_gone_is_asked_for_anew(
    desk: Desk, elsewhere: FaultyServer, signing: Callable[..., Signing]
) -> None:
    """Where the remembered server takes no connection any more, the hub names another."""
    with desk.transport() as transport:
        fetcher = Fetcher(transport)
        with FaultyServer() as first:
            first.put(PATH, BODY)
            desk.server.script(PATH, statuses.redirect(first.url(f"{PATH}?Signature=x")))
            signing(uses=9)
            fetcher.fetch(desk.job())
        fetcher.fetch(desk.job(target=desk.folder / "again.bin"))
    assert (len(desk.seen), len(elsewhere.requests), desk.waits.delays) == (2, 1, [])


def test_what_is_remembered_is_for_the_same_credential(
    desk: Desk, elsewhere: FaultyServer, signing: Callable[..., Signing]
) -> None:
    """A way that was opened with one token is not gone with another."""
    signing(uses=9)
    with desk.transport() as transport:
        fetcher = Fetcher(transport)
        for token in ("one", "two"):
            place = Location(url=desk.location().url, headers={"Authorization": token})
            fetcher.fetch(desk.job(None, place, target=desk.folder / token))
    assert [seen.headers["Authorization"] for seen in desk.seen] == ["one", "two"]


AWRY: dict[str, Fault] = {
    "a redirect out of http": statuses.redirect("ftp://login.example/"),
    "a redirect to nowhere": statuses.redirect(""),
    "a log-in page": pages.captive_portal(),
    "an XML message": pages.s3_error("AccessDenied", 200),
}


@pytest.mark.parametrize("fault", AWRY.values(), ids=AWRY.keys())
def test_a_remembered_server_that_goes_astray_is_asked_for_anew(
    desk: Desk, elsewhere: FaultyServer, signing: Callable[..., Signing], fault: Fault
) -> None:
    """A bad redirect or a page where the file was means that the link is worn, not the file."""
    signing(uses=9).then = [faults.honest, fault]
    with desk.transport() as transport:
        fetcher = Fetcher(transport)
        fetcher.fetch(desk.job())
        fetcher.fetch(desk.job(target=desk.folder / "again.bin"))
    assert (len(desk.seen), len(elsewhere.requests), desk.waits.delays) == (2, 3, [])


def test_a_page_that_the_hub_itself_leads_to_is_told(
    desk: Desk, elsewhere: FaultyServer, signing: Callable[..., Signing]
) -> None:
    """It is asked for anew once, and then it is what the server has to say."""
    signing(uses=9).then = [faults.honest, *[pages.captive_portal()] * 5]
    with desk.transport() as transport:
        fetcher = Fetcher(transport)
        fetcher.fetch(desk.job(unpinned()))
        with pytest.raises(BadResponse, match="HTML"):
            fetcher.fetch(desk.job(unpinned(), target=desk.folder / "again.bin"))
    assert (len(desk.seen), len(elsewhere.requests)) == (2, 3)


def test_links_for_one_request_each_are_remembered_no_more(
    desk: Desk, elsewhere: FaultyServer, signing: Callable[..., Signing]
) -> None:
    """After two refusals in a row every request asks the hub, and none is refused."""
    signing(uses=1)
    with desk.transport() as transport:
        for _ in range(6):
            with transport.open(desk.location(), {}, is_pinned=True) as reply:
                assert reply.head.status == 200
    assert (len(desk.seen), len(elsewhere.requests)) == (6, 8)


def test_links_that_held_for_a_while_are_remembered_again(
    desk: Desk, elsewhere: FaultyServer, signing: Callable[..., Signing]
) -> None:
    """A refusal after a request that went well begins the counting anew."""
    signing(uses=2)
    with desk.transport() as transport:
        for _ in range(12):
            transport.open(desk.location(), {}, is_pinned=True).close()
    assert (len(desk.seen), len(elsewhere.requests)) == (6, 17)


def test_a_newer_link_outlives_the_refusal_of_an_older_one() -> None:
    """Of several threads that tried the same end, only the first one's refusal counts."""
    start, old, new = (
        Hop(url=f"https://{name}.example/", is_pinned=True, number=number)
        for number, name in enumerate(("hub", "old", "new"))
    )
    known = RedirectCache()
    known.learn(start, old)
    known.refused(start, old)
    known.learn(start, new)
    for _ in range(7):
        known.refused(start, old)
    assert known.find(start) == new
