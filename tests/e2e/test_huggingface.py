"""`source: huggingface` from models.yaml to the files, and what is asked of the Hub on the way."""

import hashlib
import json
import re
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.content import bytes_of
from tests.e2e.project import Project, Run, finish
from tests.e2e.watching import injected, wait_until, without_sockets
from tests.servers.exchange import Exchange, SeenRequest
from tests.servers.faults import damage, statuses, timing
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


def test_a_renamed_repository_is_followed(project: Project, hub: HubServer) -> None:
    """Its old name leads to the new one on the same origin, also with a token; pages are read."""
    hub.add("new/place", FILES, is_private=True)
    hub.renamed[REPO] = "new/place"
    succeeded(project.doit(HF_TOKEN=hub.token))
    assert placed(project) == FILES
    assert {each.headers.get("Authorization") for each in hub.requests} == {f"Bearer {hub.token}"}
    assert hub.cdn.with_credentials == []


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


@pytest.mark.parametrize(
    "content",
    [b"<!DOCTYPE html><html></html>", b'{"error": "a sample"}', b"version https://git-lfs"],
)
def test_a_file_that_looks_like_a_page_is_one_of_the_repository(
    project: Project, hub: HubServer, content: bytes
) -> None:
    """Git's ID proves it."""
    hub.add("owner/app", {"index.html": content}, kind="spaces")
    project.declare({"bge": entry(repo="owner/app", repo_type="space")})
    succeeded(project.doit())
    assert placed(project) == {"index.html": content}


def test_the_etag_of_the_cdn_is_no_digest(project: Project, hub: HubServer) -> None:
    """It has as many digits as a SHA-256, and is not compared with it, and not locked."""
    succeeded(project.doit())
    assert "etag" not in project.lock.read_text()


# What is here already


def test_the_cache_of_their_tools_is_adopted(
    project: Project, hub: HubServer, tmp_path: Path
) -> None:
    """Before the first download: small files by git's ID, as large ones by their SHA-256."""
    blobs = tmp_path / "hf/hub/models--owner--name/blobs"
    blobs.mkdir(parents=True)
    for path, content in FILES.items():
        name = sha256(content) if path in LARGE else git_sha1(content)
        (blobs / name).write_bytes(content)
    succeeded(project.doit("lock"))
    listed = project.doit("list", "--all").stdout
    assert f"git-sha1:{git_sha1(SMALL['config.json'])}" in listed
    seen = Since(hub)
    run = succeeded(project.doit("adopt", "--from", "huggingface", HF_HOME=str(tmp_path / "hf")))
    assert "adopted 6 files" in run.text
    assert placed(project) == FILES
    assert project.locked("bge")["config.json"]["sha256"] == sha256(SMALL["config.json"])
    assert project.doit().stdout == "Nothing to do.\n"
    assert seen.kinds == {}


def test_another_project_links_large_files(
    project: Project, hub: HubServer, tmp_path: Path
) -> None:
    """From the store; small ones are downloaded again, as only git's ID is known of them."""
    store = {"MODELMAKE_STORE": str(tmp_path / "store")}
    succeeded(project.doit(**store))
    other = Project(tmp_path / "other", **{**project.variables, **store})
    other.declare({"bge": entry()})
    seen = Since(hub)
    run = succeeded(other.doit())
    assert placed(other) == FILES
    assert "cdn" not in seen.kinds
    assert f"{len(LARGE)} linked in" in run.stdout


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_offline_for_their_tools_is_offline_for_the_hub(
    project: Project, hub: HubServer, tmp_path: Path, variable: str
) -> None:
    """What is in place or in the store counts; a file that is in neither is told."""
    project.variables["MODELMAKE_STORE"] = str(tmp_path / "store")
    succeeded(project.doit())
    offline, seen = {variable: "1"}, Since(hub)
    assert project.doit(**offline).stdout == "Nothing to do.\n"
    for path in LARGE:
        project.target("bge", path).unlink()
    assert f"{len(LARGE)} linked in" in succeeded(project.doit(**offline)).stdout
    project.target("bge", "config.json").unlink()
    run = project.doit(MODELMAKE_STORE=str(tmp_path / "another"), **offline)
    assert run.status == 1
    assert f"{REPO} was not requested: {variable} is set." in run.stderr
    run = project.doit("lock", "--upgrade", **offline)
    assert run.status == 1
    assert f"Unset {variable} to download from the Hub." in run.stderr
    assert seen.kinds == {}


