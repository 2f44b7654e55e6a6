"""Bodies framed wrongly, or in an unusual way (rows A3, A4, A6)."""

import gc
import warnings

import pytest

from downloader.artifact import Artifact
from downloader.errors import BadResponse, ConnectionLost
from tests.servers import faults
from tests.servers.exchange import Fault
from tests.servers.faults import chunks, framing, timing
from tests.transfer.desk import BODY, PATH, Desk, however_known, pinned, unpinned

SIZE = len(BODY)

CUT_CHUNKS = {
    "before the last": chunks.ends_before_last(),
    "at a boundary": chunks.ends_at_boundary(),
    "in a chunk": faults.combined(chunks.chunked(), timing.drop_after(6000)),
}
BROKEN_CHUNKS = {
    "no hex digit": chunks.bad_size(),
    "overflow": chunks.overflowing_size(),
    "NUL in the trailer": chunks.nul_in_trailer(),
    "bare line feeds": chunks.bare_line_feeds(),
}


@however_known
@pytest.mark.parametrize("fault", CUT_CHUNKS.values(), ids=CUT_CHUNKS.keys())
def test_chunks_that_break_off_are_gone_on_with(
    desk: Desk, artifact: Artifact, fault: Fault
) -> None:
    """The end of the connection is never the end of a chunked body; what is missing is asked for.

    Of a pinned file whose last chunk alone is missing, nothing is.
    """
    desk.server.script(PATH, fault)
    desk.fetch(artifact)
    assert desk.target.read_bytes() == BODY
    assert all(str(asked).startswith("bytes=") for asked in desk.asked[1:])
    assert len(desk.asked) == 2 or (artifact.is_pinned and artifact.size == SIZE)


@pytest.mark.parametrize("fault", CUT_CHUNKS.values(), ids=CUT_CHUNKS.keys())
def test_chunks_that_always_break_off_place_nothing(desk: Desk, fault: Fault) -> None:
    """However often it is tried, a file that could be a cut one is not placed."""
    desk.server.put(PATH, BODY, etag=None)
    desk.server.always(PATH, fault)
    desk.refuses(ConnectionLost, unpinned())
    # One more where the first attempt brought enough to be progress.
    assert desk.settings.retries <= len(desk.seen) <= desk.settings.retries + 1


@however_known
@pytest.mark.parametrize("fault", BROKEN_CHUNKS.values(), ids=BROKEN_CHUNKS.keys())
def test_broken_chunks_are_an_error(desk: Desk, artifact: Artifact, fault: Fault) -> None:
    """A body whose framing is broken is refused, pinned or not."""
    desk.server.always(PATH, fault)
    desk.refuses(BadResponse, artifact)
    assert len(desk.seen) == 1


@however_known
@pytest.mark.parametrize(
    "fault",
    [chunks.chunked(), chunks.with_length(), framing.content_length("{n}", "{n}")],
    ids=["chunked", "chunked with length", "equal twice"],
)
def test_sound_framing_delivers(desk: Desk, artifact: Artifact, fault: Fault) -> None:
    """What RFC 9112 allows brings the file."""
    desk.server.always(PATH, fault)
    desk.fetch(artifact)
    assert desk.target.read_bytes() == BODY


def test_chunks_overrule_a_wrong_length(desk: Desk) -> None:
    """A length beside chunks neither cuts the file nor lengthens it."""
    desk.server.always(PATH, chunks.with_length("5"))
    desk.fetch(unpinned())
    assert desk.target.read_bytes() == BODY


@however_known
@pytest.mark.parametrize(
    "values",
    [["-5"], ["{n}", "5"], ["five"], ["9" * 20], ["+5"], ["0x10"], ["{n}.0"]],
    ids=str,
)
def test_an_unusable_length_is_an_error(desk: Desk, artifact: Artifact, values: list[str]) -> None:
    """Negative, conflicting, garbled and overflowing lengths place nothing."""
    desk.server.always(PATH, framing.content_length(*values))
    desk.refuses(BadResponse, artifact)
    assert len(desk.seen) == 1
    assert desk.partials == []


@however_known
def test_a_list_of_lengths_is_an_error(desk: Desk, artifact: Artifact) -> None:
    """Conflicting lengths on one line place nothing either."""
    desk.server.always(PATH, framing.content_length("{n}, 5"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # urllib3 leaves the socket to collection
        desk.refuses(BadResponse, artifact)
        gc.collect()
    assert len(desk.seen) == 1


@however_known
@pytest.mark.parametrize("coding", ["gzip, chunked", "chunked, identity", "x-unknown"])
def test_an_unknown_transfer_coding_is_an_error(
    desk: Desk, artifact: Artifact, coding: str
) -> None:
    """Bytes that are still coded are not the file's."""
    desk.server.always(PATH, framing.transfer_encoding(coding))
    desk.refuses(BadResponse, artifact)
    assert desk.partials == []


@pytest.mark.parametrize(
    "artifact",
    [pinned(), pinned(sized=False), unpinned(SIZE)],
    ids=["pinned", "size unknown", "size known"],
)
def test_a_body_without_length_is_taken_where_something_judges_it(
    desk: Desk, artifact: Artifact
) -> None:
    """A digest or a size tells the end of the file from a broken connection."""
    desk.server.always(PATH, framing.unsized)
    desk.fetch(artifact)
    assert desk.target.read_bytes() == BODY


@pytest.mark.parametrize("artifact", [pinned(), pinned(sized=False)], ids=["sized", "unsized"])
def test_an_identity_coding_is_taken_where_a_digest_decides(desk: Desk, artifact: Artifact) -> None:
    """Its end is that of the connection, as of a body without a length."""
    desk.server.always(PATH, framing.transfer_encoding("identity"))
    desk.fetch(artifact)
    assert desk.target.read_bytes() == BODY


def test_an_identity_coding_is_refused_where_nothing_decides(desk: Desk) -> None:
    """The message says what would."""
    desk.server.always(PATH, framing.transfer_encoding("identity"))
    assert "sha256" in desk.refuses(BadResponse, unpinned()).hint


def test_a_body_without_length_is_refused_where_nothing_judges_it(desk: Desk) -> None:
    """A file of unknown size and digest must come with its length."""
    desk.server.always(PATH, framing.unsized)
    error = desk.refuses(BadResponse, unpinned())
    assert "neither length nor checksum" in str(error)
    assert "sha256" in error.hint


def test_a_short_body_without_length_is_gone_on_with(desk: Desk) -> None:
    """Before the locked size, the end of the connection is no end of the file."""
    desk.server.script(PATH, faults.combined(framing.short(1), framing.unsized))
    desk.fetch(unpinned(SIZE))
    assert desk.asked == [None, f"bytes={SIZE - 1}-{SIZE - 1}"]
