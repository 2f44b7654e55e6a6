"""The fake of the Hugging Face Hub that a test starts.

with HubServer() as hub:
    commit = hub.add("BAAI/bge-small", {"config.json": b"{}", "model.bin": b"weights"})
    snapshot_download("BAAI/bge-small", endpoint=hub.url)
    assert hub.cdn.with_credentials == []

It answers as the Hub did in autumn 2026: a commit for each revision, pages of the tree with `Link`,
a 302 to the CDN for files in LFS and a 307 to `resolve-cache` for others, `X-Linked-*` on the
redirect alone, `X-Error-Code`, gzip if the client accepts it, and rate limits. It has no Xet.
"""

import gzip
import hashlib
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote, unquote

from tests.servers import honest
from tests.servers.body import as_body
from tests.servers.exchange import Exchange, Resource, SeenRequest
from tests.servers.faulty import FaultyServer
from tests.servers.group import ServerGroup
from tests.servers.hub.cdn import CDN
from tests.servers.reply import Reply

FOLDERS = {"models": "", "datasets": "datasets/", "spaces": "spaces/"}
"""What stands before a repository's name in the URL of a file, by what the API calls its kind."""
LARGE_SUFFIXES = (".bin", ".safetensors", ".gguf", ".onnx", ".h5", ".parquet")
"""Of the files that a repository keeps in LFS."""
QUOTAS = {"api": 500, "resolvers": 3000}
WINDOW_SECONDS = 300