def test_a_mirror_is_asked_second_and_without_the_token(project: Project, hub: HubServer) -> None:
    """It has the layout of the Hub; what it sends is compared with what the Hub listed."""
    with HubServer(token=hub.token) as mirror:
        mirror.add(REPO, FILES)
        project.declare({"bge": entry(mirrors=[mirror.url])})
        path = f"/{REPO}/resolve/{commit_of(hub)}/config.json"
        hub.site.always(path, statuses.status(503))
        succeeded(project.doit(HF_TOKEN=hub.token, MODELMAKE_RETRIES="1"))
        assert [each.path for each in mirror.requests if kind_of(each) == "resolve"] == [path]
        assert all("Authorization" not in each.headers for each in mirror.requests)
    assert placed(project) == FILES


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
    end = re.compile(r"(\d+)\]\]\n\Z")  # of what the journal confirms, a moment after the write
    wait_until(
        lambda: any(
            int(found[1]) >= at - MIB
            for file in partials.glob("*.journal")
            if (found := end.search(file.read_text()))
        )
    )
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


# Refusals


def gate(hub: HubServer) -> None:
    hub.repositories[f"models/{REPO}"].is_gated = True


def hide(hub: HubServer) -> None:
    hub.repositories[f"models/{REPO}"].is_private = True


def disable(hub: HubServer) -> None:
    hub.repositories[f"models/{REPO}"].is_disabled = True


def remove(hub: HubServer) -> None:
    del hub.repositories[f"models/{REPO}"]


def remove_file(hub: HubServer) -> None:
    del hub.repositories[f"models/{REPO}"].commits[commit_of(hub)]["config.json"]


def refuse_account(hub: HubServer) -> None:
    """Refuse a valid token whose account has not accepted the terms."""
    path = f"/{REPO}/resolve/{commit_of(hub)}/config.json"
    hub.site.always(path, statuses.status(403, b"{}", {"X-Error-Code": "GatedRepo"}))


PAGE = "HUB/owner/name"
TOKENS = "HUB/settings/tokens"
KNOWN, WRONG = {"HF_TOKEN": "hf_fakeTokenOfTheTests"}, {"HF_TOKEN": "hf_wrong"}
GATED = f"Accept its terms at {PAGE} with"
MISSING = f"Check `repo` and `repo_type` in models.yaml: {PAGE}."
IF_PRIVATE = f"If it is private, set HF_TOKEN to a token from {TOKENS}."
NOT_ALLOWED = "Your token may not be allowed to read it."
NOT_VALID = f"The token is not valid. Make one at {TOKENS}, and set HF_TOKEN to it or run"
DISABLED = f"The Hub disabled it: {PAGE} says why."
NO_FILE = f"Run `doit lock --upgrade`; {PAGE}/tree/main lists the files."
Change = Callable[[HubServer], None]
REFUSALS: dict[str, tuple[Change, dict[str, str], str, str]] = {
    "gated": (
        gate,
        {},
        "access denied (401 GatedRepo)",
        f"{GATED} your account. Then set HF_TOKEN to a token from {TOKENS}.",
    ),
    "not accepted": (
        refuse_account,
        KNOWN,
        "access denied (403 GatedRepo)",
        f"{GATED} the account of your token.",
    ),
    "private": (hide, {}, "access denied (401 RepoNotFound)", f"{MISSING} {IF_PRIVATE}"),
    "missing": (remove, {}, "access denied (401 RepoNotFound)", f"{MISSING} {IF_PRIVATE}"),
    "missing for all": (remove, KNOWN, "not found (404 RepoNotFound)", f"{MISSING} {NOT_ALLOWED}"),
    "disabled": (disable, {}, "access denied (403)", DISABLED),
    "a wrong token": (lambda _: None, WRONG, "access denied (401)", NOT_VALID),
    "no file": (remove_file, {}, "not found (404 EntryNotFound)", NO_FILE),
}


