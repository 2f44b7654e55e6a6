"""Which replies are no file, and what is said of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from downloader.errors import AccessDenied, BadResponse, ModelmakeError, NotFound, ServerBusy
from downloader.network._response import check_body_start, excerpt, page_in_place_of, refusal
from tests.network.test_head import head
from tests.servers.faults import pages

S3 = '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{}</Code></Error>'
KINDS: dict[type[ModelmakeError], set[int]] = {
    ServerBusy: {408, 425, 429, 500, 502, 503, 504},
    NotFound: {404, 410},
    AccessDenied: {401, 403, 407, 451},
}


def test_every_status_but_200_and_206_is_refused() -> None:
    """Each status has one kind of error, and only those that mean "later" are retried."""
    for status in sorted({*range(100, 600), 999} - {200, 206}):
        error = refusal(head(status), b"")
        kind = next((kind for kind, statuses in KINDS.items() if status in statuses), BadResponse)
        assert type(error) is kind, status
        assert error.retryable is (kind is ServerBusy), status
        assert str(status) in str(error)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "RequestTimeout", ServerBusy),
        (503, "SlowDown", ServerBusy),
        (400, "InternalError", ServerBusy),
        (403, "AccessDenied", AccessDenied),
        (409, "PublicAccessNotPermitted", AccessDenied),
        (404, "NoSuchKey", NotFound),
        (400, "ExpiredToken", BadResponse),
    ],
)
def test_an_object_stores_code_is_heeded_and_shown(
    status: int, code: str, kind: type[ModelmakeError]
) -> None:
    """The <Code> of S3 or Azure says what the status alone does not."""
    error = refusal(head(status), S3.format(code).encode())
    assert type(error) is kind
    assert code in str(error)


def test_a_busy_server_says_how_long() -> None:
    """The wait that is asked for is kept and shown."""
    error = refusal(head(429, retry_after="7"), b"")
    assert isinstance(error, ServerBusy)
    assert error.wait_seconds == 7
    assert "asks to wait 7 s" in str(error)


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (pages.PORTAL, "an HTML page"),
        (b"\r\n  <HTML lang=en>", "an HTML page"),
        (S3.format("NoSuchKey").encode(), "an XML error message"),
        (b"<Error><Code>x</Code>", "an XML error message"),
        (pages.LFS_POINTER, "a Git LFS pointer"),
        (b'{"error": "no"}', "a JSON error message"),
        (b' { "message": "no"}', "a JSON error message"),
    ],
)
def test_a_page_in_place_of_weights_is_recognised(start: bytes, kind: str) -> None:
    """Each of the usual pages is named for what it is."""
    assert page_in_place_of("model.bin", start) == kind


@pytest.mark.parametrize(
    ("path", "start"),
    [
        ("index.HTML", pages.PORTAL),
        ("README.md", b"<html>"),
        ("errors.json", b'{"error": "no"}'),
        ("model.bin", b"<htmlx"),
        ("model.bin", b"\x89weights"),
        ("model.bin", b""),
        ("config.json", b'{"vocab": {}}'),
        ("model.xml", b"<?xml version='1.0'?>\n<Error>"),
    ],
)
def test_a_page_is_believed_where_the_name_promises_one(path: str, start: bytes) -> None:
    """What may well be the file is not refused."""
    assert page_in_place_of(path, start) is None


@pytest.mark.parametrize(
    "name",
    [
        "train.jsonl",
        "errors.NDJSON",
        "a.jsonlines",
        "map.geojson",
        "run.ipynb",
        "a.csv",
        "a.tsv",
        "notes.txt",
        "a.log",
    ],
)
@pytest.mark.parametrize("start", [b'{"message": "hello", "label": 1}\n', b'{"error": "E1"}\n'])
def test_a_first_key_makes_no_error_of_a_file_of_data(name: str, start: bytes) -> None:
    """Chat data begins with `message`, a log with `error`."""
    assert page_in_place_of(f"data/{name}", start) is None


@pytest.mark.parametrize("name", ["table.csv", "table.tsv", "pages.txt", "run.log"])
def test_text_may_hold_markup(name: str) -> None:
    """A table or a text of web pages may begin with one; a pointer of Git LFS is none of them."""
    assert page_in_place_of(name, pages.PORTAL) is None
    assert page_in_place_of(name, b"<Error>") is None
    assert page_in_place_of("table.csv", pages.LFS_POINTER) == "a Git LFS pointer"


@pytest.mark.parametrize(
    ("start", "kind", "is_data"),
    [
        (b'{"message": 5}', "application/x-ndjson", True),
        (b'{"message": 5}', "application/jsonl; charset=utf-8", True),
        (b'{"message": 5}', "Text/CSV", True),
        (b'{"message": 5}', "application/octet-stream", True),
        (b'{"message": 5}', "application/json", False),
        (b'{"message": 5}', "", False),
        (pages.PORTAL, "text/csv", True),
        (pages.PORTAL, "text/plain", True),
        (pages.PORTAL, "application/octet-stream", False),
        (pages.PORTAL, "text/html", False),
        (pages.LFS_POINTER, "text/plain", False),
    ],
)
def test_a_server_that_says_data_is_believed(start: bytes, kind: str, *, is_data: bool) -> None:
    """Its Content-Type counts as the suffix does, where the two can mean such a beginning."""
    assert (page_in_place_of("tokenizer.model", start, kind) is None) is is_data
    if is_data:
        check_body_start(head(content_type=kind), "tokenizer.model", start)
    else:
        with pytest.raises(BadResponse) as caught:
            check_body_start(head(content_type=kind), "tokenizer.model", start)
        assert "`sniff: false`" in caught.value.hint
        assert "`sha256`" in caught.value.hint


@pytest.mark.parametrize(
    "place",
    [
        "https://hf-mirror.example/BAAI/bge/blob/main/config.json",
        "https://git.example/o/r/blob/main/model.bin",
    ],
)
def test_a_page_about_the_file_names_the_files_own_address(place: str) -> None:
    """Many copy the address from the browser's bar; no proxy is in the way then."""
    with pytest.raises(BadResponse) as caught:
        check_body_start(structs.replace(head(), place=place), "model.bin", pages.PORTAL)
    assert "`/resolve/`" in caught.value.hint
    assert "`/raw/`" in caught.value.hint
    assert "portal" not in caught.value.hint


def test_a_json_file_is_still_no_html_page() -> None:
    """A suffix allows only its own kind of text."""
    assert page_in_place_of("config.json", pages.PORTAL) == "an HTML page"


def test_a_message_that_means_later_is_retried_with_status_200_too() -> None:
    """S3 may send SlowDown in the body of a 200."""
    with pytest.raises(ServerBusy, match="SlowDown"):
        check_body_start(head(), "model.bin", S3.format("SlowDown").encode())


def test_another_page_is_refused_and_quoted() -> None:
    """The start of the page is shown, so that people see what is in the way."""
    with pytest.raises(BadResponse, match=r"an HTML page instead of model\.bin.*Welcome"):
        check_body_start(head(), "model.bin", pages.PORTAL)


@given(st.binary(max_size=400))
def test_an_excerpt_is_short_and_printable(start: bytes) -> None:
    """No byte of a server reaches the terminal that could steer it."""
    shown = excerpt(start)
    assert shown.isprintable()
    assert len(shown) <= 200
