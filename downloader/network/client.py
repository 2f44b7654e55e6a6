"""Send one conditional GET and return a reply whose body can be read.

requests brings connection pools, TLS and proxies. What it would decide for us is decided here
instead: redirects hop by hop, no netrc, no cookies, no decoding, no environment look-up per call;
and how a connection is dialled. It would follow redirects by itself, but keeps custom headers
across hosts and lets netrc back in (curl CVE-2018-1000007, CVE-2022-27774; requests
CVE-2023-32681). The body is read from http.client's buffered socket (docs/decisions/0003).

Where redirects led before is remembered as long as it works: in memory only, for it may be a
signed URL.

Other packages import from here what they need to read a reply.
"""

import functools
import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import msgspec
import requests
import urllib3
from msgspec import structs
from msgspec.structs import replace
from requests.utils import get_environ_proxies

from downloader import __version__
from downloader.errors import (
    BadResponse,
    ConnectionLost,
    ModelmakeError,
    Offline,
    Stop,
    TransferError,
    shown,
)
from downloader.network._auth import Tokens
from downloader.network._connection import (
    CancellableAdapter,
    CancelScope,
    Deadline,
    Request,
    current_request,
    least_bytes,
)
from downloader.network._file import FileReply
from downloader.network._response import (
    Head,
    RateLimit,
    Reply,
    check_body_start,
    cut_short,
    excerpt,
    is_strong,
    page_in_place_of,
    used_up,
)
from downloader.network.failures import (
    FIRST_DELAY_SECONDS,
    Retries,
    RetryPolicy,
    note_credentials,
    translated,
)
from downloader.settings import Settings
from downloader.urls import (
    Bucket,
    Location,
    has_same_origin,
    host,
    is_loopback,
    is_public_address,
    join,
    origin,
    redact,
    request_target,
)

if TYPE_CHECKING:
    from downloader.network._signing import Signer

__all__ = [
    "CancelScope",
    "Client",
    "Head",
    "Reply",
    "check_body_start",
    "cut_short",
    "excerpt",
    "is_inside",
    "is_strong",
    "page_in_place_of",
]


REDIRECTS = frozenset({301, 302, 303, 307, 308})
MOST_HOPS = 10


class Hop(msgspec.Struct, frozen=True, kw_only=True):
    """One URL on the way to the bytes.

    Attributes:
        url: What to dial.
        headers: What the location wants there; empty once the way has left its origin.
        is_pinned: Whether a SHA-256 will verify the bytes, so that plain http may carry them.
        named_hosts: As in Location.
        number: How many redirects led here.
        cookie: The name of a cookie that one of them set; it is not sent back.
        outside: The public URL that led here, as it may be shown; empty if this hop may go to
            a private address.
    """

    url: str
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)
    is_pinned: bool
    named_hosts: frozenset[str] = frozenset()
    number: int = 0
    cookie: str = ""
    outside: str = ""

    def __repr__(self) -> str:
        """Show no header and no query: they may be credentials."""
        return f"Hop({redact(self.url)!r}, number={self.number})"

    @property
    def is_named(self) -> bool:
        """Whether models.yaml itself names this hop's host."""
        return host(self.url) in self.named_hosts

    @property
    def private_refusal(self) -> BadResponse | None:
        """What to raise if this hop leads to a private address; None if it may (SSRF)."""
        if not self.outside:
            return None
        return BadResponse(
            f"{self.outside} redirects to {shown(host(self.url))}, a private address.",
            hint="If you trust that host, name it in models.yaml as a mirror.",
        )


def first_hop(location: Location, *, is_pinned: bool) -> Hop:
    """Return the way's start.

    Raises:
        BadResponse: Its scheme may not carry these bytes.
    """
    hop = Hop(
        url=location.url,
        headers=location.headers,
        is_pinned=is_pinned,
        named_hosts=location.named_hosts | {host(location.url)},
        outside=location.outside,
    )
    _check_scheme(hop)
    if location.headers and urlsplit(hop.url).scheme == "http" and not is_loopback(host(hop.url)):
        return structs.replace(hop, headers={})  # plain http never carries a credential
    return hop


