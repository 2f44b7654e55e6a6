"""Statuses, interim replies, codings and heads that are no file (rows A5, A7, A8, A9, C2)."""

import pytest
from msgspec.structs import replace

from downloader.artifact import Artifact
from downloader.errors import AccessDenied, BadResponse, ConnectionLost, DigestMismatch
from tests.network.test_refusals import KINDS
from tests.servers import faults
from tests.servers.exchange import Fault
from tests.servers.faults import framing, heads, statuses
from tests.servers.faulty import FaultyServer
from tests.transfer.desk import BODY, PATH, Desk, pinned, unpinned

ARTIFACTS = {"pinned": pinned(), "unpinned": unpinned()}
both = pytest.mark.parametrize("artifact", ARTIFACTS.values(), ids=ARTIFACTS.keys())
CODES = [201, 202, 203, 204, 205, 207, 208, 226, 299, 300, 304, 305, 306, 400, 401, 402, 403, 404]
CODES += [405, 406, 407, 408, 409, 410, 412, 413, 416, 418, 421, 422, 425, 426, 428, 429, 431, 451]
CODES += [500, 501, 502, 503, 504, 505, 507, 508, 510, 511, 599, 600, 999]


@both
@pytest.mark.parametrize("code", CODES)
def test_no_other_status_makes_a_file(desk: Desk, artifact: Artifact, code: int) -> None:
    """With the right bytes in its body, a status other than 200 still is refused."""
    desk.server.always(PATH, statuses.status(code, BODY))
    kind = next((kind for kind, codes in KINDS.items() if code in codes), BadResponse)
    error = desk.refuses(kind, artifact)
    assert str(code) in str(error)
    assert len(desk.seen) == (desk.settings.retries if error.retryable else 1)
    assert desk.partials == []


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirect_page_is_not_the_file(desk: Desk, code: int) -> None:
    """A redirect without Location delivers nothing, whatever its body holds."""
    desk.server.always(PATH, statuses.status(code, BODY))
    error = desk.refuses(BadResponse)
    assert "without a Location" in str(error)


@both
@pytest.mark.parametrize("interim", [(100,), (100, 100), (102,), (103,), (103, 103)], ids=str)
def test_interim_replies_never_make_an_empty_file(
    desk: Desk, artifact: Artifact, interim: tuple[int, ...]
) -> None:
    """A reply after 1xx ones either arrives or is refused, and its tail spoils no later one."""
    desk.server.put("/other.bin", b"other")
    desk.server.script(PATH, heads.interim(*interim))
    try:
        desk.fetch(artifact)
    except BadResponse as error:
        assert str(interim[0]) in str(error)  # noqa: PT017 - either outcome is right
        assert not desk.target.exists()
    else:
        assert desk.target.read_bytes() == BODY


def test_continue_is_read_over(desk: Desk) -> None:
    """A 100 before the reply is no reply."""
    desk.server.script(PATH, heads.interim(100))
    desk.fetch()
    assert len(desk.seen) == 1


BROKEN_HEADS: dict[str, Fault] = {
    "only 100": heads.only_interim(100),
    "letters": heads.status_line("HTTP/1.1 2OO OK"),
    "short": heads.status_line("HTTP/1.1 20 OK"),
    "another protocol": heads.status_line("ICY 200 OK"),
    "HTTP/0.9": heads.headless,
    "no HTTP": heads.garbage(),
    "many headers": heads.flood(10_000, 100),
    "a long header": heads.flood(1, 200_000),
}


@both
@pytest.mark.parametrize("fault", BROKEN_HEADS.values(), ids=BROKEN_HEADS.keys())
def test_a_broken_head_is_a_clean_error(desk: Desk, artifact: Artifact, fault: Fault) -> None:
    """What is no HTTP reply brings no file, and no traceback either."""
    desk.server.always(PATH, fault)
    desk.refuses(ConnectionLost, artifact)
    assert len(desk.seen) == desk.settings.retries
    assert desk.partials == []


codings = pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "gzip, br", "x-unknown"])


@codings
def test_a_coded_reply_is_refused_without_a_digest(desk: Desk, coding: str) -> None:
    """Bytes nobody asked to be coded may be another form of the file; its SHA-256 would tell."""
    desk.server.always(PATH, framing.content_encoding(coding))
    error = desk.refuses(BadResponse, unpinned())
    assert repr(coding) in str(error) or repr(coding.replace(" ", "")) in str(error)
    assert "sha256" in error.hint
    assert len(desk.seen) == 1
    assert desk.partials == []


