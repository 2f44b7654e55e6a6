"""What a server says of a file before it is fetched."""

import pytest

from downloader.artifact import Artifact
from downloader.errors import (
    BadResponse,
    ConnectionLost,
    ModelmakeError,
    NotFound,
    ServerBusy,
)
from downloader.network.api import probe
from downloader.urls import Location
from tests.servers import faults
from tests.servers.azure_2009 import azure_2009
from tests.servers.exchange import Fault
from tests.servers.faults import chunks, framing, heads, pages, ranges, statuses, validators
from tests.servers.process import free_port
from tests.transfer.desk import BODY, PATH, Desk, pinned, unpinned

MD5 = "XUFAKrxLKna5cZ2REBfFkg=="  # of b"hello"


def asked(desk: Desk, artifact: Artifact, location: Location | None = None) -> Artifact:
    with desk.transport() as transport:
        return probe(transport, artifact, location or desk.location())


def test_one_byte_is_asked_for_with_get(desk: Desk) -> None:
    """The size comes from the Content-Range of a GET of the first byte; HEAD is never used."""
    found = asked(desk, unpinned())
    assert found.size == len(BODY)
    assert found.etag is not None
    (seen,) = desk.seen
    assert (seen.method, seen.headers["Range"]) == ("GET", "bytes=0-0")


@pytest.mark.parametrize("size", [0, 1])
def test_the_smallest_files_have_their_size(desk: Desk, size: int) -> None:
    """An empty file has no first byte; its 416 tells the size."""
    desk.server.put(PATH, BODY[:size])
    assert asked(desk, unpinned()).size == size


SIZED: dict[str, tuple[Fault, int | None]] = {
    "no ranges": (ranges.ignored, len(BODY)),
    "not announced": (ranges.unannounced, len(BODY)),
    "no ranges, no length": (faults.combined(ranges.ignored, chunks.chunked()), None),
    "unknown total": (ranges.unknown_total, None),
    "coded": (faults.combined(ranges.ignored, framing.content_encoding("gzip")), None),
}


@pytest.mark.parametrize(("fault", "size"), SIZED.values(), ids=SIZED.keys())
def test_a_server_without_ranges_is_asked_too(desk: Desk, fault: Fault, size: int | None) -> None:
    """A 200 tells its length, where it has one and is not coded; only its start is read."""
    desk.server.always(PATH, fault)
    if fault is ranges.unknown_total:
        with pytest.raises(BadResponse):
            asked(desk, unpinned())
        return
    assert asked(desk, unpinned()).size == size


@pytest.mark.parametrize("artifact", [unpinned(), pinned(sized=False)], ids=["unpinned", "pinned"])
def test_a_page_tells_nothing_of_the_file(desk: Desk, artifact: Artifact) -> None:
    """A captive portal answers a range with 200: its length is not the file's."""
    desk.server.always(PATH, pages.captive_portal())
    with pytest.raises(BadResponse, match="HTML page"):
        asked(desk, artifact)


def test_an_empty_200_tells_no_size(desk: Desk) -> None:
    """Some servers answer any range with it, and the file by a plain GET."""
    desk.server.always(PATH, statuses.status(200))
    assert asked(desk, unpinned()).size is None


def test_what_nobody_tells_stays_as_it_was(desk: Desk) -> None:
    """A size the lock has is kept where the reply tells none."""
    desk.server.always(PATH, faults.combined(ranges.ignored, chunks.chunked()))
    assert asked(desk, unpinned(5)).size == 5


def test_a_published_md5_is_taken_for_an_unpinned_file(desk: Desk) -> None:
    """The MD5 Azure gives with a range is the whole file's."""
    desk.server.put(PATH, BODY, headers={"x-ms-blob-content-md5": MD5})
    assert asked(desk, unpinned()).md5 == "5d41402abc4b2a76b9719d911017c592"
    assert asked(desk, pinned()).md5 is None


def test_a_file_without_validators_is_found(desk: Desk) -> None:
    """An ETag is no condition."""
    desk.server.always(PATH, validators.missing)
    assert asked(desk, unpinned()).etag is None


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (statuses.status(404), NotFound),
        (ranges.without_content_range, BadResponse),
        (ranges.unsatisfiable(None), BadResponse),
        (statuses.status(204), BadResponse),
        (heads.header("Content-Range", "junk"), BadResponse),
    ],
    ids=["404", "no Content-Range", "416 of nothing", "204", "junk"],
)
def test_what_is_no_answer_is_an_error(
    desk: Desk, fault: Fault, kind: type[ModelmakeError]
) -> None:
    """A reply that tells nothing of the file is refused by its kind."""
    desk.server.always(PATH, fault)
    with pytest.raises(kind):
        asked(desk, unpinned())


def test_it_is_asked_once(desk: Desk) -> None:
    """Nobody waits for a hint: a busy server and a dead one are asked again by the download."""
    desk.server.always(PATH, statuses.status(503))
    with pytest.raises(ServerBusy):
        asked(desk, unpinned())
    assert len(desk.seen) == 1
    with pytest.raises(ConnectionLost):
        asked(desk, unpinned(), Location(url=f"http://127.0.0.1:{free_port()}/x"))


def test_the_old_azure_dialect_is_understood(desk: Desk) -> None:
    """Its ETag has no quotes and ranges are not announced; size and MD5 are found all the same."""
    with azure_2009() as server:
        server.put(PATH, BODY)
        found = asked(desk, unpinned(), Location(url=server.url(PATH)))
    assert (found.size, found.md5 is not None) == (len(BODY), True)