@pytest.mark.parametrize("protect", [gate, hide, None])
@pytest.mark.parametrize("is_commit", [False, True])
def test_the_lock_marks_what_not_everybody_may_have(
    project: Project, hub: HubServer, protect: Change | None, *, is_commit: bool
) -> None:
    """Whether models.yaml names a branch or the commit itself: peers do not get such a model."""
    if protect:
        protect(hub)
    revision = {"revision": commit_of(hub)} if is_commit else {}
    project.declare({"bge": entry(**revision)})
    succeeded(project.doit("lock", **KNOWN))
    locked = json.loads(project.lock.read_text())["models"]["bge"]
    assert locked.get("gated") == (True if protect else None)


OF_THE_FILE = ("gated", "not accepted", "no file")
"""Of these the list of files says nothing."""


@pytest.mark.parametrize(
    ("name", "is_locked"),
    [(name, True) for name in REFUSALS]
    + [(name, False) for name in REFUSALS if name not in OF_THE_FILE],
)
def test_a_refusal_says_what_to_do_and_where(
    project: Project, hub: HubServer, name: str, *, is_locked: bool
) -> None:
    """Told apart by the Hub's own code; the list of files and a file are refused alike."""
    change, variables, what, hint = REFUSALS[name]
    if is_locked:
        succeeded(project.doit("lock"))
    change(hub)
    run = project.doit("models/bge/config.json" if is_locked else "lock", **variables)
    assert run.status == 1
    if not is_locked and "RepoNotFound" in what:
        what = "The Hub has no model owner/name, or it is private"
    assert f": {what}." in run.stderr
    assert hint.replace("HUB", hub.url) in run.stderr
    assert "Traceback" not in run.text
    assert "retrying" not in run.text.lower()
    assert len([each for each in hub.requests if each.status in (401, 403, 404)]) == 1


def test_a_missing_revision_is_told(project: Project, hub: HubServer) -> None:
    """And where the revisions are listed."""
    project.declare({"bge": entry(revision="v9")})
    run = project.doit("lock")
    assert run.status == 1
    assert "owner/name has no revision 'v9'." in run.stderr
    assert f"Check `revision` in models.yaml: {hub.url}/{REPO}/tree/main" in run.stderr


def test_the_token_opens_a_gated_repository(project: Project, hub: HubServer) -> None:
    """It goes to the Hub with each request, and never to the CDN."""
    gate(hub)
    succeeded(project.doit(HF_TOKEN=hub.token))
    assert placed(project) == FILES
    assert {each.headers.get("Authorization") for each in hub.requests} == {f"Bearer {hub.token}"}
    assert hub.cdn.requests
    assert hub.cdn.with_credentials == []


# No token is anywhere but in requests to the Hub

CANARY = "hf_canaryTokenOfThisTest"


def echo(exchange: Exchange, reply: Reply) -> Reply:
    """Refuse, and repeat what the client sent."""
    sent = exchange.request.headers.get("Authorization", "").encode()
    return statuses.status(403, b"no: " + sent)(exchange, reply)


def lead_away(hub: HubServer) -> None:
    """Redirect a file to another origin, with the token in the URL."""
    path = f"/{REPO}/resolve/{commit_of(hub)}/config.json"
    hub.site.always(path, statuses.redirect(f"http://127.0.0.1:9/x?token={CANARY}"))


def refuse_links(hub: HubServer) -> None:
    hub.cdn.refusals_left = 99


def use_up(hub: HubServer) -> None:
    hub.limits["resolvers"].leave(0, window_seconds=250)


