"""The act of locking: who is asked what, and what is made of no answer."""

import hashlib
from pathlib import Path

import pytest

from downloader.errors import LockError, SettingError
from downloader.operations import lock as locking
from downloader.project.project import check_current
from downloader.sources.openai_gpt2 import FILES, PUBLISHED
from tests.projects import (
    gpt2,
    http,
    lock,
    lock_saying,
    locked,
    project,
    serve_gpt2,
    sync,
)
from tests.servers.azure_2009 import azure_2009
from tests.servers.body import BytesBody
from tests.servers.exchange import SeenRequest
from tests.servers.faults import statuses, timing
from tests.servers.faulty import FaultyServer, strong_etag

SHA = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"


def body(name: str, size: str = "355M") -> bytes:
    return f"{size} {name}\n".encode()


def put(server: FaultyServer, path: str, content: bytes, **headers: str) -> str:
    server.put(path, content, headers=headers)
    return server.url(path)


def closed_base() -> str:
    """Return a URL where nobody listens."""
    with FaultyServer() as closed:
        return closed.url("/gpt-2")


def asked_paths(server: FaultyServer) -> list[str]:
    return sorted(request.path for request in server.requests)


def is_one_byte_get(request: SeenRequest) -> bool:
    return (request.method, request.headers.get("Range")) == ("GET", "bytes=0-0")


def test_the_published_model_is_locked_without_a_question(tmp_path: Path, no_sockets: None) -> None:
    """All digests of 124M are known in advance, so no socket is opened to lock it."""
    assert lock(tmp_path, {"gpt2": gpt2("124M")}) == ["locked gpt2: 7 files, 499.7 MB"]
    assert {each.path: (each.size, each.sha256) for each in locked(tmp_path, "gpt2").files} == (
        PUBLISHED["124M"]
    )


def test_a_larger_model_gets_what_the_server_says_of_it(
    tmp_path: Path, server: FaultyServer
) -> None:
    """One GET of one byte a file brings size and ETag; nothing is pinned by it."""
    base = serve_gpt2(server, "355M")
    total = sum(len(body(name)) for name in FILES)
    (said,) = lock(tmp_path, {"m": gpt2("355M", base)})
    assert (
        said == f"locked m: 7 files, {total} bytes, 7 without a digest (pinned on first download)"
    )
    assert all(map(is_one_byte_get, server.requests))
    assert asked_paths(server) == [f"/gpt-2/355M/{name}" for name in FILES]
    assert sum(request.body_bytes_sent for request in server.requests) == len(FILES)
    assert [(each.path, each.size, each.etag, each.sha256) for each in locked(tmp_path).files] == [
        (name, len(body(name)), strong_etag(BytesBody(body(name))), None) for name in FILES
    ]


def test_azure_gives_the_md5_of_the_whole_file_too(tmp_path: Path) -> None:
    """Azure's anonymous dialect is understood: its MD5 header on a range, and a bare ETag."""
    with azure_2009() as azure:
        lock(tmp_path, {"m": gpt2("355M", serve_gpt2(azure, "355M"))})
        assert all(map(is_one_byte_get, azure.requests))
    assert [(each.size, each.md5, each.etag) for each in locked(tmp_path).files] == [
        (
            len(body(name)),
            hashlib.md5(body(name)).hexdigest(),
            strong_etag(BytesBody(body(name))).strip('"'),
        )
        for name in FILES
    ]


def test_an_empty_file_has_its_size_though_it_has_no_first_byte(
    tmp_path: Path, server: FaultyServer
) -> None:
    """The 416 for an empty file tells its size."""
    lock(tmp_path, {"m": http(put(server, "/empty", b""))})
    assert locked(tmp_path).files[0].size == 0


def test_a_declared_digest_is_kept_and_its_size_asked(tmp_path: Path, server: FaultyServer) -> None:
    """A pinned URL is asked for its size, and its SHA-256 is not marked as first use."""
    url = put(server, "/a.bin", b"test")
    assert lock(tmp_path, {"m": http({"url": url, "sha256": SHA})}) == ["locked m: 1 file, 4 bytes"]
    (artifact,) = locked(tmp_path).files
    assert (artifact.size, artifact.sha256, artifact.first_use) == (4, SHA, False)