def next_hop(hop: Hop, target: str, *, cookie: str = "", is_inside: bool = False) -> Hop:
    """Return where the redirect's Location leads (RFC 9110 §10.2.2).

    Args:
        hop: The URL that answered with a redirect.
        target: Its Location header, decoded as Latin-1; empty when there was none.
        cookie: The name of a cookie that came along.
        is_inside: Whether it stands in a private network itself, so that it may lead there.

    Raises:
        BadResponse: There is no Location, the way is too long, goes from https to http, or leaves
            http altogether.
    """
    place = redact(hop.url)
    if not target:
        raise BadResponse(f"{place} answered with a redirect without a Location.")
    if hop.number >= MOST_HOPS:
        raise _loop(hop)
    url = _joined(hop.url, target)
    stays = has_same_origin(hop.url, url)
    following = structs.replace(
        hop,
        url=url,
        headers=hop.headers if stays else {},
        number=hop.number + 1,
        cookie=cookie or hop.cookie,
    )
    if urlsplit(hop.url).scheme == "https" and urlsplit(url).scheme == "http":
        raise BadResponse(f"{place} redirects from https to http, which is never followed.")
    _check_scheme(following)
    is_free = is_inside or following.is_named
    return structs.replace(following, outside="" if is_free else place)


def _loop(hop: Hop) -> BadResponse:
    """Return the error for a way that does not end; like curl, we keep no cookies on it."""
    place = redact(hop.url)
    if not hop.cookie:
        return BadResponse(f"{place} redirects more than {MOST_HOPS} times; this may be a loop.")
    cookie = shown(hop.cookie, 60, is_reply=True)
    return BadResponse(
        f"{place} redirects more than {MOST_HOPS} times. It sets the cookie '{cookie}', and "
        "modelmake sends no cookies.",
        hint="Use a direct link to the file, one that needs no log-in or consent in a browser.",
    )


def _joined(base: str, target: str) -> str:
    try:
        return join(base, target)
    except ValueError:
        raise BadResponse(f"{redact(base)} redirects to a broken URL.") from None


def _check_scheme(hop: Hop) -> None:
    try:
        scheme, name, _ = origin(hop.url)
    except ValueError:
        scheme = name = ""
    if not scheme or (scheme in ("http", "https") and not name):
        raise BadResponse("The URL is broken: it has no host.", hint="Use an https URL.")
    if scheme not in ("http", "https"):
        raise BadResponse(f"{shown(scheme, 60)}: URLs are not supported.", hint="Use an https URL.")
    if scheme == "http" and not is_loopback(name) and not hop.is_pinned:
        raise BadResponse(
            f"{redact(hop.url)} is plain http, and no SHA-256 is known for the file.",
            hint="Use https, or give the file's sha256 in models.yaml.",
        )


WORN = frozenset(
    {
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.GONE,
    }
)
"""What a storage server says to a signature that has expired: S3 400 or 403, R2 400, others 404."""

PAGE_TYPES = frozenset({"text/html", "application/xhtml+xml", "text/xml", "application/xml"})
MOST_REFUSALS = 2
"""After so many in a row a location's links are taken to be good for one request each."""


def is_worn(head: Head) -> bool:
    """Whether this is what a link that held before says when it holds no longer."""
    return head.status in WORN or (head.status == HTTPStatus.OK and is_page(head))


def is_page(head: Head) -> bool:
    """Whether the reply calls itself a page: a log-in or an error, hardly ever a file."""
    return head.first("Content-Type").partition(";")[0].strip().lower() in PAGE_TYPES


Key = tuple[str, bool]


