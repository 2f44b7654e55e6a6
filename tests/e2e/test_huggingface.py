"""`source: huggingface` from models.yaml to the files, and what is asked of the Hub on the way."""

import hashlib
import json
import re
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.content import bytes_of
from tests.e2e.project import Project, Run, finish
from tests.e2e.watching import wait_until, without_sockets
from tests.servers.exchange import Exchange, SeenRequest
from tests.servers.faults import damage, timing
from tests.servers.hub.server import HubServer, git_sha1
from tests.servers.reply import Reply

MIB = 1 << 20
REPO = "owner/name"
SMALL = {"config.json": b'{"a": 1}', "vocab.txt": b"a\nb\n", "1_Pooling/config.json": b"{}"}
LARGE = {"model.safetensors": bytes_of("weights", 3 * MIB), "onnx/model.onnx": b"other weights"}
FILES = {**SMALL, **LARGE, "empty.txt": b""}
WEIGHTS = bytes_of("big", MIB) * 24 + b"the end"
"""Enough for several connections."""
API = f"/api/models/{REPO}"


@pytest.fixture
def hub() -> Iterator[HubServer]:
    """Give a Hub with a model whose list of files has four pages."""
    with HubServer(page_size=3) as running:
        running.add(REPO, FILES)
        yield running


@pytest.fixture
def project(tmp_path: Path, hub: HubServer) -> Project:
    """Give a project that declares the model; no store has its files."""
    made = Project(tmp_path / "project", HF_ENDPOINT=hub.url, MODELMAKE_STORE="off")
    made.declare({"bge": entry()})
    return made


def entry(**keys: Any) -> dict[str, Any]:
    """Return the model's entry."""
    return {"source": "huggingface", "repo": REPO, **keys}


def commit_of(hub: HubServer) -> str:
    return hub.repositories[f"models/{REPO}"].refs["main"]


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def on_cdn(content: bytes) -> str:
    """Return the path of a file on the CDN."""
    return f"/xet-bridge-us/{sha256(content)}"


class Since:
    """The requests that come from now on, of the site by their kind, and of the CDN."""

    def __init__(self, hub: HubServer) -> None:
        self._hub, self._start = hub, (len(hub.requests), len(hub.cdn.requests))

    @property
    def site(self) -> list[SeenRequest]:
        """Requests to the site."""
        return self._hub.requests[self._start[0] :]

    @property
    def cdn(self) -> list[SeenRequest]:
        """Requests to the CDN."""
        return self._hub.cdn.requests[self._start[1] :]

    @property
    def kinds(self) -> dict[str, int]:
        """How many requests of each kind there were; kinds without any are left out."""
        return dict(Counter([*map(kind_of, self.site), *["cdn"] * len(self.cdn)]))


def kind_of(seen: SeenRequest) -> str:
    """Return what a request to the site asks for."""
    for kind in ("revision", "tree", "resolve-cache", "resolve"):
        if f"/{kind}/" in seen.path:
            return kind
    return seen.path


def placed(project: Project) -> dict[str, bytes]:
    """Return the files of the model, without ours."""
    folder = project.target("bge", "")
    found = (
        path for path in folder.rglob("*") if path.is_file() and ".modelmake" not in path.parts
    )
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def succeeded(run: Run) -> Run:
    """Return the run, which has to be one that went well."""
    assert run.status == 0, run.text
    return run


# Requests


def test_locking_asks_for_the_commit_and_the_pages_and_moves_no_file(
    project: Project, hub: HubServer
) -> None:
    """1 + pages; every file has its size and a digest in models.lock."""
    seen = Since(hub)
    run = succeeded(project.doit("lock"))
    assert seen.kinds == {"revision": 1, "tree": 3}
    assert run.stdout == f"locked bge: 6 files, {sizes(FILES)}\n"
    assert json.loads(project.lock.read_text())["models"]["bge"]["revision"] == commit_of(hub)
    locked = project.locked("bge")
    for path, content in FILES.items():
        kind = {"sha256": sha256(content)} if path in LARGE else {"git_sha1": git_sha1(content)}
        assert locked[path] == {"path": path, "size": len(content), **kind}


def sizes(files: dict[str, bytes]) -> str:
    return f"{sum(map(len, files.values())) / 1e6:.1f} MB"


def test_a_download_resolves_each_file_once(project: Project, hub: HubServer) -> None:
    """Then come the CDN or the Hub's cache; nothing is asked twice, and all by GET."""
    succeeded(project.doit("lock"))
    seen = Since(hub)
    succeeded(project.doit())
    assert placed(project) == FILES
    assert seen.kinds == {"resolve": len(FILES), "resolve-cache": len(SMALL), "cdn": len(LARGE)}
    assert max(Counter(each.target for each in (*seen.site, *seen.cdn)).values()) == 1
    assert {each.method for each in (*seen.site, *seen.cdn)} == {"GET"}
    locked = project.locked("bge")
    for path, content in {**SMALL, "empty.txt": b""}.items():
        pinned = {"sha256": sha256(content), "first_use": True, "git_sha1": git_sha1(content)}
        assert locked[path] == {"path": path, "size": len(content), **pinned}


