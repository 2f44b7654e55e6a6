"""The CDN behind the Hub: one more origin, with signed links in the manner of CloudFront."""

import hashlib
from dataclasses import dataclass
from threading import Lock
from urllib.parse import urlencode

from tests.servers import honest
from tests.servers.body import as_body
from tests.servers.exchange import Exchange, Resource, SeenRequest
from tests.servers.faulty import FaultyServer
from tests.servers.reply import Reply


@dataclass(kw_only=True)
class Link:
    """A signed link."""

    content: bytes
    is_expired: bool = False


class CDN(FaultyServer):
    """The CDN, on a port of its own.

    Attributes:
        refuses_next: So many coming requests are refused as one edge did with links it had not
            heard of: 403, although the link is new.
        refuses_without_range: Whether it answers 400 without Range, as it does for huge files.
    """

    def __init__(self) -> None:
        super().__init__(self._answered)
        self._links: dict[str, Link] = {}
        self._links_lock = Lock()
        self.refuses_next = 0
        self.refuses_without_range = False

    @property
    def with_credentials(self) -> list[SeenRequest]:
        """The requests that carried an Authorization header: there may be none."""
        return [seen for seen in self.requests if "Authorization" in seen.headers]

    def sign(self, name: str, content: bytes) -> str:
        """Return a new signed URL of these bytes."""
        with self._links_lock:
            signature = hashlib.sha256(f"{name} {len(self._links)}".encode()).hexdigest()
            self._links[signature] = Link(content=content)
        query = {"Expires": "1790000000", "Policy": "e30_", "Key-Pair-Id": "K1FAKE"}
        return (
            f"{self.url(f'/xet-bridge-us/{name}')}?{urlencode({**query, 'Signature': signature})}"
        )

    def expire_links(self) -> None:
        """End every link given out so far."""
        with self._links_lock:
            for link in self._links.values():
                link.is_expired = True

    def _answered(self, exchange: Exchange) -> Reply:
        request = exchange.request
        if "Authorization" in request.headers:
            return honest.dated(Reply(status=400).with_body(b"only one way to authenticate"))
        with self._links_lock:
            link = self._links.get(dict(request.query).get("Signature", ""))
            is_refused = self.refuses_next > 0
            self.refuses_next -= is_refused
        if link is None or is_refused:
            said = b"Auth failed: SignatureError: invalid key pair id"
            return honest.dated(Reply(status=403).with_body(said))
        if link.is_expired:
            said = b"<Error><Code>AccessDenied</Code><Message>Access denied</Message></Error>"
            reply = Reply(status=403).with_body(said)
            return honest.dated(reply.with_header("Content-Type", "application/xml"))
        if self.refuses_without_range and "Range" not in request.headers:
            return honest.dated(Reply(status=400).with_body(b"use Range for files of this size"))
        etag = hashlib.sha256(b"another digest of " + link.content).hexdigest()
        resource = Resource(body=as_body(link.content), etag=f'"{etag}"')
        return honest.answer(Exchange(request=request, resource=resource, answer=exchange.answer))