def test_servers_that_cannot_be_reached_stop_nothing(tmp_path: Path) -> None:
    """The model is locked without what they would have said, with one notice for all files."""
    said = lock(tmp_path, {"m": gpt2("355M", closed_base())})
    assert (
        said[0] == "locked m: 7 files, size unknown, 7 without a digest (pinned on first download)"
    )
    assert len(said) == 2
    assert said[1].startswith("  m/checkpoint and 6 more: size unknown: The connection to ")
    assert [(each.path, each.size) for each in locked(tmp_path).files] == [(n, None) for n in FILES]


@pytest.mark.parametrize("answer", [401, 403, 404, 410, 451])
def test_a_file_that_nobody_has_for_us_is_an_error(
    tmp_path: Path, server: FaultyServer, answer: int
) -> None:
    """A refusal is an answer: the model is not told as locked; its other files are, and another."""
    base = serve_gpt2(server, "355M", names=FILES[1:])
    server.always("/gpt-2/355M/checkpoint", statuses.status(answer))
    said: list[str] = []
    models = {"m": gpt2("355M", base), "other": http(put(server, "/o.bin", b"test"))}
    with pytest.raises(LockError) as caught:
        lock_saying(project(tmp_path, models), said.append)
    assert str(caught.value) == "m/checkpoint cannot be downloaded; everything else is locked."
    incomplete, other, notice = said
    assert incomplete.startswith("incomplete m: 7 files, at least ")
    assert other.startswith("locked other: ")
    assert notice.startswith("  m/checkpoint: cannot be downloaded: ")
    assert f"({answer})" in notice
    assert [each.size is None for each in locked(tmp_path).files] == [True, *[False] * 6]


@pytest.mark.parametrize("is_declared", [False, True])
def test_the_error_comes_again_until_it_is_put_right(
    tmp_path: Path, server: FaultyServer, is_declared: bool
) -> None:
    """The next `doit lock` asks again, whether models.yaml has the digest or not."""
    server.script("/a.bin", statuses.status(404), statuses.status(404))
    file = {"url": server.url("/a.bin")} | ({"sha256": SHA} if is_declared else {})
    for _ in range(2):
        with pytest.raises(LockError, match=r"m/a\.bin cannot be downloaded"):
            lock(tmp_path, {"m": http(file)})
    put(server, "/a.bin", b"test")
    assert lock(tmp_path)[0].startswith("changed m: ")
    assert lock(tmp_path) == []


def test_a_refusal_and_a_mirror_that_has_the_file(tmp_path: Path, server: FaultyServer) -> None:
    """One place that has it is enough; one that does not answer may have it next time."""
    server.always("/a.bin", statuses.status(404))
    url, mirror = server.url("/a.bin"), put(server, "/mirror/a.bin", b"test")
    (said,) = lock(tmp_path, {"m": http({"url": url, "mirrors": [mirror]})})
    assert said.startswith("locked m: 1 file, 4 bytes")
    dead = {"url": url, "mirrors": [f"{closed_base()}/a.bin"]}
    said, *_, notice = lock(tmp_path, {"n": http(dead)})
    assert said.startswith("locked n: ")
    assert notice.startswith("  n/a.bin: size unknown: ")


def test_offline_nothing_is_dialled_and_all_is_locked(tmp_path: Path, no_sockets: None) -> None:
    """MODELMAKE_OFFLINE locks unasked, and the notice says so."""
    said = lock(tmp_path, {"m": gpt2("355M")}, is_offline=True)
    assert "MODELMAKE_OFFLINE is set" in said[1]


