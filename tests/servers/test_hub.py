"""The fake of the Hugging Face Hub, asked by requests; tests/sdk has their own client."""

import hashlib
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
import requests

from tests.servers.hub.cdn import EXPIRED_LINK, UNKNOWN_LINK
from tests.servers.hub.server import HubServer, git_sha1, pointer

REPO = "owner/name"
LARGE = b"weights" * 1000
FILES = {"config.json": b"{}", "a/model.safetensors": LARGE, "empty.txt": b""}
SHA256 = hashlib.sha256(LARGE).hexdigest()


@pytest.fixture
def hub() -> Iterator[HubServer]:
    """Give a Hub with a model."""
    with HubServer(page_size=3) as running:
        running.add(REPO, FILES)
        yield running


def get(url: str, **headers: str) -> requests.Response:
    """Ask without compression, unless the headers say otherwise; redirects are not followed."""
    sent = {"Accept-Encoding": "identity", **headers}
    return requests.get(url, headers=sent, timeout=10, allow_redirects=False)


def resolve(hub: HubServer, path: str, **headers: str) -> requests.Response:
    """Ask for a file of the model."""
    return get(f"{hub.url}/{REPO}/resolve/main/{path}", **headers)


def linked(hub: HubServer) -> str:
    """Return a new link to the large file."""
    return str(resolve(hub, "a/model.safetensors").headers["Location"])


class TestSite:
    """The API, and the redirects of `/resolve/`."""

    def test_a_revision_is_a_commit(self, hub: HubServer) -> None:
        """Of a branch, a tag and a commit; a new one is another."""
        first = get(f"{hub.url}/api/models/{REPO}/revision/main").json()["sha"]
        second = hub.add(REPO, {**FILES, "new": b""}, branch="refs/pr/1")
        assert len(first) == 40
        assert first != second
        for revision, sha in ((first, first), ("main", first), ("refs%2Fpr%2F1", second)):
            url = f"{hub.url}/api/models/{REPO}/revision/{revision}"
            assert get(url).json()["sha"] == sha

    def test_a_tree_has_pages(self, hub: HubServer) -> None:
        """Each but the last names the next one; an `oid` of a file in LFS is its pointer's."""
        first = get(f"{hub.url}/api/models/{REPO}/tree/main?recursive=true")
        second = get(first.links["next"]["url"])
        assert "next" not in second.links
        found = {each["path"]: each for each in first.json() + second.json()}
        assert found.keys() == {*FILES, "a"}
        assert found["a"]["type"] == "directory"
        assert found["config.json"]["oid"] == git_sha1(b"{}")
        large = found["a/model.safetensors"]
        assert large["lfs"]["oid"] == SHA256
        assert large["oid"] == git_sha1(pointer(LARGE))

    def test_a_large_file_is_elsewhere(self, hub: HubServer) -> None:
        """Only the redirect tells its digest; the ETag there is as long, and another."""
        reply = resolve(hub, "a/model.safetensors")
        assert reply.status_code == 302
        assert reply.headers["X-Linked-Etag"] == f'"{SHA256}"'
        assert reply.headers["X-Linked-Size"] == str(len(LARGE))
        assert len(reply.headers["X-Repo-Commit"]) == 40
        there = get(reply.headers["Location"])
        assert urlsplit(there.url).port != urlsplit(hub.url).port
        assert there.content == LARGE
        assert len(there.headers["ETag"].strip('"')) == 64
        assert there.headers["ETag"] != f'"{SHA256}"'
        assert "X-Linked-Etag" not in there.headers

    def test_a_small_file_is_in_a_cache(self, hub: HubServer) -> None:
        """Behind a redirect without a host; compressed if the client accepts that."""
        reply = resolve(hub, "config.json")
        assert reply.status_code == 307
        assert reply.headers["Location"].startswith("/api/resolve-cache/models/owner/name/")
        there = get(hub.url + reply.headers["Location"])
        assert (there.content, there.headers["ETag"]) == (b"{}", f'"{git_sha1(b"{}")}"')
        packed = get(there.url, **{"Accept-Encoding": "gzip", "Range": "bytes=0-0"})
        assert packed.status_code == 200
        assert packed.headers["Content-Encoding"] == "gzip"
        assert packed.content == b"{}"  # requests decompresses it

    @pytest.mark.parametrize("protection", ["is_gated", "is_private"])
    def test_a_protected_small_file_is_here(self, hub: HubServer, protection: str) -> None:
        """So is an empty one: no cache has it."""
        assert resolve(hub, "empty.txt").status_code == 200
        setattr(hub.repositories[f"models/{REPO}"], protection, True)
        reply = resolve(hub, "config.json", Authorization=f"Bearer {hub.token}")
        assert (reply.status_code, reply.content) == (200, b"{}")

    @pytest.mark.parametrize(
        ("change", "status", "code"),
        [
            ("is_gated", 401, "GatedRepo"),
            ("is_private", 401, "RepoNotFound"),
            ("is_disabled", 403, None),
            ("a wrong token", 401, None),
            ("no such file", 404, "EntryNotFound"),
        ],
    )
    def test_a_refusal_says_why(
        self, hub: HubServer, change: str, status: int, code: str | None
    ) -> None:
        """In two headers and the body; a code only if the Hub has one for it."""
        if change.startswith("is_"):
            setattr(hub.repositories[f"models/{REPO}"], change, True)
        path = "none.json" if change == "no such file" else "config.json"
        url = f"{hub.url}/{REPO}/resolve/main/{path}"
        sent = {"Authorization": "Bearer hf_wrong"} if change == "a wrong token" else {}
        reply = get(url, **sent)
        assert (reply.status_code, reply.headers.get("X-Error-Code")) == (status, code)
        assert reply.json()["error"] == reply.headers["X-Error-Message"]

    def test_a_new_name_is_redirected_to(self, hub: HubServer) -> None:
        """With its query, and without a host."""
        hub.renamed["old/place"] = REPO
        reply = get(f"{hub.url}/api/models/old/place/tree/main?recursive=true")
        assert reply.status_code == 307
        assert reply.headers["Location"] == f"/api/models/{REPO}/tree/main?recursive=true"

    def test_the_list_of_a_gated_repository_is_public(self, hub: HubServer) -> None:
        """That of a private one is not."""
        hub.add(REPO, FILES, is_gated=True)
        assert get(f"{hub.url}/api/models/{REPO}/tree/main").status_code == 200
        hub.add(REPO, FILES, is_private=True)
        assert get(f"{hub.url}/api/models/{REPO}/tree/main").status_code == 401

    def test_a_missing_revision(self, hub: HubServer) -> None:
        """It has a code of its own, in both places."""
        for place in (f"api/models/{REPO}/revision/v9", f"{REPO}/resolve/v9/config.json"):
            reply = get(f"{hub.url}/{place}")
            assert reply.status_code == 404
            assert reply.headers["X-Error-Code"] == "RevisionNotFound"


