"""The dialect Azure Blob Storage speaks to a client that sends no `x-ms-version`: 2009-09-19.

ETags have no quotes, Accept-Ranges is missing, and a range must have both ends (open ones came
with version 2011-08-18: "Specifying the Range header for Blob service operations"). If-Range is
not looked at; x-ms-range goes before Range. A client that asks for a newer version gets the newer
dialect, as from the real service.

    with azure_2009(open_range_status=400) as server: ...
"""

import base64
import hashlib
import re
from dataclasses import dataclass, replace

from tests.servers import honest
from tests.servers.body import Body, pieces
from tests.servers.exchange import Exchange, Fault
from tests.servers.faulty import FaultyServer
from tests.servers.reply import Reply

OLD_VERSION = "2009-09-19"
OPEN_RANGES_SINCE = "2011-08-18"
REQUEST_ID = "6a1b2c3d-001e-0042-3f4e-a1b2c3000000"
_CLOSED_RANGE = re.compile(r"bytes=\d+-\d+", re.IGNORECASE)

MESSAGES = {
    "BlobNotFound": "The specified blob does not exist.",
    "ConditionNotMet": "The condition specified using HTTP conditional header(s) is not met.",
    "InvalidRange": "The range specified is invalid for the current size of the resource.",
    "InvalidHeaderValue": "The value for one of the HTTP headers is not in the correct format.",
    "ServerBusy": "The server is busy.",
    "PublicAccessNotPermitted": "Public access is not permitted on this storage account.",
}
CODES = {404: "BlobNotFound", 412: "ConditionNotMet", 416: "InvalidRange"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Azure2009:
    """The dialect, as an answer for FaultyServer.

    Args:
        stored_md5: Whether blobs carry an MD5: Put Blob stores one, Put Block List does not.
        open_range_status: How `bytes=N-` is refused: 400 or 416.
    """

    stored_md5: bool = True
    open_range_status: int = 416

    def __call__(self, exchange: Exchange) -> Reply:
        """Return the reply of a blob service."""
        headers = exchange.request.headers
        wanted = headers.get("x-ms-range", headers.get("Range"))
        is_old = headers.get("x-ms-version", OLD_VERSION) < OPEN_RANGES_SINCE
        if is_old and wanted and not _CLOSED_RANGE.fullmatch(wanted) and exchange.resource:
            code = "InvalidRange" if self.open_range_status == 416 else "InvalidHeaderValue"
            return marked(error(self.open_range_status, code), exchange)
        asked = exchange.with_headers({"Range": wanted, "If-Range": None})
        reply = self._described(honest.answer(unquoting(asked) if is_old else asked), exchange)
        return marked(reply.without("Accept-Ranges") if is_old else reply, exchange)

    def _described(self, reply: Reply, exchange: Exchange) -> Reply:
        """Return the reply with Azure's error body, or the MD5 of the whole blob."""
        if reply.status in CODES:
            told = error(reply.status, CODES[reply.status])
            kept = reply.header("Content-Range")
            return told.with_header("Content-Range", kept) if kept else told
        if exchange.resource is None or not self.stored_md5:
            return reply
        name = {200: "Content-MD5", 206: "x-ms-blob-content-md5"}.get(reply.status)
        return reply.with_header(name, content_md5(exchange.resource.body)) if name else reply


def azure_2009(*, stored_md5: bool = True, open_range_status: int = 416) -> FaultyServer:
    """Return a server of this dialect; faults are scripted on it as on any other."""
    return FaultyServer(Azure2009(stored_md5=stored_md5, open_range_status=open_range_status))


def unquoting(exchange: Exchange) -> Exchange:
    """Return the exchange with the quotes taken off the ETag, stored and sent."""
    resource = exchange.resource
    if resource is not None and resource.etag is not None:
        bare_resource = replace(resource, etag=resource.etag.strip('"'))
        exchange = replace(exchange, resource=bare_resource)
    sent = {name: exchange.request.headers.get(name) for name in ("If-Match", "If-None-Match")}
    bare = {name: value.replace('"', "") if value else value for name, value in sent.items()}
    return exchange.with_headers(bare)


def marked(reply: Reply, exchange: Exchange) -> Reply:
    """Return the reply with what Azure says of itself on every one."""
    fields = {
        "Server": "Windows-Azure-Blob/1.0 Microsoft-HTTPAPI/2.0",
        "x-ms-request-id": REQUEST_ID,
        "x-ms-version": exchange.request.headers.get("x-ms-version", OLD_VERSION),
    }
    if reply.status in (200, 206):
        fields |= {"x-ms-lease-status": "unlocked", "x-ms-blob-type": "BlockBlob"}
    for name, value in fields.items():
        reply = reply.with_header(name, value)
    return reply


def error(status: int, code: str) -> Reply:
    """Return an error of the blob service: XML, and its code in a header."""
    text = (
        '\ufeff<?xml version="1.0" encoding="utf-8"?>'
        f"<Error><Code>{code}</Code><Message>{MESSAGES.get(code, code)}\n"
        f"RequestId:{REQUEST_ID}\nTime:2021-02-18T20:31:13.0000000Z</Message></Error>"
    )
    reply = Reply(status=status).with_body(text.encode()).with_header("x-ms-error-code", code)
    return honest.dated(reply.with_header("Content-Type", "application/xml"))


def refusal(status: int, code: str) -> Fault:
    """Return a fault: an error of Azure's, for example (409, "PublicAccessNotPermitted")."""
    return lambda exchange, _: marked(error(status, code), exchange)


def content_md5(body: Body) -> str:
    """Return the MD5 of a body in base64, as Content-MD5 has it (RFC 1864)."""
    md5 = hashlib.md5(usedforsecurity=False)
    for piece in pieces(body):
        md5.update(piece)
    return base64.b64encode(md5.digest()).decode()
