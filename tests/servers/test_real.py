"""nginx, Azurite and the old Azure dialect, and our honest server beside the real one."""

import base64
import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from tests.servers.azure_2009 import azure_2009, refusal
from tests.servers.azurite import Azurite
from tests.servers.faulty import FaultyServer
from tests.servers.nginx import Nginx, load_echo_module
from tests.servers.process import NotInstalled

BODY = bytes(range(256)) * 1000
PATH = "/gpt-2/models/124M/model.ckpt.index"
StartNginx = Callable[..., Nginx]


def md5_of(content: bytes) -> str:
    """Return the MD5 as Content-MD5 has it."""
    return base64.b64encode(hashlib.md5(content).digest()).decode()


def get(url: str, **headers: str) -> requests.Response:
    """Ask with these headers (`_` for `-`) and no coding."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    named["Accept-Encoding"] = "identity"
    return requests.get(url, headers=named, timeout=10)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Range": "bytes=0-0"},
        {"Range": "bytes=10-19"},
        {"Range": "bytes=255990-"},
        {"Range": "bytes=255990-999999"},
        {"Range": "bytes=-3"},
        {"Range": "bytes=-999999"},
        {"Range": "bytes=256000-"},
        {"Range": "bytes=256010-256020"},
        {"Range": "bytes=1-2", "If-Range": '"old"'},
        {"Range": "bytes=1-2", "If-Range": "ETAG"},
        {"Range": "bytes=1-2", "If-Range": "Thu, 18 Feb 2021 20:31:14 GMT"},
        {"Range": "bytes=1-2", "If-Match": '"old"'},
        {"Range": "bytes=1-2", "If-Match": '"old", ETAG'},
        {"Range": "bytes=1-2", "If-Match": "*"},
        {"If-None-Match": "ETAG"},
        {"If-None-Match": "W/ETAG"},
        {"If-None-Match": '"old"'},
        {"If-Modified-Since": "MODIFIED"},
        {"If-Unmodified-Since": "MODIFIED"},
        {"If-Unmodified-Since": "Thu, 18 Feb 1999 20:31:12 GMT"},
    ],
    ids=str,
)
def test_honest_server_answers_as_nginx(
    server: FaultyServer, nginx: StartNginx, tmp_path: Path, headers: dict[str, str]
) -> None:
    """Status, Content-Range and body of the same request are nginx's."""
    (tmp_path / "file").write_bytes(BODY)
    server.put("/file", BODY)
    answers = []
    for url in (server.url("/file"), nginx(tmp_path).url("/file")):
        known = get(url).headers
        sent = {
            name: value.replace("ETAG", known["ETag"]).replace("MODIFIED", known["Last-Modified"])
            for name, value in headers.items()
        }
        reply = get(url, **sent)
        body = reply.content if reply.status_code in (200, 206, 304) else None
        answers.append((reply.status_code, reply.headers.get("Content-Range"), body))
    assert answers[0] == answers[1]


def test_nginx_logs_what_it_served(nginx: StartNginx, tmp_path: Path) -> None:
    """The access log has a line a request: method, target, status, bytes, Range."""
    (tmp_path / "file").write_bytes(BODY)
    running = nginx(tmp_path)
    get(running.url("/file"), Range="bytes=10-19")
    get(running.url("/none"))
    first, second = running.log_of(2)
    assert first == 'GET /file 206 10 "bytes=10-19"'
    assert second.startswith("GET /none 404 ")


def test_nginx_takes_further_directives(nginx: StartNginx, tmp_path: Path) -> None:
    """`extra` goes into the server block, `main` loads a module."""
    try:
        main = load_echo_module()
    except NotInstalled as reason:
        pytest.skip(str(reason))
    running = nginx(tmp_path, "location /hello { echo hi; }", main=main)
    assert get(running.url("/hello")).text == "hi\n"


def test_nginx_that_cannot_start_says_why(nginx: StartNginx, tmp_path: Path) -> None:
    """A wrong directive is an error that quotes nginx, not a wait."""
    with pytest.raises(RuntimeError, match='unknown directive "nonsense"'):
        nginx(tmp_path, "nonsense on;")


def test_nginx_is_gone_after_the_block(nginx: StartNginx, tmp_path: Path) -> None:
    """Its port refuses once the block has ended."""
    url = nginx(tmp_path).url("/")
    with Nginx(tmp_path) as other:
        gone = other.url("/")
    assert get(url).status_code == 403
    with pytest.raises(requests.ConnectionError):
        get(gone)


