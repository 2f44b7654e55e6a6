"""The fake of the Hugging Face Hub that a test starts.

with HubServer() as hub:
    commit = hub.add("BAAI/bge-small", {"config.json": b"{}", "model.bin": b"weights"})
    snapshot_download("BAAI/bge-small", endpoint=hub.url)
    assert hub.cdn.with_credentials == []

It speaks what the real one does as of autumn 2026: a commit a revision, pages of the tree with
`Link`, 302 to a CDN for LFS files and 307 to `resolve-cache` for others, `X-Linked-*` on the
redirect alone, an ETag of the CDN that is no digest, `X-Error-Code`, and three rate limits.
"""

import hashlib
import json
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self
from urllib.parse import quote, unquote

from tests.servers import honest
from tests.servers.body import as_body
from tests.servers.exchange import Exchange, Resource, SeenRequest
from tests.servers.faulty import FaultyServer
from tests.servers.hub.cdn import CDN
from tests.servers.reply import Reply

PREFIXES = {"datasets/": "datasets", "spaces/": "spaces", "": "models"}
"""What stands before the name in a file's URL, and how the API calls it."""
LARGE_SUFFIXES = (".bin", ".safetensors", ".gguf", ".onnx", ".h5")
"""Of files that a repository keeps in LFS."""