def git_sha1(content: bytes) -> str:
    """Return the ID that git gives these bytes."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def pointer(content: bytes) -> bytes:
    """Return what git holds instead of a file in LFS."""
    sha256 = hashlib.sha256(content).hexdigest()
    text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {len(content)}\n"
    return text.encode()


@dataclass(kw_only=True)
class Repository:
    """One repository: its commits, and who may read it."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    """The files of each commit by their paths."""
    refs: dict[str, str] = field(default_factory=dict)
    """The commit of each branch and tag."""
    is_gated: bool = False
    is_private: bool = False
    is_disabled: bool = False


class RateLimit:
    """One of the Hub's rate limits.

    Args:
        name: As the header has it.
        quota: Requests that a window admits.

    Attributes:
        left: Requests that are left in this window.
    """

    def __init__(self, name: str, quota: int) -> None:
        self.name, self.quota = name, quota
        self.leave(quota, window_seconds=WINDOW_SECONDS)

    def leave(self, requests: int, *, window_seconds: float) -> None:
        """Let the next request begin a window in which so many are left."""
        self.left, self._seconds = requests, window_seconds
        self._ends_at: float | None = None

    def look(self) -> None:
        """Begin a window if none has begun, or the last one has ended."""
        now = time.monotonic()
        if self._ends_at is not None and now >= self._ends_at:
            self.leave(self.quota, window_seconds=WINDOW_SECONDS)
        if self._ends_at is None:
            self._ends_at = now + self._seconds

    @property
    def reset_seconds(self) -> int:
        """Whole seconds until the next window begins."""
        end = self._ends_at or 0.0
        return max(math.ceil(end - time.monotonic()), 0)

    def announced(self, reply: Reply) -> Reply:
        """Return the reply with its two headers (draft-ietf-httpapi-ratelimit-headers-09)."""
        state = f'"{self.name}";r={self.left};t={self.reset_seconds}'
        policy = f'"fixed window";"{self.name}";q={self.quota};w={WINDOW_SECONDS}'
        return reply.with_header("RateLimit", state).with_header("RateLimit-Policy", policy)


class HubServer(ServerGroup):
    """The site and its CDN; a context manager.

    Args:
        token: The only valid one.
        page_size: Entries on a page of the tree.

    Attributes:
        site: The server of the API and of `/resolve/`. A test scripts its faults by path.
        cdn: The server of files in LFS.
        repositories: By kind and name, as `models/owner/name`.
        renamed: The new name of each old one, as `owner/name`: requests are redirected.
        limits: The rate limits by name.
        sends_retry_after: Whether a 429 has that header too.
    """

    def __init__(self, *, token: str = "hf_fakeTokenOfTheTests", page_size: int = 1000) -> None:
        self.token, self.page_size = token, page_size
        self.cdn = CDN()
        self.site = FaultyServer(self._answer)
        self.repositories: dict[str, Repository] = {}
        self.renamed: dict[str, str] = {}
        self.limits = {name: RateLimit(name, quota) for name, quota in QUOTAS.items()}
        self.sends_retry_after = False

    def servers(self) -> Sequence[FaultyServer]:
        """See ServerGroup."""
        return [self.cdn, self.site]

    @property
    def url(self) -> str:
        """The endpoint, as for HF_ENDPOINT."""
        return self.site.url("")

    @property
    def requests(self) -> list[SeenRequest]:
        """The requests to the site; `cdn.requests` has the others."""
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
        """Add a commit to a repository, and return its ID.

        Args:
            name: `owner/name`, or one word.
            files: All files of the commit.
            branch: The branch or tag that names it from now on.
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

    def _answer(self, exchange: Exchange) -> Reply:
        parts = exchange.request.target.partition("?")[0].split("/")[1:]
        if parts[:2] == ["api", "resolve-cache"]:  # it counts against no limit
            return honest.dated(self._from_cache(exchange))
        limit = self.limits["api" if parts[0] == "api" else "resolvers"]
        limit.look()
        if not limit.left:
            reply = Reply(status=429).with_body(b'{"error":"We had to rate limit you"}')
            if self.sends_retry_after:
                reply = reply.with_header("Retry-After", str(limit.reset_seconds))
            return honest.dated(limit.announced(reply))
        limit.left -= 1
        for old, new in self.renamed.items():
            if f"/{old}/" in (target := exchange.request.target):
                reply = Reply(status=307).with_body(b"Temporary Redirect")
                there = target.replace(f"/{old}/", f"/{new}/", 1)
                return honest.dated(limit.announced(reply.with_header("Location", there)))
        reply = self._of_api(exchange, parts[1:]) if parts[0] == "api" else self._resolve(exchange)
        return honest.dated(limit.announced(reply))

    def _of_api(self, exchange: Exchange, parts: list[str]) -> Reply:
        """Answer `/api/KIND/NAME`, with `/revision/REVISION` or `/tree/REVISION` behind it."""
        kind, *rest = map(unquote, parts)
        question = next((each for each in ("revision", "tree") if each in rest), "")
        at = rest.index(question) if question else len(rest)
        found = self._opened(exchange, f"{kind}/{'/'.join(rest[:at])}", for_files=False)
        if isinstance(found, Reply):
            return found
        revision = rest[at + 1] if question else "main"
        commit = found.refs.get(revision, revision)
        if commit not in found.commits:
            return refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        if question == "tree":
            return self._page(exchange, found.commits[commit])
        return as_json(
            {
                "id": "/".join(rest[:at]),
                "sha": commit,
                "siblings": [{"rfilename": path} for path in found.commits[commit]],
                "private": found.is_private,
                "gated": "auto" if found.is_gated else False,
            }
        )

    def _page(self, exchange: Exchange, files: Mapping[str, bytes]) -> Reply:
        folders = {path.rpartition("/")[0] for path in files} - {""}
        entries: list[dict[str, object]] = [
            {"type": "directory", "oid": "0" * 40, "size": 0, "path": each}
            for each in sorted(folders)
        ]
        entries += [tree_entry(path, content) for path, content in files.items()]
        start = int(dict(exchange.request.query).get("cursor", "0"))
        stop = start + self.page_size
        reply = as_json(entries[start:stop])
        if stop < len(entries):
            here = self.site.url(exchange.request.path)
            following = f"<{here}?recursive=true&expand=false&cursor={stop}>"
            reply = reply.with_header("Link", f'{following}; rel="next"')
        return reply

    def _resolve(self, exchange: Exchange) -> Reply:
        """Answer `/[datasets/|spaces/]NAME/resolve/REVISION/PATH`."""
        target = exchange.request.target.partition("?")[0]
        place, _, rest = target.removeprefix("/").partition("/resolve/")
        revision, _, path = map(unquote, rest.partition("/"))
        folder = next(each for each in sorted(FOLDERS.values())[::-1] if place.startswith(each))
        kind = next(kind for kind, each in FOLDERS.items() if each == folder)
        name = unquote(place.removeprefix(folder))
        found = self._opened(exchange, f"{kind}/{name}")
        if isinstance(found, Reply):
            return found
        commit = found.refs.get(revision, revision)
        if commit not in found.commits:
            return refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        content = found.commits[commit].get(path)
        if content is None:
            reply = refused(404, "EntryNotFound", "Entry not found")
        elif path.endswith(LARGE_SUFFIXES):
            reply = self._linked(content)
        elif found.is_gated or found.is_private or not content or "/" not in name:
            reply = file_reply(exchange, content)
        else:
            cached = f"/api/resolve-cache/{kind}/{name}/{commit}/{quote(path)}"
            query = f"{quote(exchange.request.path, safe='')}=&etag=%22{git_sha1(content)}%22"
            reply = Reply(status=307).with_body(b"Temporary Redirect")
            reply = reply.with_header("Location", f"{cached}?{query}")
        return reply.with_header("X-Repo-Commit", commit)

    def _linked(self, content: bytes) -> Reply:
        """Return the redirect to a file in LFS; no other reply has its digest."""
        sha256 = hashlib.sha256(content).hexdigest()
        reply = Reply(status=302).with_body(b"Found. Redirecting")
        reply = reply.with_header("Location", self.cdn.sign(sha256, content))
        reply = reply.with_header("X-Linked-Etag", f'"{sha256}"')
        return reply.with_header("X-Linked-Size", str(len(content)))

    def _from_cache(self, exchange: Exchange) -> Reply:
        kind, owner, name, commit, *path = exchange.request.path.split("/")[3:]
        content = self.repositories[f"{kind}/{owner}/{name}"].commits[commit]["/".join(path)]
        return file_reply(exchange, content).with_header("X-Repo-Commit", commit)

    def _opened(
        self, exchange: Exchange, name: str, *, for_files: bool = True
    ) -> Repository | Reply:
        """Return the repository, or why the client may not see it."""
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
    sha256 = hashlib.sha256(content).hexdigest()
    lfs = {"oid": sha256, "size": len(content), "pointerSize": len(small)}
    return {**entry, "oid": git_sha1(small), "lfs": lfs}


def file_reply(exchange: Exchange, content: bytes) -> Reply:
    """Return a file that is not in LFS: compressed, and whole, if the client accepts gzip."""
    if "gzip" in exchange.request.headers.get("Accept-Encoding", "") and content:
        reply = Reply(status=200).with_body(gzip.compress(content))
        return reply.with_header("Content-Encoding", "gzip")
    resource = Resource(body=as_body(content), etag=f'"{git_sha1(content)}"')
    return honest.selected(exchange, resource)


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
