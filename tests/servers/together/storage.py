"""The object store behind the API: one more origin, with presigned links in the manner of S3.

A link is good for GET alone and until it expires; a request that brings another credential is
refused, as S3 does ("Only one auth mechanism allowed").
"""

import hashlib
from dataclasses import dataclass
from threading import Lock
from urllib.parse import quote, urlencode

from tests.servers.exchange import Exchange, SeenRequest
from tests.servers.faulty import FaultyServer
from tests.servers.honest import dated
from tests.servers.reply import Reply
from tests.servers.together.delivery import Delivery, Options

SIGNATURE = "X-Amz-Signature"
EXPIRES_SECONDS = "3600"


@dataclass(kw_only=True)
class Link:
    """A presigned link: what it gives, and how often it still does."""

    path: str
    content: bytes
    uses_left: int | None
    is_expired: bool = False

    def use(self) -> bool:
        """Take one use; return whether the link was still good."""
        if self.is_expired or self.uses_left == 0:
            return False
        if self.uses_left is not None:
            self.uses_left -= 1
        return True


class Storage(FaultyServer):
    """The store, on a port of its own; its `requests` show what reached it."""

    def __init__(self, options: Options, delivery: Delivery) -> None:
        super().__init__(self._answered)
        self._options = options
        self._delivery = delivery
        self._links: dict[str, Link] = {}
        self._links_lock = Lock()

    @property
    def with_credentials(self) -> list[SeenRequest]:
        """The requests that carried an Authorization header: a client that follows C8 has none."""
        return [seen for seen in self.requests if "Authorization" in seen.headers]

    def sign(self, path: str, content: bytes) -> str:
        """Return a new presigned URL of these bytes."""
        with self._links_lock:
            signature = hashlib.sha256(f"{path} {len(self._links)}".encode()).hexdigest()
            uses = self._options.link_uses
            self._links[signature] = Link(path=path, content=content, uses_left=uses)
        query = {
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-Credential": "AKIDEXAMPLE/20250924/us-west-2/s3/aws4_request",
            "X-Amz-Date": "20250924T231412Z",
            "X-Amz-Expires": EXPIRES_SECONDS,
            "X-Amz-SignedHeaders": "host",
            SIGNATURE: signature,
        }
        return f"{self.url(quote(path))}?{urlencode(query)}"

    def expire_links(self) -> None:
        """End every link given out so far."""
        with self._links_lock:
            for link in self._links.values():
                link.is_expired = True

    def _answered(self, exchange: Exchange) -> Reply:
        request = exchange.request
        if "Authorization" in request.headers:
            return refused(400, "InvalidArgument", "Only one auth mechanism allowed")
        with self._links_lock:
            link = self._links.get(dict(request.query).get(SIGNATURE, ""))
            is_signed = link is not None and (request.method, request.path) == ("GET", link.path)
            is_good = link is not None and is_signed and link.use()
        if link is None or not is_signed:
            return refused(403, "SignatureDoesNotMatch", "The request signature does not match")
        if not is_good:
            return refused(403, "AccessDenied", "Request has expired")
        return self._delivery.reply(exchange, link.content)


def refused(status: int, code: str, message: str) -> Reply:
    """Return an error of S3: XML."""
    text = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{code}</Code><Message>{message}</Message>"
        f"<X-Amz-Expires>{EXPIRES_SECONDS}</X-Amz-Expires>"
        "<RequestId>0A1B2C3D4E5F</RequestId></Error>"
    )
    reply = Reply(status=status).with_body(text.encode())
    return dated(reply.with_header("Content-Type", "application/xml"))