def git_sha1(content: bytes) -> str:
    """Return the id that git gives these bytes."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def pointer(content: bytes) -> bytes:
    """Return what git holds in place of a file in LFS."""
    sha256 = hashlib.sha256(content).hexdigest()
    text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {len(content)}\n"
    return text.encode()


@dataclass(kw_only=True)
class Repository:
    """One repository: its commits, and who may read it."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    """By id, oldest first: the files of each by path."""
    refs: dict[str, str] = field(default_factory=dict)
    """Branches and tags: which commit each is."""
    is_gated: bool = False
    is_private: bool = False
    is_disabled: bool = False


@dataclass(kw_only=True)
class Bucket:
    """One rate limit: what is left of it until its window ends."""

    quota: int
    left: int
    reset_seconds: int = 300


class HubServer:
    """The site and its CDN; a context manager.

    Args:
        token: The one that is let in.
        page_size: How many entries a page of the tree has.

    Attributes:
        site: The server of API and files. Faults go to its `script`, by path.
        cdn: The server that LFS files are redirected to.
        buckets: The rate limits, by name; a test may empty one.
        sends_retry_after: Whether a 429 says so in that header too.
    """

    def __init__(self, *, token: str = "hf_fakeTokenOfTheTests", page_size: int = 1000) -> None:
        self.token, self.page_size = token, page_size
        self.cdn = CDN()
        self.site = FaultyServer(self._answered)
        self.repositories: dict[str, Repository] = {}
        self.buckets = {
            name: Bucket(quota=quota, left=quota)
            for name, quota in (("api", 500), ("resolvers", 3000), ("pages", 100))
        }
        self.sends_retry_after = False
        self.window_seconds = 300

    def __enter__(self) -> Self:
        with ExitStack() as running:
            running.enter_context(self.cdn)
            running.enter_context(self.site)
            self._running = running.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._running.__exit__(kind, error, at)

    @property
    def url(self) -> str:
        """The endpoint: HF_ENDPOINT."""
        return self.site.url("")

    @property
    def requests(self) -> list[SeenRequest]:
        """What the site was asked; `cdn.requests` has the other half."""
        return self.site.requests

    def add(
        self,
        name: str,
        files: Mapping[str, bytes],
        *,
        branch: str = "main",
        kind: str = "models",
        **keys: bool,
    ) -> str:
        """Add a commit to a repository, and return its id.

        Args:
            name: As `owner/name`.
            files: All files of the commit.
            branch: What shows it from now on.
            kind: `models`, `datasets` or `spaces`.
            keys: Fields of Repository, such as `is_gated`.
        """
        repository = self.repositories.setdefault(f"{kind}/{name}", Repository())
        for key, value in keys.items():
            setattr(repository, key, value)
        text = json.dumps([name, len(repository.commits), sorted(map(git_sha1, files.values()))])
        commit = hashlib.sha1(text.encode()).hexdigest()
        repository.commits[commit] = dict(files)
        repository.refs[branch] = commit
        return commit

    def _answered(self, exchange: Exchange) -> Reply:
        request = exchange.request
        path = unquote(request.target.partition("?")[0], errors="strict")
        parts = request.target.partition("?")[0].split("/")[1:]
        bucket = self.buckets["api" if parts[0] == "api" else "resolvers"]
        if parts[:2] == ["api", "resolve-cache"]:
            return self._limited(self._cached(exchange, path), bucket, counts=False)
        if bucket.left <= 0:
            reply = Reply(status=429).with_body(b'{"error":"We had to rate limit your IP"}')
            if self.sends_retry_after:
                reply = reply.with_header("Retry-After", str(bucket.reset_seconds))
            return self._limited(reply, bucket, counts=False)
        bucket.left -= 1
        if parts[0] == "api":
            return self._limited(self._of_api(exchange, parts[1:]), bucket)
        return self._limited(self._resolved(exchange, path), bucket)

    def _limited(self, reply: Reply, bucket: Bucket, *, counts: bool = True) -> Reply:
        name = next(name for name, each in self.buckets.items() if each is bucket)
        shown = f'"{name}";r={max(bucket.left, 0)};t={bucket.reset_seconds}'
        policy = f'"fixed window";"{name}";q={bucket.quota};w={self.window_seconds}'
        if not counts and reply.status != 429:
            return honest.dated(reply)
        named = reply.with_header("RateLimit", shown).with_header("RateLimit-Policy", policy)
        return honest.dated(named)

    def _of_api(self, exchange: Exchange, parts: list[str]) -> Reply:
        kind, owner, name, what, revision, *_ = [*map(unquote, parts), "", "", "", "", ""]
        found = self._open(exchange, f"{kind}/{owner}/{name}", for_files=False)
        if isinstance(found, Reply):
            return found
        commit = found.refs.get(revision, revision)
        if commit not in found.commits:
            return refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        files = found.commits[commit]
        if what == "revision":
            siblings = [{"rfilename": path} for path in files]
            gated = "auto" if found.is_gated else False
            document = {"id": f"{owner}/{name}", "sha": commit, "siblings": siblings}
            return as_json({**document, "private": found.is_private, "gated": gated})
        return self._tree(exchange, files)

    def _tree(self, exchange: Exchange, files: Mapping[str, bytes]) -> Reply:
        folders = {path.rpartition("/")[0] for path in files} - {""}
        entries: list[dict[str, object]] = [
            {"type": "directory", "oid": "0" * 40, "size": 0, "path": each}
            for each in sorted(folders)
        ]
        entries += [tree_entry(path, content) for path, content in files.items()]
        query = dict(exchange.request.query)
        start = int(query.get("cursor", "0"))
        reply = as_json(entries[start : start + self.page_size])
        if start + self.page_size < len(entries):
            base = self.site.url(unquote(exchange.request.target.partition("?")[0]))
            following = f"{base}?recursive=true&expand=false&cursor={start + self.page_size}"
            reply = reply.with_header("Link", f'<{following}>; rel="next"')
        return reply

    def _resolved(self, exchange: Exchange, path: str) -> Reply:
        place, _, rest = path.removeprefix("/").partition("/resolve/")
        prefix, name = next((p, place.removeprefix(p)) for p in PREFIXES if place.startswith(p))
        found = self._open(exchange, f"{PREFIXES[prefix]}/{name}")
        if isinstance(found, Reply):
            return found
        revision, _, file = rest.partition("/")
        commit = found.refs.get(revision, revision)
        if commit not in found.commits:
            return refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        content = found.commits[commit].get(file)
        if content is None:
            reply = refused(404, "EntryNotFound", "Entry not found")
        elif file.endswith(LARGE_SUFFIXES):
            reply = self._linked(content)
        elif found.is_gated or found.is_private or not content:
            reply = self._file(exchange, content)
        else:
            to = f"/api/resolve-cache/{PREFIXES[prefix]}/{name}/{commit}/{quote(file)}"
            target = f"{to}?{quote(path, safe='')}=&etag=%22{git_sha1(content)}%22"
            reply = Reply(status=307).with_body(b"Temporary Redirect")
            reply = reply.with_header("Location", target)
        return reply.with_header("X-Repo-Commit", commit)

    def _linked(self, content: bytes) -> Reply:
        """Return the redirect to a file in LFS, which alone says its digest."""
        sha256 = hashlib.sha256(content).hexdigest()
        reply = Reply(status=302).with_body(b"Found. Redirecting")
        reply = reply.with_header("Location", self.cdn.sign(sha256, content))
        reply = reply.with_header("X-Linked-Etag", f'"{sha256}"')
        return reply.with_header("X-Linked-Size", str(len(content)))

    def _cached(self, exchange: Exchange, path: str) -> Reply:
        kind, owner, name, commit, *file = path.split("/")[3:]
        content = self.repositories[f"{kind}/{owner}/{name}"].commits[commit]["/".join(file)]
        return self._file(exchange, content).with_header("X-Repo-Commit", commit)

    def _file(self, exchange: Exchange, content: bytes) -> Reply:
        resource = Resource(body=as_body(content), etag=f'"{git_sha1(content)}"')
        return honest.selected(exchange, resource)

    def _open(self, exchange: Exchange, name: str, *, for_files: bool = True) -> Repository | Reply:
        """Return the repository, or why it is not shown."""
        sent = exchange.request.headers.get("Authorization")
        found = self.repositories.get(name)
        is_known = sent == f"Bearer {self.token}"
        if sent and not is_known:
            return refused(401, "", "Invalid credentials in Authorization header")
        if found is None or (found.is_private and not is_known):
            return refused(404 if is_known else 401, "RepoNotFound", "Repository not found")
        if found.is_disabled:
            return refused(403, "", "Access to this resource is disabled.")
        if for_files and found.is_gated and not is_known:
            return refused(401, "GatedRepo", "Access to this model is restricted.")
        return found


def tree_entry(path: str, content: bytes) -> dict[str, object]:
    """Return what a page of the tree says of a file."""
    entry: dict[str, object] = {"type": "file", "size": len(content), "path": path}
    if not path.endswith(LARGE_SUFFIXES):
        return {**entry, "oid": git_sha1(content)}
    small = pointer(content)
    lfs = {
        "oid": hashlib.sha256(content).hexdigest(),
        "size": len(content),
        "pointerSize": len(small),
    }
    return {**entry, "oid": git_sha1(small), "lfs": lfs}


def as_json(document: object) -> Reply:
    """Return a 200 with a document."""
    reply = Reply(status=200).with_body(json.dumps(document).encode())
    return reply.with_header("Content-Type", "application/json; charset=utf-8")


def refused(status: int, code: str, message: str) -> Reply:
    """Return a refusal as the Hub words it: in two headers, and in the body."""
    reply = Reply(status=status).with_body(json.dumps({"error": message}).encode())
    reply = reply.with_header("Content-Type", "application/json; charset=utf-8")
    reply = reply.with_header("X-Error-Message", message)
    return reply.with_header("X-Error-Code", code) if code else reply
