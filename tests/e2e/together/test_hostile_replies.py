"""What the API may answer and must not: sizes, shapes and places that no honest one has (E9)."""

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest

from downloader.errors import LockError
from downloader.network import api
from tests.e2e.together.projects import CHECKPOINTS, DOWNLOAD, JOB, LOOK, bot, locked_archives
from tests.projects import lock, project
from tests.servers.faults import framing, pages, ranges, statuses
from tests.servers.faulty import FaultyServer
from tests.servers.together.server import TogetherServer


def refused(folder: Path, **keys: Any) -> LockError:
    """Lock, and return why that was refused; nothing may be locked, nothing odd shown."""
    with pytest.raises(LockError) as caught:
        lock(folder, {"m": bot(**keys)})
    assert not project(folder).lockfile.models
    assert all(line.isprintable() for line in caught.value.report().splitlines())
    assert len(caught.value.report()) < 1000
    return caught.value


JOBS: list[bytes] = [
    b"",
    b"null",
    b"[]",
    b"[" * 1_000_000,
    b'{"a":' * 1_000_000,
    b'{"status": NaN}',
    b'{"status": 7}',
    b'{"status": "completed", "model_output_name": ["x"]}',
    b'{"status": "completed", "training_type": 7}',
    b'{"status": "completed", "training_type": {"type": {}}}',
    b'{"status": "\xff\xfe"}',
    b"<!doctype html><title>log in</title>",
]


@pytest.mark.parametrize("text", JOBS, ids=lambda text: repr(text[:40]))
def test_a_job_that_is_none_is_refused(
    tmp_path: Path, together: TogetherServer, text: bytes
) -> None:
    """Other types, endless nesting, NaN, a log-in page: one sentence, and a hint where to look."""
    together.api.always(LOOK, statuses.status(200, text))
    error = refused(tmp_path)

    assert "is not a job" in str(error)
    assert "TOGETHER_BASE_URL" in error.hint


LISTS: list[Any] = [
    {"data": [{"step": -1}]},
    {"data": [{"step": 2**63}]},
    {"data": [{"step": 1.5}]},
    {"data": [{"step": "10"}]},
    {"data": [{"step": None}]},
    {"data": [{}]},
    {"data": [7]},
    {"data": {"10": {}}},
    {"data": [{"step": 1, "created_at": 7}]},
    [{"step": 10}],
]


@pytest.mark.parametrize("content", LISTS, ids=str)
def test_a_list_of_checkpoints_that_is_none_is_refused(
    tmp_path: Path, together: TogetherServer, content: Any
) -> None:
    """Steps are whole numbers that a lock can hold."""
    together.api.always(CHECKPOINTS, statuses.status(200, json.dumps(content).encode()))

    assert "is not a list of checkpoints" in str(refused(tmp_path, checkpoint="all"))


def test_a_million_checkpoints_are_refused(tmp_path: Path, together: TogetherServer) -> None:
    """A hundred thousand are more than any job has; no request is made for one of them."""
    text = b'{"data":[' + b",".join(b'{"step":%d}' % step for step in range(1_000_000)) + b"]}"
    together.api.always(CHECKPOINTS, statuses.status(200, text))

    assert "is not a list of checkpoints" in str(refused(tmp_path, checkpoint="all"))
    assert DOWNLOAD not in [seen.path for seen in together.requests]


@pytest.mark.parametrize("sized", [False, True])
def test_an_endless_document_is_left_early(
    tmp_path: Path, together: TogetherServer, sized: bool
) -> None:
    """Of a document without end no more is read than a document may have."""
    if sized:
        together.api.always(LOOK, _both(framing.content_length(str(1 << 30)), framing.endless()))
    else:
        together.api.always(LOOK, _both(framing.unsized, framing.endless()))

    assert f"more than {api.MOST_DOCUMENT_BYTES:,} bytes" in str(refused(tmp_path))
    assert max(seen.body_bytes_sent for seen in together.requests) < 64 << 20