def test_a_dead_host_is_asked_once(
    tmp_path: Path, server: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the first lost connection all other files are locked unasked, with one notice."""
    monkeypatch.setattr(locking, "PROBES_AT_ONCE", 1)
    for number in range(20):
        server.always(f"/{number}", timing.drop_before_status())
    urls = [server.url(f"/{number}") for number in range(20)]
    said = lock(tmp_path, {"a": http(*urls[:10]), "b": http(*urls[10:])})
    assert asked_paths(server) == ["/0"]
    (notice,) = [line for line in said if "size unknown: " in line]
    assert notice.startswith("  a/0 and 19 more of 2 models: size unknown: The connection to ")


def test_a_dead_host_is_asked_at_most_once_a_thread(tmp_path: Path, server: FaultyServer) -> None:
    """Also when several ask at once, no thread asks a dead host twice."""
    for number in range(60):
        server.always(f"/{number}", timing.drop_before_status())
    lock(tmp_path, {"m": http(*(server.url(f"/{number}") for number in range(60)))})
    assert 1 <= len(server.requests) <= locking.PROBES_AT_ONCE


def test_a_dead_mirror_does_not_make_the_provider_dead(
    tmp_path: Path, server: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is missing here and on a dead mirror leaves the next file's answer alone."""
    monkeypatch.setattr(locking, "PROBES_AT_ONCE", 1)
    base = serve_gpt2(server, "355M", names=FILES[1:])
    _, notice = lock(tmp_path, {"m": gpt2("355M", base, mirrors=[closed_base()])})
    assert "m/checkpoint: size unknown" in notice
    assert ": not found (404)" in notice
    assert [each.size is None for each in locked(tmp_path).files] == [True, *[False] * 6]


def test_a_mirror_answers_for_a_dead_provider(tmp_path: Path, server: FaultyServer) -> None:
    """Where the provider is gone, the mirror says what it has, and no notice is needed."""
    base = serve_gpt2(server, "355M")
    said = lock(tmp_path, {"m": gpt2("355M", closed_base(), mirrors=[base])})
    assert len(said) == 1
    assert [each.size for each in locked(tmp_path).files] == [len(body(name)) for name in FILES]
    assert {each.etag for each in locked(tmp_path).files} == {None}, "another host has another"


def test_an_unusable_variable_is_an_error_not_a_silent_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong OPENAI_GPT2_BASE_URL is told; no weaker lock is written for it."""
    monkeypatch.setenv("OPENAI_GPT2_BASE_URL", "ftp://example.org")
    with pytest.raises(SettingError, match="OPENAI_GPT2_BASE_URL"):
        lock(tmp_path, {"m": gpt2("355M")})
    assert not (tmp_path / "models.lock").exists()


def test_a_size_that_was_not_known_is_filled_in(tmp_path: Path, server: FaultyServer) -> None:
    """Once its server answers, a plain lock takes it; pins stay, and a check was right before."""
    server.script("/a.bin", statuses.status(503))
    server.script("/b.bin", statuses.status(503))
    pinned, plain = server.url("/a.bin"), server.url("/b.bin")
    lock(tmp_path, {"m": http({"url": pinned, "sha256": SHA}, plain)})
    assert [each.size for each in locked(tmp_path).files] == [None, None]
    check_current(project(tmp_path))
    put(server, "/a.bin", b"test")
    put(server, "/b.bin", b"other bytes")

    assert lock(tmp_path) == [
        (
            "changed m: 2 files, size unknown -> 2 files, 15 bytes, "
            "1 without a digest (pinned on first download)"
        ),
        "  changed a.bin: size unknown -> 4 bytes",
        "  changed b.bin: size unknown -> 11 bytes",
    ]
    first, second = locked(tmp_path).files
    assert (first.size, first.sha256, first.first_use) == (4, SHA, False)
    assert (second.size, second.sha256) == (11, None)
    asked = len(server.requests)
    assert lock(tmp_path) == []
    assert len(server.requests) == asked


def test_a_size_that_is_known_is_not_asked_again(tmp_path: Path, server: FaultyServer) -> None:
    """Only what is open is asked for: what changed upstream meanwhile is not looked at."""
    url = put(server, "/a.bin", b"test")
    server.always("/b.bin", timing.drop_before_status())
    lock(tmp_path, {"m": http(url, server.url("/b.bin"))})
    put(server, "/a.bin", b"another one")
    asked = len(server.requests)
    lock(tmp_path)
    assert {seen.path for seen in server.requests[asked:]} == {"/b.bin"}
    assert locked(tmp_path).files[0].size == 4


def test_an_upgrade_of_a_pinned_file_that_is_gone(tmp_path: Path, server: FaultyServer) -> None:
    """It is not unknown: it is gone there, and its pinned bytes stay what is wanted."""
    lock(tmp_path, {"m": http(put(server, "/a.bin", b"test"))})
    sync(tmp_path)
    before = (tmp_path / "models.lock").read_bytes()
    server.always("/a.bin", statuses.status(404))
    same, notice = lock(tmp_path, upgrade=True)
    assert same == "same m: 1 file, 4 bytes"
    assert notice.startswith("  m/a.bin: no longer there, and stays pinned: ")
    assert (tmp_path / "models.lock").read_bytes() == before