def repeat(hub: HubServer) -> None:
    hub.site.always(f"/{REPO}/resolve/{commit_of(hub)}/config.json", echo)
    hub.site.always(f"{API}/revision/main", echo)


def nothing(_: HubServer) -> None:
    """Change nothing."""


TROUBLES: dict[str, Change] = {
    "success": nothing,
    "gated": refuse_account,
    "missing": remove,
    "no file": remove_file,
    "refused links": refuse_links,
    "used up": use_up,
    "repeated": repeat,
    "led away": lead_away,
}


@pytest.mark.sampled(keep=6)
@pytest.mark.parametrize("place", ["variable", "file"])
@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_token_is_in_requests_to_the_hub_only(
    project: Project, hub: HubServer, tmp_path: Path, trouble: str, place: str
) -> None:
    """In no output, file, lock or journal, whatever fails; MODELMAKE_DEBUG shows more, not it."""
    hub.token = CANARY
    variables = {"HF_HOME": str(tmp_path / "hf"), "MODELMAKE_DEBUG": "1", "MODELMAKE_RETRIES": "2"}
    if place == "variable":
        variables["HF_TOKEN"] = CANARY
    else:
        (tmp_path / "hf").mkdir()
        (tmp_path / "hf/token").write_text(CANARY)
    succeeded(project.doit("lock", **variables))
    TROUBLES[trouble](hub)
    variables["MODELMAKE_MAX_WAIT"] = "1"
    runs = [project.doit(*words, **variables) for words in ([], ["lock", "--upgrade"], ["plan"])]

    assert (runs[0].status == 0) is (trouble == "success")
    assert any(f"Bearer {CANARY}" in str(each.headers) for each in hub.requests)
    assert all(CANARY not in run.text for run in runs)
    written = [path for path in project.folder.rglob("*") if path.is_file()]
    assert [path for path in written if CANARY.encode() in path.read_bytes()] == []
    assert hub.cdn.with_credentials == []


# Many files

COUNTING = """
    import atexit, sys, threading
    from pathlib import Path
    calls = 0
    def count(_frame, event, _argument):
        global calls
        calls += event == "call"
    def write():
        sys.setprofile(None)
        Path({into!r}).write_text(str(calls))
    atexit.register(write)
    threading.setprofile(count)
    sys.setprofile(count)
"""
MOST_CALLS = {"lock": 40, "": 80}
"""Calls of Python functions for each file more: in `doit lock`, and in a run with nothing to do."""


def many(count: int) -> dict[str, bytes]:
    """Return so many files, a third of them in LFS."""
    return {f"{n:03}.{'txt' if n % 3 else 'bin'}": b"%d" % n for n in range(count)}


def calls_of(project: Project, command: str, watch: Path) -> int:
    """Return how many Python functions a command calls."""
    into = watch.with_suffix(".calls")
    succeeded(project.doit(*command.split(), **injected(watch, COUNTING.format(into=str(into)))))
    return int(into.read_text())


def test_a_thousand_files_cost_little(project: Project, hub: HubServer, tmp_path: Path) -> None:
    """1 + pages requests to lock, one look-up a file, and few calls for each file more."""
    hub.page_size = 1000
    calls: dict[str, list[int]] = {command: [] for command in MOST_CALLS}
    for count in (10, 1000):
        files = many(count)
        hub.add(REPO, files)
        seen = Since(hub)
        calls["lock"].append(calls_of(project, "lock --upgrade", tmp_path / f"lock-{count}"))
        assert seen.kinds == {"revision": 1, "tree": 1}
        seen = Since(hub)
        succeeded(project.doit())
        assert seen.kinds["resolve"] == count - 10 * (count > 10)
        assert placed(project) == files
        calls[""].append(calls_of(project, "", tmp_path / f"none-{count}"))
    for command, (few, more) in calls.items():
        assert (more - few) / 990 <= MOST_CALLS[command], command