class RedirectCache:
    """The last hop of a way, by its first one; safe to share between threads."""

    def __init__(self) -> None:
        self._ends: dict[Key, tuple[Hop, Hop]] = {}
        self._refusals: dict[Key, int] = {}
        self._changing = threading.Lock()

    def find(self, start: Hop) -> Hop | None:
        """Return where this way led, None if it is not known."""
        first, end = self._ends.get(_key(start), (None, None))
        return end if first == start else None  # with another credential it may lead elsewhere

    def learn(self, start: Hop, end: Hop) -> None:
        """Remember a way that led to bytes; one without redirects needs no memory."""
        if end.number and self._refusals.get(_key(start), 0) < MOST_REFUSALS:
            self._ends[_key(start)] = start, end

    def worked(self, start: Hop) -> None:
        """Note that what was remembered led to bytes again."""
        self._refusals.pop(_key(start), None)

    def forget(self, start: Hop, end: Hop) -> bool:
        """Ask for the way again next time.

        Args:
            start: Where it begins.
            end: Where it ended; another thread may have found a newer end meanwhile, which stays.

        Returns:
            Whether it was still the end that is remembered.
        """
        with self._changing:
            is_known = self._ends.get(_key(start)) == (start, end)
            if is_known:
                del self._ends[_key(start)]
            return is_known

    def refused(self, start: Hop, end: Hop) -> None:
        """Forget an end that is good no longer, and count that, once for all who tried it."""
        if self.forget(start, end):
            self._refusals[_key(start)] = self._refusals.get(_key(start), 0) + 1


def _key(start: Hop) -> Key:
    return start.url, start.is_pinned


USER_AGENT = f"modelmake/{__version__}"
POOL_SIZE = 32
FILE_STATUSES = (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT)
NO_HEADERS: Mapping[str, str] = {}
IDENTITY = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": USER_AGENT}


