"""The CDN behind the Hub, on an origin of its own: signed links in the manner of CloudFront."""

import hashlib
from dataclasses import dataclass
from threading import Lock
from urllib.parse import urlencode

from tests.servers import honest
from tests.servers.body import as_body
from tests.servers.exchange import Exchange, Resource, SeenRequest
from tests.servers.faulty import FaultyServer
from tests.servers.reply import Reply

UNKNOWN_LINK = b"Auth failed: SignatureError: invalid key pair id"
"""What an edge says of a link that it does not know (yet)."""
EXPIRED_LINK = b"<Error><Code>AccessDenied</Code><Message>Access denied</Message></Error>"


@dataclass(kw_only=True)
class Link:
    """A signed link."""

    content: bytes
    is_expired: bool = False


class CDN(FaultyServer):
    """The CDN.

    Attributes:
        refusals_left: Refuse so many requests as unknown, although their links are new.
        refuses_without_range: Answer 400 to a request without Range, as for files over 400 GB.
    """

    def __init__(self) -> None:
        super().__init__(self._reply)
        self._links: dict[str, Link] = {}
        self._links_lock = Lock()
        self.refusals_left = 0
        self.refuses_without_range = False

    @property
    def with_credentials(self) -> list[SeenRequest]:
        """The requests that carried an Authorization header; there must be none."""
        return [seen for seen in self.requests if "Authorization" in seen.headers]

    def sign(self, name: str, content: bytes) -> str:
        """Return a new signed URL of these bytes."""
        with self._links_lock:
            signature = hashlib.sha256(f"{name} {len(self._links)}".encode()).hexdigest()
            self._links[signature] = Link(content=content)
        query = {"Expires": "1790000000", "Policy": "e30_", "Key-Pair-Id": "K1FAKE"}
        signed = urlencode({**query, "Signature": signature})
        return f"{self.url(f'/xet-bridge-us/{name}')}?{signed}"

    def expire_links(self) -> None:
        """Let every link of so far expire."""
        with self._links_lock:
            for link in self._links.values():
                link.is_expired = True

    def _reply(self, exchange: Exchange) -> Reply:
        request = exchange.request
        if "Authorization" in request.headers:
            return honest.dated(Reply(status=400).with_body(b"only one way to authenticate"))
        with self._links_lock:
            link = self._links.get(dict(request.query).get("Signature", ""))
            is_refused = self.refusals_left > 0
            self.refusals_left -= is_refused
        if link is None or is_refused:
            return honest.dated(Reply(status=403).with_body(UNKNOWN_LINK))
        if link.is_expired:
            reply = Reply(status=403).with_body(EXPIRED_LINK)
            return honest.dated(reply.with_header("Content-Type", "application/xml"))
        if self.refuses_without_range and "Range" not in request.headers:
            return honest.dated(Reply(status=400).with_body(b"use Range for files of this size"))
        etag = hashlib.sha256(b"not the digest of " + link.content).hexdigest()
        resource = Resource(body=as_body(link.content), etag=f'"{etag}"')
        return honest.answer(Exchange(request=request, resource=resource, answer=exchange.answer))