def test_the_first_run_locks_and_downloads(
    project: Project, hub: HubServer, tmp_path: Path
) -> None:
    """The second one makes no request."""
    seen = Since(hub)
    succeeded(project.doit())
    assert seen.kinds["revision"] + seen.kinds["tree"] == 1 + 3
    assert seen.kinds["resolve"] == len(FILES)
    assert project.doit(**without_sockets(tmp_path / "watch")).stdout == "Nothing to do.\n"


def test_connections_share_one_link(project: Project, hub: HubServer) -> None:
    """A large file on several connections: one redirect look-up, and each range is asked once."""
    hub.add(REPO, {"model.bin": WEIGHTS})
    slow = timing.drip(1 << 16, 0.02)
    hub.cdn.always(on_cdn(WEIGHTS), slow)
    seen = Since(hub)
    succeeded(project.doit())
    assert placed(project) == {"model.bin": WEIGHTS}
    assert seen.kinds["resolve"] == 1
    assert len(seen.cdn) > 1
    assert len({each.target for each in seen.cdn}) == 1
    assert sum(each.body_bytes_sent for each in seen.cdn) <= 1.5 * len(WEIGHTS)


def test_large_files_are_asked_for_by_closed_ranges(project: Project, hub: HubServer) -> None:
    """From the first byte on: files over 400 GB are refused without."""
    hub.cdn.refuses_without_range = True
    seen = Since(hub)
    succeeded(project.doit())
    assert placed(project) == FILES
    ranges = {each.headers.get("Range", "") for each in seen.cdn}
    assert {f"bytes=0-{len(content) - 1}" for content in LARGE.values()} <= ranges
    assert all(re.fullmatch(r"bytes=\d+-\d+", each) for each in ranges)
    assert all("Range" not in each.headers for each in seen.site if kind_of(each) == "revision")


def test_a_new_commit_downloads_what_changed(project: Project, hub: HubServer) -> None:
    """By git's ID of a small file and the SHA-256 of a large one; the others are not asked for."""
    succeeded(project.doit())
    changed = {"config.json": b'{"a": 2}', "model.safetensors": b"new weights", "new.txt": b"new"}
    hub.add(REPO, {**FILES, **changed})
    seen = Since(hub)
    succeeded(project.doit("lock", "--upgrade"))
    run = succeeded(project.doit())
    assert seen.kinds == {"revision": 1, "tree": 3, "resolve": 3, "resolve-cache": 2, "cdn": 1}
    assert run.stdout.startswith("3 fetched (")
    assert placed(project) == {**FILES, **changed}


def test_a_branch_that_moved_changes_nothing_until_it_is_asked_for(
    project: Project, hub: HubServer, tmp_path: Path
) -> None:
    """`doit outdated` tells it."""
    succeeded(project.doit())
    hub.add(REPO, {**FILES, "config.json": b'{"a": 2}'})
    assert project.doit(**without_sockets(tmp_path / "watch")).stdout == "Nothing to do.\n"
    assert "changed config.json" in project.doit("outdated").stdout


# Wrong bytes


def test_wrong_bytes_of_a_small_file_are_refused(project: Project, hub: HubServer) -> None:
    """By git's ID, as no SHA-256 is known; nothing gets the name, nothing is pinned."""
    succeeded(project.doit("lock"))
    cached = f"/api/resolve-cache/models/{REPO}/{commit_of(hub)}/config.json"
    hub.site.always(cached, damage.flipped(3))
    run = project.doit()
    assert run.status == 1
    assert f"instead of git-sha1:{git_sha1(SMALL['config.json'])}" in run.stderr
    assert "config.json" not in placed(project)
    assert "sha256" not in project.locked("bge")["config.json"]
    assert placed(project).keys() == FILES.keys() - {"config.json"}


def test_the_etag_of_the_cdn_is_no_digest(project: Project, hub: HubServer) -> None:
    """It has as many digits as a SHA-256, and is not compared with it, and not locked."""
    succeeded(project.doit())
    assert "etag" not in project.lock.read_text()


# Links that do not work