class Client:
    """A pool of kept-alive connections; safe to share between threads.

    Args:
        settings: The environment's wishes.
        stop: Ends everything when it is set.
    """

    def __init__(self, settings: Settings, stop: Stop | None = None) -> None:
        self.settings, self.stop = settings, stop or Stop()
        self._adapter = CancellableAdapter(POOL_SIZE, POOL_SIZE, max_retries=0)
        self._proxies: dict[tuple[str, str, int], Mapping[str, str]] = {}
        bundle = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
        self._verify: bool | str = bundle or True
        self._has_bundle = bundle is None or os.path.exists(bundle)  # noqa: PTH110
        self._shortcuts = RedirectCache()
        seconds = settings.timeout_seconds
        self._timeout = urllib3.Timeout(connect=seconds, read=seconds)
        self._tokens = Tokens()
        self._used_up: dict[tuple[tuple[str, str, int], str], tuple[RateLimit, float]] = {}
        self._scope = CancelScope()
        self._signer: Signer | None = None
        self._changing = threading.Lock()

    def open(
        self,
        location: Location,
        conditions: Mapping[str, str],
        *,
        is_pinned: bool,
        scope: CancelScope | None = None,
    ) -> Reply:
        """Send one GET, follow its redirects, and return the first reply that is none.

        Where redirects led before is asked directly as long as that works: a hub that leads each
        request to a storage server is asked once, not once a segment.

        Args:
            location: The URL, and the headers meant for its origin alone.
            conditions: Headers for every hop: Range and If-Match.
            is_pinned: Whether a SHA-256 will verify the bytes.
            scope: What else may cancel the request, beside `interrupt`.

        Raises:
            Interrupted: The run was stopped.
            TransferError: No reply came, or a redirect leads where it may not.
        """
        if location.mirror.startswith("file:"):
            self.stop.check()
            return FileReply(location, conditions)
        if location.bucket is not None:
            return self._open_signed(location, location.bucket, conditions, is_pinned, scope)
        if location.challenge is not None:
            location = replace(location, headers=self._tokens.headers(location))
        start = first_hop(location, is_pinned=is_pinned)
        scopes = (self._scope,) if scope is None else (self._scope, scope)
        known = self._shortcuts.find(start)
        if known is not None:
            reply = self._still_there(start, known, conditions, scopes)
            if reply is not None:
                return reply
        if location.rate_limit:
            self._check_rate_limit(location)
        end, reply = self._follow(start, conditions, scopes)
        if location.challenge is not None and reply.head.status == HTTPStatus.UNAUTHORIZED:

            def follow(hop: Hop) -> tuple[Hop, Reply]:
                return self._follow(hop, conditions, scopes)

            start, end, reply = self._authorized(location, start, (end, reply), follow, scopes)
        is_denied = reply.head.status == HTTPStatus.FORBIDDEN and end.number > 0
        if location.is_link_doubted and is_denied and not has_same_origin(start.url, end.url):
            # An edge that has not heard of a link yet refuses it; a new one may lead to another.
            reply.close()
            self.stop.wait(FIRST_DELAY_SECONDS)
            end, reply = self._follow(start, conditions, scopes)
        if reply.head.status in FILE_STATUSES and not is_page(reply.head):
            self._shortcuts.learn(start, end)
        return reply

    def _open_signed(
        self,
        location: Location,
        bucket: Bucket,
        conditions: Mapping[str, str],
        is_pinned: bool,  # noqa: FBT001 - as `open` has it
        scope: CancelScope | None,
    ) -> Reply:
        """Open a location in an object store; a signature that was used before may be worn."""
        signer = self._its_signer()
        request = signer.sign(location, bucket, conditions)
        reply = self.open(request.location, request.conditions, is_pinned=is_pinned, scope=scope)
        if request.is_kept and reply.head.status in WORN:
            reply.close()
            signer.forget(request)
            request = signer.sign(location, bucket, conditions)
            reply = self.open(
                request.location, request.conditions, is_pinned=is_pinned, scope=scope
            )
        reply.asked = request.location
        return reply

    def _its_signer(self) -> "Signer":
        from downloader.network._signing import Signer  # noqa: PLC0415 - few models are in one

        with self._changing:
            self._signer = self._signer or Signer()
        return self._signer

    def retries(
        self,
        waiting: Callable[[ModelmakeError, float, int, int], object],
        present: int = 0,
        most: int | None = None,
    ) -> Retries:
        """Return what tries again as patiently as the environment says; arguments as of Retries.

        `most` is the highest number of attempts without progress, if another place can be asked.
        """
        retries = self.settings.retries
        policy = RetryPolicy(
            retries if most is None else min(most, retries),
            self.settings.max_wait_seconds,
            self.settings.max_window_seconds,
        )
        least = least_bytes(self.settings.timeout_seconds)
        return Retries(policy, self.stop, waiting, present, least)

    def _check_rate_limit(self, location: Location) -> None:
        """Refuse to ask while the rate limit is used up that the request would count against.

        Raises:
            ServerBusy: With how long to wait.
        """
        limit, until = self._used_up.get((origin(location.url), location.rate_limit), (None, 0.0))
        left = until - time.monotonic()
        if limit is not None and left > 0:
            raise used_up(redact(location.url), limit, left, location.advice)

    def _note_rate_limit(self, url: str, head: Head) -> None:
        limit = head.rate_limit
        if limit is None:
            return
        if limit.wait_seconds is None:  # a new window began, or others gave requests back
            self._used_up.pop((origin(url), limit.name), None)
        else:
            until = time.monotonic() + limit.wait_seconds
            self._used_up[origin(url), limit.name] = limit, until

    def interrupt(self) -> None:
        """Stop the run: end every wait and request now, and let none begin."""
        self.stop.set()
        self._scope.cancel()

    def close(self) -> None:
        """Close every pooled connection."""
        for manager in (self._adapter.poolmanager, *self._adapter.proxy_manager.values()):
            for key in manager.pools.keys():  # noqa: SIM118 - urllib3's container is not iterable
                if pool := manager.pools.get(key):
                    pool.close()
        self._adapter.close()  # alone, it leaves open sockets to the garbage collector

    def _still_there(
        self, start: Hop, known: Hop, conditions: Mapping[str, str], scopes: tuple[CancelScope, ...]
    ) -> Reply | None:
        """Ask where the way led before; None if that has worn out.

        Raises:
            TransferError: No reply came; the next attempt asks for the way again.
        """
        try:
            _, reply = self._follow(known, conditions, scopes)
        except BadResponse:
            self._shortcuts.refused(start, known)
            return None
        except ConnectionLost:
            self._shortcuts.forget(start, known)
            return None
        except TransferError:
            self._shortcuts.forget(start, known)
            raise
        if is_worn(reply.head):
            self._shortcuts.refused(start, known)
            reply.close()
            return None
        if reply.head.status in FILE_STATUSES:
            self._shortcuts.worked(start)
        else:
            self._shortcuts.forget(start, known)
        return reply

    def _follow(
        self, hop: Hop, conditions: Mapping[str, str], scopes: tuple[CancelScope, ...]
    ) -> tuple[Hop, Reply]:
        """Return the way's last hop and its reply."""
        while True:
            reply = self._send("GET", hop, conditions, scopes)
            head = reply.head
            # S3 names another region by a redirect that leads nowhere.
            leads_nowhere = head.first("x-amz-bucket-region") and not head.first("Location")
            if head.status not in REDIRECTS or leads_nowhere:
                return hop, reply
            with reply:
                target = reply.head.first("Location")
                cookie = reply.head.first("Set-Cookie").partition("=")[0].strip()
                inside = is_inside(reply.url, reply.peer)
                hop = next_hop(hop, target, cookie=cookie, is_inside=inside)

    def send(
        self,
        method: str,
        location: Location,
        *,
        body: Callable[[], Iterable[bytes]] | bytes = b"",
        length: int | None = None,
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> Reply:
        """Send a request that may have a body, and return its reply, which may be a redirect.

        Args:
            method: Such as PUT.
            location: Where to. In a bucket of S3 or Azure, the request is signed.
            body: What to send; called again if the server asks for a log-in first.
            length: Of the body in bytes, if it is to be called for.
            headers: Further headers.

        Raises:
            Interrupted: The run was stopped.
            TransferError: No reply came.
            ModelmakeError: From `body`.
        """
        if location.challenge is not None:
            location = replace(location, headers=self._tokens.headers(location))
        is_signed = location.bucket is not None
        if location.bucket is not None:
            signer = self._its_signer()
            location, headers = signer.sign_write(method, location, location.bucket, headers)
        scopes = (self._scope,)
        if isinstance(body, bytes):
            length = len(body)
        own = {**headers, "Content-Length": str(length)} if method != "HEAD" else headers

        def once(hop: Hop) -> tuple[Hop, Reply]:
            sent = body if isinstance(body, bytes) else body()
            # Even an empty body would make requests send HEAD with Transfer-Encoding: chunked.
            return hop, self._send(method, hop, own, scopes, None if method == "HEAD" else sent)

        start, reply = once(first_hop(location, is_pinned=False))
        if location.challenge is not None and reply.head.status == HTTPStatus.UNAUTHORIZED:
            _, _, reply = self._authorized(location, start, (start, reply), once, scopes)
        reply.asked = location if is_signed else None
        return reply

    def _authorized(
        self,
        location: Location,
        start: Hop,
        refused: tuple[Hop, Reply],
        follow: Callable[[Hop], tuple[Hop, Reply]],
        scopes: tuple[CancelScope, ...],
    ) -> tuple[Hop, Hop, Reply]:
        """Follow a way once more, with what its start asks for: its start, its end and the reply.

        The refusal itself stays if it is another server's, or there is no other answer.
        """
        end, reply = refused
        if not has_same_origin(end.url, start.url):
            return start, end, reply

        def ask(url: str, headers: Mapping[str, str]) -> Reply:
            is_free = is_inside(reply.url, reply.peer)
            hop = Hop(
                url=url,
                headers=headers,
                is_pinned=False,
                named_hosts=frozenset({host(url)}),
                outside="" if is_free else reply.head.place,
            )
            return self._follow(hop, {}, scopes)[1]

        try:
            headers = self._tokens.answer(location, reply.head, ask)
        except BaseException:
            reply.close()
            raise
        if headers is None:
            return start, end, reply
        reply.close()
        start = structs.replace(start, headers=headers)
        return start, *follow(start)

    def _check_environment(self, url: str) -> None:
        """Refuse to connect if the environment says so, or is wrong."""
        if self.settings.is_offline:
            raise Offline(f"{redact(url)} was not requested: MODELMAKE_OFFLINE is set.")
        if not self._has_bundle:
            raise TransferError(
                "The CA bundle that the environment names does not exist.",
                hint="Correct REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE, or unset it.",
            )

    def _send(
        self,
        method: str,
        hop: Hop,
        conditions: Mapping[str, str],
        scopes: tuple[CancelScope, ...],
        body: Iterable[bytes] | bytes | None = None,
    ) -> Reply:
        self._check_environment(hop.url)
        seconds = self.settings.timeout_seconds
        deadline = Deadline(seconds, self._scope.__len__)
        request = Request(request_target(hop.url), deadline, hop.private_refusal, *scopes)
        before = current_request.set(request)
        try:
            with translated(hop.url, seconds):
                proxies = self._proxies_for(hop.url)
                note_credentials(hop.url, hop.headers, proxies)
                prepared = _prepared(method, hop.url, {**IDENTITY, **hop.headers, **conditions})
                if body is not None:
                    prepared.body = cast("bytes", body)  # or an iterable of them
                response = self._adapter.sent(
                    prepared, proxies, timeout=self._timeout, verify=self._verify
                )
        except BaseException as error:
            request.close()
            if isinstance(error, TransferError):
                self.stop.check()
            raise
        finally:
            current_request.reset(before)
        deadline.begin_step(is_body=True)
        reply = Reply(
            hop.url,
            response,
            request,
            is_redirected=hop.number > 0,
            is_bodiless=method == "HEAD",
        )
        if reply.head.first("RateLimit"):
            self._note_rate_limit(hop.url, reply.head)
        return reply

    def _proxies_for(self, url: str) -> dict[str, str]:
        place = origin(url)
        if place not in self._proxies:
            self._proxies[place] = get_environ_proxies(url)
        return dict(self._proxies[place])


MOST_PREPARED = 64
PLAIN_PATH = re.compile(r"/[A-Za-z0-9/._~-]*")


def _prepared(method: str, url: str, headers: Mapping[str, str]) -> requests.PreparedRequest:
    """Return a request; of what requests would prepare, only what it needs: it is one per file."""
    request = requests.PreparedRequest()
    request.method, request.headers = method, _prepared_headers(tuple(headers.items()))
    place_end = url.find("/", url.find("//") + 2)
    if place_end > 0 and PLAIN_PATH.fullmatch(url, place_end) and _is_plain(url[: place_end + 1]):
        request.url = url
    else:
        request.prepare_url(url, None)
    if "@" in url:  # a redirect may lead to an URL with its own log-in
        request.headers = request.headers.copy()
        request.prepare_auth(None, url)
    return request


@functools.lru_cache(MOST_PREPARED)
def _is_plain(place: str) -> bool:
    """Whether requests leaves the beginning of a URL as it is, up to the path."""
    request = requests.PreparedRequest()
    try:
        request.prepare_url(place, None)
    except (ValueError, requests.RequestException):  # told when a whole URL is prepared
        return False
    return bool(request.url == place)


@functools.lru_cache(MOST_PREPARED)
def _prepared_headers(headers: tuple[tuple[str, str], ...]) -> Any:  # noqa: ANN401 - of requests
    """Return headers as requests checks them; most requests of a host have the same."""
    request = requests.PreparedRequest()
    request.prepare_headers(dict(headers))
    return dict(request.headers)


def is_inside(url: str, peer: str) -> bool:
    """Whether a reply came from this machine or from somebody's own network.

    Args:
        url: What was asked.
        peer: The address of the connection; empty if a proxy connected.
    """
    return is_loopback(host(url)) or (bool(peer) and not is_public_address(peer))
