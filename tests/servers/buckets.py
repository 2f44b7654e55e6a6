"""The fake of Amazon S3 that a test starts, for what no server that we can install does.

    with S3Server() as s3:
        s3.put("models/a.bin", b"weights")
        s3.client_environment  # AWS_ENDPOINT_URL and the rest

It has one bucket, `bucket`, and checks signed URLs as S3 does: signature, region and age, each with
S3's own code and status (Amazon S3 API reference, "Error responses" and "Authenticating requests:
using query parameters"). Its clock, its region and whether it knows versions can be set. It is
checked by boto3 and by obstore (test_object_stores.py).
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from urllib.parse import quote
from xml.sax.saxutils import escape

from tests.servers import honest
from tests.servers.body import as_body
from tests.servers.exchange import Exchange, Resource, SeenRequest
from tests.servers.faulty import FaultyServer
from tests.servers.group import ServerGroup
from tests.servers.reply import Reply

BUCKET = "bucket"
KEY, SECRET = "AKIAFAKEOFTHETESTS01", "secret/of+the=tests, which is long"
SKEW = timedelta(minutes=15)
PAGE = 1000


@dataclass(frozen=True, kw_only=True)
class Version:
    """One version of an object."""

    number: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def etag(self) -> str:
        """Its ETag: the MD5, as of an upload in one part."""
        return f'"{hashlib.md5(self.body).hexdigest()}"'


class S3Server(ServerGroup):
    """S3 with one bucket; a context manager.

    Args:
        is_public: Whether anybody may read and list it.
        page_size: Objects on a page of the list.

    Attributes:
        site: The server; a test scripts its faults by path.
        versions: Of each key, oldest first; an empty list is a deleted object.
        is_versioned: Whether it tells versions.
        region: Where the bucket is; another one in a signature is refused.
        is_elsewhere: Whether the region is told by a redirect that leads nowhere.
        clock: By how much its clock is ahead.
        denied: Keys that may not be read.
        denies_versions: Whether s3:GetObjectVersion is missing: a version may not be asked for.
        ignores_conditions: Whether If-Match is not heeded, as by some that speak like S3.
        worn: Signatures that hold no longer, as if their credentials had ended.
    """

    def __init__(self, *, is_public: bool = False, page_size: int = PAGE) -> None:
        self.is_public, self.page_size = is_public, page_size
        self.site = FaultyServer(self._answer)
        self.versions: dict[str, list[Version]] = {}
        self.is_versioned = self.is_elsewhere = False
        self.region, self.clock = "us-east-1", timedelta()
        self.worn: set[str] = set()
        self.denied: set[str] = set()
        self.denies_versions = self.ignores_conditions = False

    def servers(self) -> Sequence[FaultyServer]:
        """See ServerGroup."""
        return [self.site]

    @property
    def url(self) -> str:
        """The endpoint."""
        return self.site.url("")

    @property
    def requests(self) -> list[SeenRequest]:
        """What was asked."""
        return self.site.requests

    @property
    def signatures(self) -> set[str]:
        """Every signature that was sent."""
        return {dict(each.query).get("X-Amz-Signature", "") for each in self.requests} - {""}

    @property
    def environment(self) -> dict[str, str]:
        """The variables of Amazon's tools, with a key that may read the bucket."""
        keys = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
        return {**keys, "AWS_ENDPOINT_URL": self.url}

    def put(self, key: str, body: bytes, **headers: str) -> Version:
        """Add a version of an object, with headers of its own (`_` for `-`)."""
        own = {name.replace("_", "-"): value for name, value in headers.items()}
        number = f"v{sum(map(len, self.versions.values())) + 1:04}"
        version = Version(number=number, body=body, headers=own)
        self.versions.setdefault(key, []).append(version)
        return version

    def put_summed(self, key: str, body: bytes) -> Version:
        """Add one whose SHA-256 S3 keeps."""
        digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
        own = {"x_amz_checksum_sha256": digest, "x_amz_checksum_type": "FULL_OBJECT"}
        return self.put(key, body, **own)

    def _answer(self, exchange: Exchange) -> Reply:
        now = datetime.now(UTC) + self.clock
        reply = self._found(exchange, now)
        return reply.with_header("Date", format_datetime(now, usegmt=True))

    def _found(self, exchange: Exchange, now: datetime) -> Reply:
        request = exchange.request
        query = dict(request.query)
        _, bucket, *rest = request.path.split("/", 2)
        key = rest[0] if rest else ""
        if bucket != BUCKET:
            return refused(404, "NoSuchBucket", "The specified bucket does not exist")
        if self.is_elsewhere:
            reply = refused(301, "PermanentRedirect", "The bucket must be addressed elsewhere.")
            return reply.with_header("x-amz-bucket-region", self.region)
        if problem := self._problem(request, query, now):
            return problem
        if not key:
            return self._list(query)
        return self._object(exchange, key, query)

    def _problem(  # noqa: PLR0911 - a refusal each
        self, request: SeenRequest, query: Mapping[str, str], now: datetime
    ) -> Reply | None:
        """Return why the request may not be answered, if it may not."""
        if "Authorization" in request.headers:
            return None  # obstore's and boto3's own requests; SeaweedFS checks those
        if "X-Amz-Signature" not in query:
            denied = refused(403, "AccessDenied", "Access Denied")
            return None if self.is_public else denied
        key, day, region, *_ = query["X-Amz-Credential"].split("/")
        made = datetime.strptime(query["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        if key != KEY:
            return refused(403, "InvalidAccessKeyId", "The AWS Access Key Id does not exist")
        if region != self.region:
            text = f"the region '{region}' is wrong; expecting '{self.region}'"
            code = "AuthorizationQueryParametersError"
            return refused(400, code, text, Region=self.region)
        if made > now + SKEW:
            return refused(403, "AccessDenied", "Request is not yet valid")
        until = made + timedelta(seconds=int(query["X-Amz-Expires"]))
        if now > until or query["X-Amz-Signature"] in self.worn:
            return refused(403, "AccessDenied", "Request has expired", Expires=until.isoformat())
        host, path = request.headers["Host"], request.target.partition("?")[0]
        if signature(host, path, query, day, region) != query["X-Amz-Signature"]:
            return refused(403, "SignatureDoesNotMatch", "The signature does not match")
        unsigned = {name.lower() for name in request.headers if name.lower().startswith("x-amz-")}
        if unsigned:
            return refused(403, "AccessDenied", "There were headers which were not signed")
        return None

    def _list(self, query: Mapping[str, str]) -> Reply:
        """Answer ListObjectsV2."""
        start, prefix = query.get("continuation-token", ""), query.get("prefix", "")
        keys = [key for key in sorted(self.versions) if self.versions[key]]
        keys = [key for key in keys if key.startswith(prefix) and key >= start]
        shown, following = keys[: self.page_size], keys[self.page_size :]
        texts = [self._entry(key, self.versions[key][-1]) for key in shown]
        texts.append(f"<IsTruncated>{str(bool(following)).lower()}</IsTruncated>")
        if following:
            token = escape(following[0])
            texts.append(f"<NextContinuationToken>{token}</NextContinuationToken>")
        return as_xml(
            200,
            '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<Name>{BUCKET}</Name>{''.join(texts)}</ListBucketResult>",
        )

    def _entry(self, key: str, version: Version) -> str:
        return (
            f"<Contents><Key>{escape(key)}</Key><ETag>{escape(version.etag)}</ETag>"
            f"<LastModified>2026-11-29T12:00:00.000Z</LastModified>"
            f"<Size>{len(version.body)}</Size><StorageClass>STANDARD</StorageClass></Contents>"
        )

    def _object(self, exchange: Exchange, key: str, query: Mapping[str, str]) -> Reply:
        found = self.versions.get(key, [])
        if number := query.get("versionId"):
            found = [each for each in found if each.number == number]
        if key in self.denied or (number and self.denies_versions):
            return refused(403, "AccessDenied", "Access Denied")
        if not found:
            code = "NoSuchVersion" if number else "NoSuchKey"
            return refused(404, code, "The specified key does not exist.")
        version, headers = found[-1], exchange.request.headers
        is_ranged = "Range" in headers
        asked = headers.get("x-amz-checksum-mode", query.get("x-amz-checksum-mode"))
        own = dict(version.headers)
        if asked != "ENABLED" or is_ranged:
            own = {name: own[name] for name in own if not name.startswith("x-amz-checksum")}
        if self.is_versioned:
            own["x-amz-version-id"] = version.number
        resource = Resource(body=as_body(version.body), etag=version.etag, headers=own)
        exchange = replace(exchange, resource=resource)
        refusal = None if self.ignores_conditions else honest.precondition(exchange, resource)
        if refusal and refusal.status == 412:
            return refused(412, "PreconditionFailed", "At least one did not hold")
        return refusal or honest.selected(exchange, resource)


def signature(host: str, path: str, query: Mapping[str, str], day: str, region: str) -> str:
    """Return the signature that a signed GET must have (AWS Signature Version 4)."""
    pairs = sorted((key, value) for key, value in query.items() if key != "X-Amz-Signature")
    canonical = "&".join(f"{quote(key, safe='~')}={quote(value, safe='~')}" for key, value in pairs)
    text = f"GET\n{path}\n{canonical}\nhost:{host}\n\nhost\nUNSIGNED-PAYLOAD"
    scope = f"{day}/{region}/s3/aws4_request"
    digest = hashlib.sha256(text.encode()).hexdigest()
    wanted = f"AWS4-HMAC-SHA256\n{query['X-Amz-Date']}\n{scope}\n{digest}"
    key = f"AWS4{SECRET}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, wanted.encode(), "sha256").hex()


def refused(status: int, code: str, message: str, **more: str) -> Reply:
    """Return one of S3's errors."""
    texts = {"Code": code, "Message": message, **more, "RequestId": "4442587FB7D0A2F9"}
    body = "".join(f"<{name}>{escape(text)}</{name}>" for name, text in texts.items())
    return as_xml(status, f"<Error>{body}</Error>")


def as_xml(status: int, text: str) -> Reply:
    """Return a reply with an XML document."""
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n{text}'.encode()
    return Reply(status=status).with_body(body).with_header("Content-Type", "application/xml")
