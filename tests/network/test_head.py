"""What the head of a reply says, and which numbers in it are not believed."""

import io
import itertools
from http.client import HTTPMessage, parse_headers

import pytest
from hypothesis import given
from hypothesis import strategies as st

from downloader.errors import BadResponse
from downloader.network._connection import PlainFields, fields_of
from downloader.network._response import Head, is_strong

NOON = "Thu, 18 Feb 2021 12:00:00 GMT"
MD5 = "XUFAKrxLKna5cZ2REBfFkg=="  # of b"hello"
MD5_HEX = "5d41402abc4b2a76b9719d911017c592"


def head(status: int = 200, **headers: str | list[str]) -> Head:
    """Return a head; an underscore in a name stands for a hyphen, a list for repeated lines."""
    fields = {name.replace("_", "-").lower(): value for name, value in headers.items()}

    def values(name: str) -> list[str]:
        found = fields.get(name.lower(), [])
        return [found] if isinstance(found, str) else found

    return Head(status=status, place="http://host/file", values=values)


@pytest.mark.parametrize(
    ("lines", "length"),
    [
        ([], None),
        (["0"], 0),
        ([" 5 "], 5),
        (["5", "5"], 5),
        (["5, 5"], 5),
        (["9" * 18], 10**18 - 1),
    ],
)
def test_a_usable_length_is_read(lines: list[str], length: int | None) -> None:
    """One whole number is a length, said once or several times alike (curl test 770)."""
    assert head(content_length=lines).length == length


@pytest.mark.parametrize(
    "lines",
    [
        ["-1"],
        ["+5"],
        ["5.0"],
        ["0x5"],
        ["five"],
        [""],
        ["5,"],
        ["5", "6"],
        ["5, 6"],
        ["1_000"],
        ["\N{ARABIC-INDIC DIGIT FIVE}"],
        ["9" * 19],
        ["5 5"],
    ],
)
def test_an_unusable_length_is_an_error(lines: list[str]) -> None:
    """Negative, garbled, conflicting and overflowing lengths are refused, never guessed at."""
    with pytest.raises(BadResponse, match="unusable Content-Length"):
        _ = head(content_length=lines).length


@given(st.text(max_size=30))
def test_any_length_text_is_a_number_or_an_error(text: str) -> None:
    """No text in Content-Length gives a negative length or another exception."""
    try:
        length = head(content_length=text).length
    except BadResponse:
        return
    assert length is not None
    assert 0 <= length < 10**18


def test_chunks_overrule_a_length() -> None:
    """With both framings the chunks count (RFC 9112 §6.3)."""
    both = head(content_length="5", transfer_encoding="chunked")
    assert (both.is_chunked, both.length, both.has_known_end) == (True, None, True)


def test_neither_length_nor_chunks_leaves_the_end_unknown() -> None:
    """A body that only the closing of the connection ends has no known end."""
    assert not head().has_known_end


@pytest.mark.parametrize(
    "codings",
    ["gzip, chunked", "chunked, identity", "x-new", "chunked, chunked", "gzip"],
)
def test_another_transfer_coding_is_an_error(codings: str) -> None:
    """No transfer coding but chunked alone is understood (curl tests 1495, 1722)."""
    with pytest.raises(BadResponse, match="transfer coding"):
        _ = head(transfer_encoding=codings).is_chunked


def test_the_identity_coding_ends_with_the_connection() -> None:
    """RFC 2616 had it; a length beside it counts no more than beside chunks."""
    found = head(transfer_encoding="identity", content_length="5")
    assert (found.is_chunked, found.length, found.has_known_end) == (False, None, False)


@pytest.mark.parametrize(
    ("lines", "coding"),
    [([], ""), (["identity"], ""), (["gzip"], "gzip"), (["BR"], "br"), (["gzip", "br"], "gzip,br")],
)
def test_the_content_coding_is_named_but_for_identity(lines: list[str], coding: str) -> None:
    """Whatever is laid over the file's bytes is seen, over several lines too."""
    assert head(content_encoding=lines).coding == coding


def test_an_etag_is_kept_exactly_as_received() -> None:
    """Old Azure leaves out the quotes; what it gave must be given back."""
    assert head(etag="0x8D8D44E").etag == "0x8D8D44E"
    assert head().etag is None


@pytest.mark.parametrize(
    ("etag", "strong"), [('"a"', True), ("0x8D", True), ('W/"a"', False), (None, False)]
)
def test_a_weak_etag_promises_nothing(etag: str | None, strong: bool) -> None:
    """Only a strong validator promises the same bytes (RFC 9110 §8.8.1)."""
    assert is_strong(etag) is strong