def _both(one: Any, other: Any) -> Any:
    return lambda exchange, reply: other(exchange, one(exchange, reply))


def test_a_job_of_another_name_is_not_believed(tmp_path: Path, together: TogetherServer) -> None:
    """The id in the document leads nowhere: not into requests, not into names."""
    text = json.dumps({"id": "ft-ff/../../x", "status": "completed"}).encode()
    together.api.always(LOOK, statuses.status(200, text))
    lock(tmp_path, {"m": bot()})

    (archive,) = locked_archives(tmp_path)
    assert archive.path == f"{JOB}.tar.zst"
    assert dict(together.requests[-1].query)["ft_id"] == JOB


@pytest.mark.parametrize("path", [LOOK, CHECKPOINTS, DOWNLOAD])
@pytest.mark.parametrize("code", [301, 302, 307])
def test_the_key_stays_where_it_belongs(
    tmp_path: Path, together: TogetherServer, server: FaultyServer, path: str, code: int
) -> None:
    """An API that leads elsewhere, by whichever redirect, does not lead the key there."""
    server.put("/else", b"{}")
    together.api.always(path, statuses.redirect(server.url("/else"), code))
    with contextlib.suppress(LockError):
        lock(tmp_path, {"m": bot(checkpoint=10)})

    assert [seen.path for seen in server.requests] == ["/else"]
    assert "Authorization" not in server.requests[0].headers
    assert "fake-key" not in str(server.requests[0])


@pytest.mark.parametrize("path", [LOOK, CHECKPOINTS, DOWNLOAD])
def test_an_api_that_is_busy_is_asked_again(
    tmp_path: Path, together: TogetherServer, path: str
) -> None:
    """429 with Retry-After, a 5xx, an S3 that wants it slower: then it goes well."""
    together.api.script(path, statuses.busy("0", 429), statuses.status(502), pages.s3_error())
    lock(tmp_path, {"m": bot(checkpoint=10)}, retries=5)

    assert [seen.path for seen in together.requests].count(path) == 4


def test_an_api_that_asks_for_too_much_patience_is_told(
    tmp_path: Path, together: TogetherServer
) -> None:
    """A Retry-After of an hour is an error at once, which says so."""
    together.api.always(LOOK, statuses.busy("3600", 429))

    assert "asks to wait 3600 s" in str(refused(tmp_path))
    assert len(together.requests) == 1


def test_an_api_that_is_always_busy_is_given_up(tmp_path: Path, together: TogetherServer) -> None:
    """After as many attempts as MODELMAKE_RETRIES says."""
    together.api.always(LOOK, statuses.status(500))
    with pytest.raises(LockError, match="server busy"):
        lock(tmp_path, {"m": bot()}, retries=3)

    assert len(together.requests) == 3


@pytest.mark.parametrize("code", [400, 402, 403, 404, 410, 422, 418, 204, 206, 304, 999])
def test_any_other_status_is_an_error_at_once(
    tmp_path: Path, together: TogetherServer, code: int
) -> None:
    """Only 200 is a document: nothing else is believed or asked for again."""
    together.api.always(LOOK, statuses.status(code))
    refused(tmp_path)

    assert len(together.requests) == 1


@pytest.mark.parametrize("size", ["0", "99999999999999999999", "-1"])
def test_a_size_that_cannot_be_is_not_locked(
    tmp_path: Path, together: TogetherServer, size: str
) -> None:
    """A Content-Range that makes no sense is refused, or says nothing."""
    fault = lambda _, reply: reply.with_header("Content-Range", f"bytes 0-1/{size}")  # noqa: E731
    together.api.always(DOWNLOAD, fault)
    refused(tmp_path)


def test_the_length_of_a_coded_reply_is_no_size(tmp_path: Path, together: TogetherServer) -> None:
    """An archive that comes coded, and whole, is locked without a size: nobody told it."""
    coded = _both(ranges.ignored, framing.content_encoding("br"))
    together.api.always(DOWNLOAD, coded)
    lock(tmp_path, {"m": bot()})
    assert locked_archives(tmp_path)[0].size is None