class TestAzurite:
    """What Azurite 3.37 does, which the fetcher must cope with."""

    @pytest.mark.parametrize("blocks", [False, True])
    def test_stores_an_md5_of_single_uploads_only(self, azurite: Azurite, blocks: bool) -> None:
        """Put Blob gives Content-MD5 (another name on a 206), Put Block List gives none."""
        path = f"/gpt-2/md5-{blocks}"
        content = BODY * 20
        azurite.upload(path, content, blocks=blocks)
        whole, part = get(azurite.url(path)), get(azurite.url(path), Range="bytes=10-19")
        assert whole.content == content
        assert (part.content, part.status_code) == (BODY[10:20], 206)
        expected = None if blocks else md5_of(content)
        assert whole.headers.get("Content-MD5") == expected
        assert part.headers.get("x-ms-blob-content-md5") == expected

    @pytest.mark.parametrize(
        ("headers", "status", "content_range"),
        [
            ({"Range": "bytes=1-2", "If-Range": '"old"'}, 206, "bytes 1-2/256000"),
            ({"Range": "bytes=1-2", "If-Match": '"old"'}, 412, None),
            ({"Range": "bytes=256000-"}, 206, "bytes 256000-255999/256000"),
            ({"Range": "bytes=256010-"}, 416, "bytes */256000"),
        ],
        ids=str,
    )
    def test_conditional_ranges(
        self, azurite: Azurite, headers: dict[str, str], status: int, content_range: str | None
    ) -> None:
        """If-Range is ignored, If-Match obeyed, and a range from the end is an empty 206."""
        azurite.upload("/gpt-2/ranges", BODY)
        reply = get(azurite.url("/gpt-2/ranges"), **headers)
        assert (reply.status_code, reply.headers.get("Content-Range")) == (status, content_range)

    def test_missing_blob_is_an_xml_error(self, azurite: Azurite) -> None:
        """404 names BlobNotFound in a header and in XML."""
        reply = get(azurite.url("/gpt-2/none"))
        assert (reply.status_code, reply.headers["x-ms-error-code"]) == (404, "BlobNotFound")
        assert "<Code>BlobNotFound</Code>" in reply.text


class TestAzure2009:
    """The dialect of 2009-09-19, told from the newer one."""

    def test_whole_blob_has_an_unquoted_etag_and_no_accept_ranges(self) -> None:
        """The headers are those of the old version, with the MD5 of the blob."""
        with azure_2009() as server:
            server.put(PATH, BODY, etag='"0x8D8D3F0E0B0B0B0"')
            headers = get(server.url(PATH)).headers
        assert headers["ETag"] == "0x8D8D3F0E0B0B0B0"
        assert "Accept-Ranges" not in headers
        assert headers["x-ms-version"] == "2009-09-19"
        assert headers["Content-MD5"] == md5_of(BODY)

    def test_closed_range_with_the_etag_echoed(self) -> None:
        """If-Match with the tag as received gives a 206 and the blob's MD5 under its other name."""
        with azure_2009() as server:
            server.put(PATH, BODY)
            etag = get(server.url(PATH)).headers["ETag"]
            reply = get(server.url(PATH), Range="bytes=40-89", If_Match=etag)
        assert (reply.status_code, reply.content) == (206, BODY[40:90])
        assert reply.headers["Content-Range"] == "bytes 40-89/256000"
        assert reply.headers["x-ms-blob-content-md5"] == md5_of(BODY)
        assert ("Content-MD5" in reply.headers, reply.headers["ETag"]) == (False, etag)

    def test_blob_without_stored_md5(self) -> None:
        """Large uploads carry no MD5 at all."""
        with azure_2009(stored_md5=False) as server:
            server.put(PATH, BODY)
            assert "Content-MD5" not in get(server.url(PATH)).headers

    @pytest.mark.parametrize("status", [400, 416])
    def test_open_range_is_refused_by_the_old_version_only(self, status: int) -> None:
        """`bytes=N-` needs x-ms-version 2011-08-18, which brings quotes and Accept-Ranges too."""
        with azure_2009(open_range_status=status) as server:
            server.put(PATH, BODY)
            old = get(server.url(PATH), Range="bytes=40-")
            new = get(server.url(PATH), Range="bytes=40-", x_ms_version="2021-12-02")
        assert (old.status_code, new.status_code, new.content) == (status, 206, BODY[40:])
        assert "x-ms-error-code" in old.headers
        assert (new.headers["ETag"][0], new.headers["Accept-Ranges"]) == ('"', "bytes")

    @pytest.mark.parametrize(
        ("path", "headers", "status", "code"),
        [
            ("/gpt-2/none", {}, 404, "BlobNotFound"),
            (PATH, {"If-Match": "0x0LD"}, 412, "ConditionNotMet"),
            (PATH, {"Range": "bytes=256000-256001"}, 416, "InvalidRange"),
        ],
    )
    def test_error_is_xml_with_its_code_in_a_header(
        self, path: str, headers: dict[str, str], status: int, code: str
    ) -> None:
        """Each refusal names Azure's code twice."""
        with azure_2009() as server:
            server.put(PATH, BODY)
            reply = get(server.url(path), **headers)
        assert (reply.status_code, reply.headers["x-ms-error-code"]) == (status, code)
        assert f"<Code>{code}</Code>" in reply.content.decode("utf-8-sig")

    def test_if_range_is_not_looked_at_and_its_own_range_header_goes_first(self) -> None:
        """The old tag in If-Range does not matter; x-ms-range wins over Range."""
        with azure_2009() as server:
            server.put(PATH, BODY)
            sent = {"Range": "bytes=0-1", "x-ms-range": "bytes=5-6", "If-Range": '"old"'}
            assert get(server.url(PATH), **sent).content == BODY[5:7]

    def test_refusal_is_a_fault_like_any_other(self) -> None:
        """A closed account answers 409 once, and the next request is served."""
        with azure_2009() as server:
            server.put(PATH, BODY)
            server.script(PATH, refusal(409, "PublicAccessNotPermitted"))
            assert [get(server.url(PATH)).status_code for _ in range(2)] == [409, 200]
