"""The fake of a registry with a token service and a storage server: what docker-registry cannot do.

with FakeRegistry() as registry:
    registry.push("team/model", "v1", {"model.gguf": b"weights"})
    registry.requires_token(uses=3, users={"ada": "secret"})
    registry.redirects = True

A token is good for so many requests and then refused, as one whose time is over. Storage has its
own origin and its links are signed; it refuses every request with an Authorization header.
"""

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Any, Self

from tests.servers import honest
from tests.servers.body import as_body
from tests.servers.exchange import Exchange, Resource, SeenRequest
from tests.servers.faulty import FaultyServer
from tests.servers.group import ServerGroup
from tests.servers.hub.cdn import CDN
from tests.servers.registry import MANIFEST
from tests.servers.reply import Reply

TITLE = "org.opencontainers.image.title"
PATH = re.compile(r"/v2/(?P<name>.+)/(?P<kind>manifests|blobs)/(?P<reference>[^/]+)")


def digest_of(content: bytes) -> str:
    """Return a digest as manifests write it."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def manifest_of(layers: list[dict[str, Any]], **top: Any) -> bytes:
    """Return a manifest with these descriptors."""
    config = {
        "mediaType": "application/vnd.oci.empty.v1+json",
        "size": 2,
        "digest": digest_of(b"{}"),
    }
    fields = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers, **top}
    return json.dumps(fields).encode()


def layer(content: bytes, title: str | None = None, **fields: Any) -> dict[str, Any]:
    """Return the descriptor of a file."""
    kind = "application/octet-stream"
    found = {"mediaType": kind, "digest": digest_of(content), "size": len(content), **fields}
    return found if title is None else {**found, "annotations": {TITLE: title}}


class FakeRegistry(ServerGroup):
    """The registry, its token service and its storage; a context manager.

    Attributes:
        api: The registry itself. A test scripts its faults by path.
        service: The token service, on an origin of its own.
        storage: The storage server.
        redirects: Whether blobs are a 307 to storage.
        realm: What a 401 names; the token service unless a test says otherwise.
        manifests: By repository and tag or digest.
        blobs: By digest.
        issued: The tokens that were given.
    """

    def __init__(self) -> None:
        self.api, self.storage = FaultyServer(self._answer), CDN()
        self.service = FaultyServer(self._give_token)
        self.redirects = False
        self.manifests: dict[tuple[str, str], tuple[str, bytes]] = {}
        self.blobs = {digest_of(b"{}"): b"{}"}
        self.issued: list[str] = []
        self._uses_left: dict[str, int] = {}
        self._uses: int | None = None
        self._users: Mapping[str, str] | None = None
        self._lock = Lock()
        self.challenge = "Bearer"

    def servers(self) -> Sequence[FaultyServer]:
        """See ServerGroup."""
        return [self.api, self.service, self.storage]

    def __enter__(self) -> Self:
        super().__enter__()
        self.realm = self.service.url("/token")
        return self

    @property
    def name(self) -> str:
        """What images call it."""
        return f"127.0.0.1:{self.api.port}"

    @property
    def requests(self) -> list[SeenRequest]:
        """The requests to the registry itself."""
        return self.api.requests

    def requires_token(self, *, uses: int, users: Mapping[str, str] | None = None) -> None:
        """Refuse what has no token.

        Args:
            uses: How many requests each token is good for.
            users: Passwords by name; None: anybody gets a token.
        """
        self._uses, self._users = uses, users

    def put(self, repository: str, reference: str, manifest: bytes, kind: str = MANIFEST) -> str:
        """Put a manifest under a tag, or a digest; return its digest."""
        digest = digest_of(manifest)
        for name in (reference, digest):
            self.manifests[repository, name] = kind, manifest
        return digest

    def push(self, repository: str, tag: str, files: Mapping[str, bytes]) -> str:
        """Put an artifact with these files, as ORAS does; return its digest."""
        for content in files.values():
            self.blobs[digest_of(content)] = content
        layers = [layer(content, title) for title, content in files.items()]
        return self.put(repository, tag, manifest_of(layers))

    def _answer(self, exchange: Exchange) -> Reply:
        if self._uses is not None and not self._is_allowed(exchange.request):
            return self._refused(exchange.request)
        if exchange.request.path == "/v2/":
            return honest.dated(Reply(status=200).with_body(b"{}"))
        found = PATH.fullmatch(exchange.request.path)
        if found is None:
            return error(404, "UNSUPPORTED")
        name, kind, reference = found.groups()
        return self._manifest(name, reference) if kind == "manifests" else self._blob(exchange)

    def _manifest(self, name: str, reference: str) -> Reply:
        if not any(repository == name for repository, _ in self.manifests):
            return error(404, "NAME_UNKNOWN")
        if (name, reference) not in self.manifests:
            return error(404, "MANIFEST_UNKNOWN")
        media_type, manifest = self.manifests[name, reference]
        reply = Reply(status=200).with_body(manifest).with_header("Content-Type", media_type)
        return honest.dated(reply.with_header("Docker-Content-Digest", digest_of(manifest)))

    def _blob(self, exchange: Exchange) -> Reply:
        digest = exchange.request.path.rpartition("/")[2]
        content = self.blobs.get(digest)
        if content is None:
            return error(404, "BLOB_UNKNOWN")
        if self.redirects:
            place = self.storage.sign(digest.removeprefix("sha256:"), content)
            return honest.dated(Reply(status=307).with_body(b"").with_header("Location", place))
        resource = Resource(body=as_body(content), etag=f'"{digest}"')
        return honest.answer(
            Exchange(request=exchange.request, resource=resource, answer=exchange.answer)
        )

    def _is_allowed(self, request: SeenRequest) -> bool:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if self.challenge.startswith("Basic"):
            return scheme == "Basic" and self._knows(token)
        with self._lock:
            left = self._uses_left.get(token, 0) if scheme == "Bearer" else 0
            self._uses_left[token] = left - 1
            return left > 0

    def _refused(self, request: SeenRequest) -> Reply:
        found = PATH.fullmatch(request.path)
        scope = f',scope="repository:{found["name"]}:pull"' if found else ""
        asked = f'realm="{self.realm}",service="{self.name}"{scope},error="invalid_token"'
        if self.challenge.startswith("Basic"):
            asked = 'realm="a registry"'
        reply = error(401, "UNAUTHORIZED").with_header(
            "WWW-Authenticate", f"{self.challenge} {asked}"
        )
        return reply.with_header("Docker-Distribution-Api-Version", "registry/2.0")

    def _give_token(self, exchange: Exchange) -> Reply:
        query = dict(exchange.request.query)
        if exchange.request.path != "/token" or query.get("service") != self.name:
            return error(400, "UNSUPPORTED")
        scheme, _, pair = exchange.request.headers.get("Authorization", "").partition(" ")
        if self._users is not None and not (scheme == "Basic" and self._knows(pair)):
            return error(401, "UNAUTHORIZED")
        with self._lock:
            token = hashlib.sha256(f"token {self.name} {len(self.issued)}".encode()).hexdigest()
            self.issued.append(token)
            self._uses_left[token] = self._uses or 0
        answer = {"token": token, "expires_in": 60}
        reply = Reply(status=200).with_body(json.dumps(answer).encode())
        return honest.dated(reply.with_header("Content-Type", "application/json"))

    def _knows(self, pair: str) -> bool:
        user, _, password = base64.b64decode(pair).decode().partition(":")
        return (self._users or {}).get(user) == password


def error(status: int, code: str) -> Reply:
    """Return a refusal (distribution-spec: error codes)."""
    body = {"errors": [{"code": code, "message": code.lower().replace("_", " "), "detail": None}]}
    reply = Reply(status=status).with_body(json.dumps(body).encode())
    return honest.dated(reply.with_header("Content-Type", "application/json"))
