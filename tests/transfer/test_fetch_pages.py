"""Pages, messages and pointers in place of the file (rows A10, A11)."""

import pytest

from downloader.artifact import Artifact
from downloader.errors import (
    AccessDenied,
    BadResponse,
    DigestMismatch,
    ModelmakeError,
    NotFound,
    ServerBusy,
)
from tests.servers import faults
from tests.servers.exchange import Fault
from tests.servers.faults import chunks, framing, pages, statuses, timing
from tests.transfer.desk import BODY, PATH, Desk, pinned, unpinned

PAGES: dict[str, tuple[Fault, str]] = {
    "login page": (pages.captive_portal(), "an HTML page"),
    "S3 error": (pages.s3_error("NoSuchKey", 200), "an XML error message"),
    "LFS pointer": (pages.lfs_pointer(), "a Git LFS pointer"),
    "JSON error": (pages.json_error(), "a JSON error message"),
}
each_page = pytest.mark.parametrize(("fault", "name"), PAGES.values(), ids=PAGES.keys())
WAYS = {
    "at once": faults.honest,
    "chunked": chunks.chunked(7),
    "byte by byte": timing.drip(1, 0.0),
}
ways = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())


@each_page
@ways
@pytest.mark.parametrize(
    "artifact", [unpinned(), unpinned(len(BODY))], ids=["size unknown", "size known"]
)
def test_a_page_is_no_unpinned_file(
    desk: Desk, fault: Fault, name: str, way: Fault, artifact: Artifact
) -> None:
    """However a page comes, it is seen before a byte of it is written, and quoted."""
    desk.server.always(PATH, faults.combined(fault, way))
    error = desk.refuses(BadResponse, artifact)
    assert f"answered with {name} instead of model.bin" in str(error)
    assert (desk.partials, desk.quarantined) == ([], [])
    assert len(desk.seen) == 1


@each_page
@ways
def test_a_page_is_no_pinned_file(desk: Desk, fault: Fault, name: str, way: Fault) -> None:
    """Where the digest alone is known, its mismatch says what the bytes look like."""
    desk.server.always(PATH, faults.combined(fault, way))
    error = desk.refuses(DigestMismatch, pinned(sized=False))
    assert f"it looks like {name}" in str(error)
    assert desk.partials == []
    assert len(desk.seen) == 1


@each_page
def test_a_page_of_another_length_leaves_no_trace(desk: Desk, fault: Fault, name: str) -> None:
    """Where the locked size differs, the page is named, and nothing of it is written."""
    desk.server.always(PATH, fault)
    error = desk.refuses(BadResponse, pinned())
    assert name in str(error)
    assert (desk.partials, desk.quarantined) == ([], [])


@each_page
@pytest.mark.parametrize("artifact", [pinned(), unpinned()], ids=["pinned", "unpinned"])
def test_a_page_in_the_way_does_not_cost_the_partial(
    desk: Desk, fault: Fault, name: str, artifact: Artifact
) -> None:
    """A captive portal between two halves leaves the first half for the next run."""
    desk.leave_partial(100_000, artifact)
    desk.server.script(PATH, fault)
    error = desk.refuses(BadResponse, artifact)
    assert name in str(error)
    assert desk.fetch(artifact).moved_bytes == len(BODY) - 100_000


@pytest.mark.parametrize(
    "artifact", [pinned(sized=False), pinned(), unpinned()], ids=["pinned", "sized", "unpinned"]
)
def test_at_most_200_printable_bytes_are_quoted(desk: Desk, artifact: Artifact) -> None:
    """A page that is long or would steer a terminal is shown short and harmless."""
    page = b"<!DOCTYPE html>\x1b[2J\r\n\x07\xff" + b"q" * 5000
    desk.server.always(PATH, statuses.status(200, page))
    kind = DigestMismatch if artifact == pinned(sized=False) else BadResponse
    error = desk.refuses(kind, artifact)
    assert 10 < str(error).count("q") <= 200
    assert "\x1b" not in error.report()


def test_a_page_that_is_wanted_is_a_file(desk: Desk) -> None:
    """An unpinned file whose name promises a page may be one."""
    desk.server.put("/index.html", pages.PORTAL)
    desk.fetch(unpinned(path="index.html"), desk.location("/index.html"))
    assert desk.target.read_bytes() == pages.PORTAL


def test_a_pin_overrules_the_look(desk: Desk) -> None:
    """Bytes that match their digest are right, whatever they look like."""
    desk.server.put(PATH, pages.PORTAL)
    desk.fetch(pinned(pages.PORTAL))
    assert desk.target.read_bytes() == pages.PORTAL


@pytest.mark.parametrize("code", [200, 400, 403, 503])
@pytest.mark.parametrize("said", ["SlowDown", "RequestTimeout", "InternalError", "ServerBusy"])
def test_a_store_that_says_later_is_asked_again(desk: Desk, code: int, said: str) -> None:
    """The code in the body means "later" whatever the status."""
    desk.server.script(PATH, pages.s3_error(said, code))
    desk.fetch(unpinned())
    assert len(desk.seen) == 2


def test_a_store_that_always_says_later_is_given_up(desk: Desk) -> None:
    """The last error names the store's own code."""
    desk.server.always(PATH, pages.s3_error("SlowDown", 200))
    error = desk.refuses(ServerBusy, unpinned())
    assert "SlowDown" in str(error)
    assert len(desk.seen) == desk.settings.retries


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (403, "AccessDenied", AccessDenied),
        (404, "NoSuchKey", NotFound),
        (400, "InvalidArgument", BadResponse),
    ],
)
def test_an_object_stores_never_is_asked_once(
    desk: Desk, status: int, code: str, kind: type[ModelmakeError]
) -> None:
    """What will not change is not tried again, and the <Code> is shown."""
    desk.server.always(PATH, pages.s3_error(code, status))
    assert f"{status} {code}" in str(desk.refuses(kind))
    assert len(desk.seen) == 1


def test_an_error_that_never_ends_is_read_in_part(desk: Desk) -> None:
    """A few thousand bytes of a refusal are enough to know its cause."""
    endless = faults.combined(pages.s3_error("NoSuchKey", 404), framing.endless())
    desk.server.always(PATH, endless)
    assert "NoSuchKey" in str(desk.refuses(NotFound))
