"""How an archive's bytes are served, by the API itself or by the storage behind it."""

from collections import deque
from dataclasses import dataclass, replace
from threading import Lock

from tests.servers import honest
from tests.servers.body import as_body
from tests.servers.exchange import Exchange, Fault, Resource
from tests.servers.faulty import strong_etag
from tests.servers.reply import Reply


@dataclass(kw_only=True)
class Options:
    """What the documents leave open, so that a test can have it both ways; may be changed later.

    Attributes:
        redirect: None: the API sends the bytes itself. 302, 307: it names a link to the storage.
        link_uses: How many requests a link is good for; None: until `expire_links`.
        ranges: Whether Range is obeyed; otherwise 200 and the whole archive.
        validators: Whether there are ETag and Last-Modified.
        content_type: `application/x-tar` makes both SDKs name the file `.tar.gz`.
    """

    redirect: int | None = None
    link_uses: int | None = None
    ranges: bool = True
    validators: bool = True
    content_type: str = "application/octet-stream"


class Delivery:
    """Serves archives; faults are scripted here, since one path of the API serves all of them."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._lock = Lock()
        self._faults: deque[Fault] = deque()

    def script(self, *faults: Fault) -> None:
        """Use one fault for each coming request for bytes, in order; then behave."""
        with self._lock:
            self._faults.extend(faults)

    def reply(self, exchange: Exchange, content: bytes) -> Reply:
        """Return the archive, or the part asked for, with the next fault if one is scripted."""
        body = as_body(content)
        headers = {"Content-Type": self._options.content_type}
        etag = strong_etag(body) if self._options.validators else None
        resource = Resource(body=body, etag=etag, headers=headers)
        exchange = replace(exchange, resource=resource, answer=self._served)
        reply = self._served(exchange)
        with self._lock:
            fault = self._faults.popleft() if self._faults else None
        return fault(exchange, reply) if fault else reply

    def _served(self, exchange: Exchange) -> Reply:
        if not self._options.ranges:
            exchange = exchange.with_headers({"Range": None})
        reply = honest.answer(exchange)
        reply = reply if self._options.ranges else reply.without("Accept-Ranges")
        return reply if self._options.validators else reply.without("Last-Modified")
