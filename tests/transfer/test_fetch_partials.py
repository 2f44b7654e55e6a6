"""What an earlier run left, whole, damaged or of another file (rows B8, B9, B11)."""

import base64
import hashlib
import os

import pytest

from downloader.artifact import Artifact
from downloader.errors import DigestMismatch, Interrupted
from downloader.network.ranges import Range
from downloader.transfer import _journal, _verifier, partial
from downloader.transfer._verifier import THREADED_BYTES
from tests.servers.body import BytesBody
from tests.servers.faults import timing
from tests.servers.faulty import strong_etag
from tests.transfer.desk import (
    BODY,
    PATH,
    Desk,
    StopsAtWait,
    however_known,
    pinned,
    sha256,
    unpinned,
)

SIZE = len(BODY)
HAVE = 100_000
REST = f"bytes={HAVE}-{SIZE - 1}"
OTHER = bytes(reversed(BODY))
AZURE_MD5 = "x-ms-blob-content-md5"
pins = pytest.mark.parametrize(
    "artifact", [pinned(), pinned(sized=False)], ids=["sized", "unsized"]
)


@pins
def test_a_flipped_bit_in_the_partial_does_not_survive(desk: Desk, artifact: Artifact) -> None:
    """A pin finds damage done to the partial between two runs."""
    desk.leave_partial(HAVE, artifact)
    damaged = bytearray(desk.partial.read_bytes())
    damaged[HAVE // 2] ^= 1
    desk.partial.write_bytes(damaged)
    desk.fetch(artifact)
    assert desk.asked == [None, REST, None]


def test_a_published_md5_is_compared(desk: Desk) -> None:
    """Where the server publishes an MD5 of the whole file, an unpinned file must have it."""
    md5 = {AZURE_MD5: "XUFAKrxLKna5cZ2REBfFkg=="}
    desk.server.put(PATH, BODY, headers=md5)
    error = desk.refuses(DigestMismatch, unpinned())
    assert "instead of md5:5d41402abc4b2a76b9719d911017c592" in str(error)


@pytest.mark.parametrize("is_right", [True, False])
def test_an_md5_that_only_the_rest_of_a_file_names_is_compared(desk: Desk, is_right: bool) -> None:
    """It was not computed on the way, so the file is read for it."""
    body = BODY if is_right else OTHER
    md5 = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
    desk.leave_partial(HAVE, unpinned())
    desk.server.put(PATH, BODY, etag=strong_etag(BytesBody(BODY)), headers={AZURE_MD5: md5})
    if is_right:
        desk.fetch(unpinned())
    else:
        assert "instead of md5:" in str(desk.refuses(DigestMismatch, unpinned()))
    assert desk.asked[:2] == [None, REST]


@pytest.mark.parametrize("size", [1000, THREADED_BYTES])
def test_no_md5_is_computed_if_nobody_names_one(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """It would cost more than the SHA-256 that is pinned."""
    made: list[object] = []
    for module in (_verifier, partial):
        monkeypatch.setattr(module, "new_md5", lambda: made.append(1))
    desk.server.put(PATH, bytes(size))
    desk.fetch(unpinned())
    assert made == []


def journal_of(desk: Desk) -> _journal.Binding:
    found = _journal.load(desk.partial.with_suffix(".journal").read_bytes())
    assert found is not None
    return found[0]


@however_known
def test_bytes_beyond_the_journal_are_cut_off(desk: Desk, artifact: Artifact) -> None:
    """What the journal does not vouch for is not data: a partial longer than that is truncated."""
    desk.leave_partial(HAVE, artifact)
    with desk.partial.open("ab") as file:
        file.write(bytes(2 * SIZE))
    desk.fetch(artifact)
    assert desk.asked == [None, REST]


@however_known
def test_a_partial_shorter_than_its_journal_counts_as_it_is(desk: Desk, artifact: Artifact) -> None:
    """A journal is not trusted beyond the bytes that are there."""
    desk.leave_partial(HAVE, artifact)
    os.truncate(desk.partial, 1000)
    desk.fetch(artifact)
    assert desk.asked == [None, f"bytes=1000-{SIZE - 1}"]


def test_a_partial_that_was_cut_is_not_believed_in_later(desk: Desk) -> None:
    """What its journal named beyond its end is forgotten: it may be a hole when it is torn next."""
    desk.leave_partial(HAVE)
    os.truncate(desk.partial, 1000)
    desk.server.script(PATH, timing.drop_after(0))
    desk.waits = StopsAtWait()
    with pytest.raises(Interrupted):
        desk.run(desk.job())
    book = desk.partial.with_suffix(".journal")
    with book.open("ab") as file:
        file.write(b"[[0,1000],[2000,")
    assert desk.noted == [Range(0, 1000)]


@however_known
def test_a_complete_partial_is_placed_without_a_request(desk: Desk, artifact: Artifact) -> None:
    """When only the last step was missing, nothing is asked for."""
    desk.leave_partial(HAVE, artifact)
    line = _journal.dump_head(journal_of(desk)) + _journal.dump_ranges([Range(0, SIZE)])
    desk.partial.with_suffix(".journal").write_bytes(line)
    desk.partial.write_bytes(BODY)
    assert desk.fetch(artifact).moved_bytes == 0
    assert len(desk.seen) == 1


@pins
def test_a_complete_but_wrong_partial_is_fetched_anew(desk: Desk, artifact: Artifact) -> None:
    """Complete is not verified: wrong bytes of the right length are replaced."""
    desk.leave_partial(HAVE, artifact)
    line = _journal.dump_head(journal_of(desk)) + _journal.dump_ranges([Range(0, SIZE)])
    desk.partial.with_suffix(".journal").write_bytes(line)
    desk.partial.write_bytes(OTHER)
    desk.fetch(artifact)
    assert desk.asked == [None, None]


@however_known
@pytest.mark.parametrize(
    "text", [None, b"", b"garbage\n", bytes(300)], ids=["none", "empty", "garbage", "zeros"]
)
def test_a_full_length_hole_is_not_data(desk: Desk, artifact: Artifact, text: bytes | None) -> None:
    """Without a journal that vouches for them, zeros of the right length are fetched."""
    desk.leave_partial(HAVE, artifact)
    desk.partial.write_bytes(bytes(SIZE))
    book = desk.partial.with_suffix(".journal")
    book.unlink() if text is None else book.write_bytes(text)
    desk.fetch(artifact)
    assert desk.asked == [None, None]


@however_known
def test_a_hole_after_an_older_journal_is_not_data(desk: Desk, artifact: Artifact) -> None:
    """A journal older than the data vouches for what it names, and for no zero more."""
    desk.leave_partial(HAVE, artifact)
    os.truncate(desk.partial, SIZE)
    desk.fetch(artifact)
    assert desk.asked == [None, REST]


def test_a_journal_without_its_partial_says_nothing(desk: Desk) -> None:
    """Where the bytes are gone, their version is not claimed for the bytes that come next."""
    desk.leave_partial(HAVE, unpinned())
    desk.partial.unlink()
    desk.server.put(PATH, OTHER)
    desk.leave_partial(HAVE, unpinned())
    desk.fetch(unpinned())
    assert desk.asked == [None, None, REST]
    assert desk.seen[-1].headers["If-Match"] == strong_etag(BytesBody(OTHER))
    assert desk.target.read_bytes() == OTHER


@however_known
@pytest.mark.parametrize("eighths", range(9))
def test_a_torn_journal_costs_what_it_named(desk: Desk, artifact: Artifact, eighths: int) -> None:
    """A journal torn at any byte leads to the right file, going on or starting over."""
    desk.leave_partial(HAVE, artifact)
    book = desk.partial.with_suffix(".journal")
    whole = book.read_bytes()
    book.write_bytes(whole[: len(whole) * eighths // 8])
    desk.fetch(artifact)
    assert desk.target.read_bytes() == BODY
    assert desk.asked == [None, REST if eighths == 8 else None]


@pytest.mark.parametrize("change", ["url", "size", "digest", "pin", "path"])
def test_bytes_of_another_file_are_not_taken_over(desk: Desk, change: str) -> None:
    """A partial is bound to its path, place, size and digest."""
    desk.leave_partial(HAVE)
    desk.server.put("/elsewhere.bin", BODY)
    desk.server.put("/other.bin", OTHER)
    places = {
        "url": (pinned(), desk.location("/elsewhere.bin")),
        "size": (pinned(BODY[:-1]), desk.location("/shorter.bin")),
        "digest": (pinned(OTHER), desk.location("/other.bin")),
        "pin": (unpinned(), desk.location()),
        "path": (pinned(path="b/model.bin"), desk.location()),
    }
    desk.server.put("/shorter.bin", BODY[:-1])
    artifact, location = places[change]
    desk.fetch(artifact, location)
    assert desk.asked == [None, None]


def test_wrong_bytes_are_set_aside_and_named(desk: Desk) -> None:
    """The message gives size, both digests and the first bytes; the bytes are kept apart."""
    wrong = b"other weights " * 100
    desk.server.put(PATH, wrong)
    error = desk.refuses(DigestMismatch, pinned(sized=False))
    said = error.report()
    for part in (f"{len(wrong):,} bytes", sha256(wrong), sha256(BODY), "other weights"):
        assert part in said
    (aside,) = desk.quarantined
    assert str(aside) in said
    assert aside.read_bytes() == wrong
    assert (desk.partials, len(desk.seen)) == ([], 1)