class TestRateLimits:
    """Two limits, said on each reply."""

    def test_each_reply_says_what_is_left(self, hub: HubServer) -> None:
        """The API and the files count apart."""
        first = get(f"{hub.url}/api/models/{REPO}")
        assert first.headers["RateLimit"].startswith('"api";r=499;t=')
        assert first.headers["RateLimit-Policy"] == '"fixed window";"api";q=500;w=300'
        assert resolve(hub, "config.json").headers["RateLimit"].startswith('"resolvers";r=2999;')

    @pytest.mark.parametrize("sends_retry_after", [False, True])
    def test_an_empty_window_is_a_429(self, hub: HubServer, *, sends_retry_after: bool) -> None:
        """The last request that is admitted says so; Retry-After is only sometimes there."""
        hub.sends_retry_after = sends_retry_after
        hub.limits["resolvers"].leave(1, window_seconds=99)
        last = resolve(hub, "config.json")
        assert (last.status_code, last.headers["RateLimit"]) == (307, '"resolvers";r=0;t=99')
        refused = resolve(hub, "config.json")
        assert (refused.status_code, refused.headers["RateLimit"]) == (429, '"resolvers";r=0;t=99')
        assert refused.headers.get("Retry-After") == ("99" if sends_retry_after else None)
        assert get(f"{hub.url}/api/models/{REPO}").status_code == 200

    def test_the_next_window_is_full(self, hub: HubServer) -> None:
        """The first one begins with a request, and is over at once."""
        hub.limits["api"].leave(0, window_seconds=0)
        url = f"{hub.url}/api/models/{REPO}"
        assert get(url).status_code == 429
        assert get(url).headers["RateLimit"].startswith('"api";r=499;')


class TestCDN:
    """The other origin."""

    def test_a_credential_is_refused(self, hub: HubServer) -> None:
        """It is noted, too: a client that sends one has leaked it."""
        assert get(linked(hub), Authorization="Bearer x").status_code == 400
        assert len(hub.cdn.with_credentials) == 1

    def test_links_expire(self, hub: HubServer) -> None:
        """All of before; a new one is good."""
        old = linked(hub)
        hub.cdn.expire_links()
        assert (get(old).status_code, get(old).content) == (403, EXPIRED_LINK)
        assert get(linked(hub)).status_code == 200

    def test_an_edge_may_not_know_a_link_yet(self, hub: HubServer) -> None:
        """It refuses what it was told to refuse, then serves; a forged link never."""
        hub.cdn.refusals_left = 1
        link = linked(hub)
        assert (get(link).status_code, get(link).status_code) == (403, 200)
        assert get(link.replace("Signature=", "Signature=0")).content == UNKNOWN_LINK

    def test_huge_files_by_range_only(self, hub: HubServer) -> None:
        """400 without one."""
        hub.cdn.refuses_without_range = True
        assert get(linked(hub)).status_code == 400
        part = get(linked(hub), Range="bytes=7-13")
        assert (part.status_code, part.content) == (206, LARGE[7:14])