@codings
def test_a_digest_decides_about_a_coded_reply(desk: Desk, coding: str) -> None:
    """Many servers call a stored .gz file coded: the bytes on the wire are the file."""
    label = heads.header("Content-Encoding", coding)
    desk.server.always(PATH, label)
    desk.server.script(PATH, faults.combined(label, framing.short(1)))
    desk.fetch(pinned(sized=False))
    assert desk.target.read_bytes() == BODY
    assert len(desk.seen) == 2


def test_a_reply_that_is_really_coded_is_not_the_file(desk: Desk) -> None:
    """The mismatch names the coding: it is its cause."""
    desk.server.always(PATH, framing.content_encoding("gzip"))
    error = desk.refuses(DigestMismatch, pinned(sized=False))
    assert "Content-Encoding 'gzip'" in str(error)


TYPES = ["text/html", "application/xhtml+xml", "application/xml", "multipart/related", "junk", ""]


@pytest.mark.parametrize("content_type", TYPES)
def test_a_digest_decides_about_an_odd_type(desk: Desk, content_type: str) -> None:
    """What the server calls the file is no reason against right bytes, resumed or not."""
    odd = heads.header("Content-Type", content_type)
    desk.server.always(PATH, odd)
    desk.server.script(PATH, faults.combined(odd, framing.short(1)))
    desk.fetch(pinned())
    assert desk.target.read_bytes() == BODY
    assert desk.asked == [None, f"bytes={len(BODY) - 1}-{len(BODY) - 1}"]


def test_a_coded_reply_is_refused_before_its_body_is_read(desk: Desk) -> None:
    """A decompression bomb is not even received."""
    desk.server.always(PATH, faults.combined(framing.content_encoding("br"), framing.endless()))
    desk.refuses(BadResponse, unpinned())


def test_identity_is_no_coding(desk: Desk) -> None:
    """A server may say that it did nothing."""
    desk.server.always(PATH, heads.header("Content-Encoding", "identity"))
    desk.fetch()


def test_every_request_asks_for_uncoded_bytes(desk: Desk) -> None:
    """The first request, its redirect's and the resumed one say identity and nothing more."""
    desk.server.put("/moved.bin", BODY)
    desk.server.always(PATH, statuses.redirect("/moved.bin"))
    desk.server.script("/moved.bin", framing.short(1))
    desk.fetch()
    assert [seen.path for seen in desk.seen] == [PATH, "/moved.bin", "/moved.bin"]
    assert {seen.headers["Accept-Encoding"] for seen in desk.seen} == {"identity"}
    assert {seen.headers["User-Agent"].partition("/")[0] for seen in desk.seen} == {"modelmake"}


def test_a_method_other_than_get_is_never_used(desk: Desk) -> None:
    """HEAD is refused by signed URLs and lies on some servers: no fetch depends on it."""
    desk.server.script(PATH, framing.short(1))
    desk.fetch(unpinned())
    assert {seen.method for seen in desk.seen} == {"GET"}


@pytest.mark.parametrize("code", [401, 403])
def test_a_locations_hint_says_which_credential_to_set(desk: Desk, code: int) -> None:
    """Refused by the location's own origin, the user reads what its source advises."""
    desk.server.always(PATH, statuses.status(code, b""))
    asked = replace(desk.location(), credential_hint="Set TOY_API_KEY.")
    assert desk.refuses(AccessDenied, None, asked).hint == "Set TOY_API_KEY."


def test_a_locations_hint_is_not_for_another_origin(desk: Desk, elsewhere: FaultyServer) -> None:
    """A storage server that refuses its signed URL wants no API key."""
    desk.server.always(PATH, statuses.redirect(elsewhere.url(PATH)))
    elsewhere.always(PATH, statuses.status(403, b""))
    asked = replace(desk.location(), credential_hint="Set TOY_API_KEY.")
    assert desk.refuses(AccessDenied, None, asked).hint == AccessDenied.advice


@pytest.mark.parametrize(("code", "hint"), [(407, "proxy"), (451, "public")])
def test_a_locations_hint_is_for_credentials_only(desk: Desk, code: int, hint: str) -> None:
    """A proxy that wants its own, or a law, is not helped by a key."""
    desk.server.always(PATH, statuses.status(code, b""))
    asked = replace(desk.location(), credential_hint="Set TOY_API_KEY.")
    assert hint in desk.refuses(AccessDenied, None, asked).hint