@pytest.mark.parametrize(
    "lines", [[], ["bytes 0-1/4", "bytes 2-3/4"], ["bytes */4"], ["junk" * 99]]
)
def test_a_range_without_one_content_range_is_an_error(lines: list[str]) -> None:
    """A 206 must carry exactly one readable Content-Range."""
    with pytest.raises(BadResponse, match="answered a range") as caught:
        _ = head(206, content_range=lines).content_range
    assert len(str(caught.value)) < 200


def test_the_md5_of_a_whole_file_is_read() -> None:
    """Content-MD5 and Azure's own header both give the file's MD5 on a 200."""
    assert head(content_md5=MD5).md5 == MD5_HEX
    assert head(x_ms_blob_content_md5=MD5).md5 == MD5_HEX


def test_the_md5_of_a_range_is_not_taken_for_the_files() -> None:
    """On a 206 Content-MD5 is that of the range; Azure's header still is the file's."""
    assert head(206, content_md5=MD5).md5 is None
    assert head(206, x_ms_blob_content_md5=MD5).md5 == MD5_HEX


@pytest.mark.parametrize("text", ["", "junk", "aGVsbG8=", "é", MD5[:-2]])
def test_a_broken_md5_is_none(text: str) -> None:
    """What does not decode to 16 bytes is no MD5."""
    assert head(content_md5=text).md5 is None


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        ("1000000000", 1e9),
        ("Thu, 18 Feb 2021 12:01:00 GMT", 60.0),
        ("Thu, 18 Feb 2021 11:00:00 GMT", 0.0),
        ("Thu, 18 Feb 2021 12:01:00", 60.0),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
    ],
)
def test_the_wait_is_seconds_or_a_date_by_the_servers_clock(
    asked: str, seconds: float | None
) -> None:
    """A date is counted from the server's own Date; garbage asks for nothing."""
    assert head(503, retry_after=asked, date=NOON).wait_seconds == seconds


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_retry_after_is_a_wait_or_none(asked: str, date: str) -> None:
    """No text in Retry-After or Date raises, and no wait is negative."""
    wait = head(503, retry_after=asked, date=date).wait_seconds
    assert wait is None or wait >= 0


@pytest.mark.parametrize("asked", ["Thu, 18 Feb 2021 12:01:00 +99999999999", "0 Jan 99999999 0:0"])
def test_a_date_that_overflows_asks_for_nothing(asked: str) -> None:
    """A date no clock can hold is garbage, not a crash."""
    assert head(503, retry_after=asked, date=NOON).wait_seconds is None


HEAD_PARTS = (
    b"A: b",
    b"A:b",
    b"a :c",
    b": d",
    b"A:\t\xe9 ",
    b"no field",
    b" folded",
    b"X-Y: z:z",
    b"",
)
HEAD_ENDS = (b"\r\n", b"\n", b"\r", b"\0\r\n", b"\x0b\r\n", b"\x85\r\n")


def test_a_head_is_read_as_http_client_reads_it() -> None:
    """Whatever the lines are, the quick way finds the same fields, and leaves no others out."""
    lines = [part + end for part in HEAD_PARTS for end in HEAD_ENDS]
    for first, second in itertools.product(lines, repeat=2):
        text = first + second + b"\r\n"
        wanted, found = parse_headers(io.BytesIO(text)), fields_of(text_lines(text))
        assert found.items() == wanted.items(), text
        assert found.get("a") == wanted.get("a"), text
        assert bool(found.defects) == bool(wanted.defects), text
        assert (found.get_payload() or "") == (wanted.get_payload() or ""), text


def text_lines(text: bytes) -> list[bytes]:
    """Return the lines of a head as http.client reads them off a socket: to the first empty one."""
    lines = []
    for line in io.BytesIO(text):
        lines.append(line)
        if line in (b"\r\n", b"\n"):
            break
    return lines


def test_plain_heads_are_read_in_the_quick_way() -> None:
    """The heads of ordinary servers need no parser of e-mails."""
    lines = [b"Content-Length: 5\r\n", b'ETag: "a"\r\n', b"X-Amz-Meta: \xc3\xa9\r\n", b"\r\n"]
    assert type(fields_of(lines)) is PlainFields
    assert type(fields_of([b"A: b\r\n", b" c\r\n", b"\r\n"])) is HTTPMessage