def test_a_killed_download_resumes_although_its_link_has_expired(
    project: Project, hub: HubServer
) -> None:
    """SIGKILL in the middle; the next run asks for a new link, and for the rest only."""
    hub.add(REPO, {"model.bin": WEIGHTS})
    at = 18 * MIB
    hub.cdn.script(on_cdn(WEIGHTS), timing.stall_after(at))
    process = project.start(MODELMAKE_CONNECTIONS="1")
    partials = project.target("bge", ".modelmake/partials")
    wait_until(lambda: [file.stat().st_size for file in partials.glob("*.part")] == [at])
    process.kill()
    assert finish(process).status == -signal.SIGKILL

    hub.cdn.expire_links()
    seen = Since(hub)
    run = succeeded(project.doit(MODELMAKE_CONNECTIONS="1"))
    assert "resuming at" in run.stderr
    assert placed(project) == {"model.bin": WEIGHTS}
    assert seen.kinds == {"resolve": 1, "cdn": 1}
    assert seen.cdn[0].body_bytes_sent <= len(WEIGHTS) - at + MIB


def test_a_link_that_expires_in_a_run_is_renewed(project: Project, hub: HubServer) -> None:
    """The connection breaks, the link has expired meanwhile: one new look-up, no byte twice."""
    hub.add(REPO, {"model.bin": WEIGHTS})

    def expires(exchange: Exchange, reply: Reply) -> Reply:
        hub.cdn.expire_links()
        return timing.drop_after(10 * MIB)(exchange, reply)

    hub.cdn.script(on_cdn(WEIGHTS), expires)
    seen = Since(hub)
    succeeded(project.doit(MODELMAKE_CONNECTIONS="1"))
    assert placed(project) == {"model.bin": WEIGHTS}
    assert seen.kinds["resolve"] == 2
    assert sum(each.body_bytes_sent for each in seen.cdn) <= len(WEIGHTS) + MIB


def test_a_new_link_that_an_edge_refuses_is_asked_for_anew(
    project: Project, hub: HubServer
) -> None:
    """Once, and silently: the other edge knows it."""
    hub.add(REPO, {"model.bin": b"weights"})
    hub.cdn.refusals_left = 1
    seen = Since(hub)
    run = succeeded(project.doit())
    assert seen.kinds == {"revision": 1, "tree": 1, "resolve": 2, "cdn": 2}
    assert "403" not in run.text


def test_links_that_are_always_refused_are_told_in_the_hosts_words(
    project: Project, hub: HubServer
) -> None:
    """One look-up more, and then the error."""
    hub.add(REPO, {"model.bin": b"weights"})
    hub.cdn.refusals_left = 99
    seen = Since(hub)
    run = project.doit()
    assert run.status == 1
    assert seen.kinds == {"revision": 1, "tree": 1, "resolve": 2, "cdn": 2}
    assert "Auth failed: SignatureError: invalid key pair id" in run.stderr
    assert "Signature=" not in run.text


# Rate limits


@pytest.mark.parametrize("limit", ["api", "resolvers"])
@pytest.mark.parametrize("announced", ["on a 200", "on a 429", "with Retry-After"])
def test_a_run_waits_for_the_next_window(
    project: Project, hub: HubServer, limit: str, announced: str
) -> None:
    """It says which limit, how long, and that a token raises it; then it goes on."""
    hub.sends_retry_after = announced == "with Retry-After"
    hub.limits[limit].leave(int(announced == "on a 200"), window_seconds=0.8)
    seen = Since(hub)
    run = succeeded(project.doit())
    assert placed(project) == FILES
    quota = {"api": "500", "resolvers": "3,000"}[limit]
    assert f"the rate limit '{limit}' of {quota} requests in 300 s is used up" in run.stderr
    assert re.search(
        r"it starts again in [12] s\. A token in HF_TOKEN raises the limit", run.stderr
    )
    refused = [each for each in seen.site if each.status == 429]
    assert len(refused) <= len(FILES), "nobody asks before the next window"
    if (limit, announced) == ("api", "on a 200"):
        assert refused == []


def test_a_token_is_not_recommended_to_who_has_one(project: Project, hub: HubServer) -> None:
    """The limit is told all the same."""
    hub.limits["api"].leave(0, window_seconds=0.1)
    run = succeeded(project.doit(HF_TOKEN=hub.token))
    assert "the rate limit 'api'" in run.stderr
    assert "HF_TOKEN" not in run.text


@pytest.mark.parametrize("limit", ["api", "resolvers"])
@pytest.mark.parametrize("announced", ["on a 200", "on a 429"])
def test_a_wait_that_is_too_long_ends_the_run(
    project: Project, hub: HubServer, limit: str, announced: str
) -> None:
    """MODELMAKE_MAX_WAIT is the longest one; by default a whole window of the Hub's is waited."""
    hub.limits[limit].leave(int(announced == "on a 200"), window_seconds=250)
    run = project.doit(MODELMAKE_MAX_WAIT="1")
    assert run.status == 1
    assert re.search(
        rf"the rate limit '{limit}' .* is used up; it starts again in 25[01] s", run.stderr
    )
    assert re.search(r"set MODELMAKE_MAX_WAIT=25[01] to wait that long", run.stderr)
