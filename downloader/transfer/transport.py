"""One conditional GET -> a reply whose body can be read.

requests brings connection pools, TLS and proxies. What it would decide for us is decided here
instead: redirects hop by hop, no netrc, no cookies, no decoding, no environment look-up per call;
and how a connection is dialled (dialling.py). The body is read from http.client's buffered socket
(see body.py and docs/decisions/0003).
"""

import os
from collections.abc import Mapping
from http import HTTPStatus

import requests
from requests.utils import get_environ_proxies, select_proxy
from urllib3.response import HTTPResponse

from downloader.artifact import Location
from downloader.errors import BadResponse, ConnectionLost, Interrupted, TransferError
from downloader.settings import Settings
from downloader.transfer import credentials
from downloader.transfer.call import Call, Calls, current_call
from downloader.transfer.dialling import HeldAdapter
from downloader.transfer.patience import Patience
from downloader.transfer.redirects import REDIRECTS, Hop, first_hop, next_hop
from downloader.transfer.reply import Reply
from downloader.transfer.shortcuts import Shortcuts, is_page, is_worn
from downloader.transfer.wire_errors import translated
from downloader.urls import host, is_loopback, is_public_address, origin, redact
from downloader.version import __version__

USER_AGENT = f"modelmake/{__version__}"
POOL_SIZE = 32
FILE_STATUSES = (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT)
IDENTITY = {"Accept-Encoding": "identity", "User-Agent": USER_AGENT}


class Transport:
    """A pool of kept-alive connections; safe to share between threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._adapter = HeldAdapter(POOL_SIZE, POOL_SIZE, max_retries=0)
        self._proxies: dict[tuple[str, str, int], Mapping[str, str]] = {}
        bundle = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
        self._verify: bool | str = bundle or True
        self._has_bundle = bundle is None or os.path.exists(bundle)  # noqa: PTH110
        self._shortcuts = Shortcuts()
        self._calls = Calls()

    def open(
        self,
        location: Location,
        conditions: Mapping[str, str],
        *,
        is_pinned: bool,
        calls: Calls | None = None,
    ) -> Reply:
        """Send one GET, follow its redirects, and return the first reply that is none.

        Where redirects led before is asked directly as long as that works: a hub that leads each
        request to a storage server is asked once, not once a segment.

        Args:
            location: The URL, and the headers meant for its origin alone.
            conditions: Headers for every hop: Range and If-Match.
            is_pinned: Whether a SHA-256 will judge the bytes.
            calls: What else may end the request, beside `interrupt`.

        Raises:
            Interrupted: `interrupt` was called.
            TransferError: No reply came, or a redirect leads where it may not.
        """
        start = first_hop(location, is_pinned=is_pinned)
        groups = (self._calls,) if calls is None else (self._calls, calls)
        known = self._shortcuts.find(start)
        if known is not None:
            reply = self._still_there(start, known, conditions, groups)
            if reply is not None:
                return reply
        end, reply = self._follow(start, conditions, groups)
        if reply.head.status in FILE_STATUSES and not is_page(reply.head):
            self._shortcuts.learn(start, end)
        return reply

    def interrupt(self) -> None:
        """End every request in flight, and every one to come."""
        self._calls.hang_up()

    def close(self) -> None:
        """Close every pooled connection."""
        for manager in (self._adapter.poolmanager, *self._adapter.proxy_manager.values()):
            for key in manager.pools.keys():  # noqa: SIM118 - urllib3's container is not iterable
                if pool := manager.pools.get(key):
                    pool.close()
        self._adapter.close()  # alone, it leaves open sockets to the garbage collector

    def _still_there(
        self, start: Hop, known: Hop, conditions: Mapping[str, str], groups: tuple[Calls, ...]
    ) -> Reply | None:
        """Ask where the way led before; None where that has worn out.

        Raises:
            TransferError: No reply came; the next attempt asks the way anew.
        """
        try:
            _, reply = self._follow(known, conditions, groups)
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
        self, hop: Hop, conditions: Mapping[str, str], groups: tuple[Calls, ...]
    ) -> tuple[Hop, Reply]:
        """Return the way's last hop and its reply."""
        while True:
            reply = self._get(hop, conditions, groups)
            if reply.head.status not in REDIRECTS:
                return hop, reply
            with reply:
                target = reply.head.first("Location")
                hop = next_hop(hop, target, is_inside=is_inside(reply.url, reply.peer))

    def _check_environment(self, url: str) -> None:
        """Refuse to dial where the environment says so, or is wrong."""
        if self._settings.is_offline:
            raise TransferError(
                f"{redact(url)} is not dialled: MODELMAKE_OFFLINE is set.",
                hint="Unset MODELMAKE_OFFLINE to fetch what is missing.",
            )
        if not self._has_bundle:
            raise TransferError(
                "The certificates that the environment names are not there.",
                hint="Correct REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE, or unset it.",
            )

    def _get(self, hop: Hop, conditions: Mapping[str, str], groups: tuple[Calls, ...]) -> Reply:
        self._check_environment(hop.url)
        patience = Patience(self._settings.timeout_seconds, self._calls.__len__)
        call = Call(patience, *groups)
        call.inside = hop.inside
        try:
            with translated(hop.url, patience.seconds):
                response = self._send(hop, conditions, call)
        except BaseException as error:
            call.end()
            if self._calls.is_over and isinstance(error, TransferError):
                raise Interrupted("The run was interrupted.") from None
            raise
        patience.begin_body()
        return Reply(hop.url, response, call, is_redirected=hop.number > 0)

    def _send(self, hop: Hop, conditions: Mapping[str, str], call: Call) -> HTTPResponse:
        credentials.sending(hop.url, hop.headers)
        request = _prepared(hop.url, {**IDENTITY, **hop.headers, **conditions})
        patience, proxies = call.patience.seconds, self._proxies_for(hop.url)
        before = current_call.set(call)
        try:
            return self._adapter.sent(
                request,
                stream=True,
                timeout=(patience, patience),
                verify=self._verify,
                proxies=proxies,
            )
        except requests.exceptions.InvalidURL as error:
            if select_proxy(hop.url, proxies):  # its URL it is: the other one could be prepared
                raise requests.exceptions.InvalidProxyURL from error
            raise
        finally:
            current_call.reset(before)

    def _proxies_for(self, url: str) -> dict[str, str]:
        place = origin(url)
        if place not in self._proxies:
            self._proxies[place] = get_environ_proxies(url)
        return dict(self._proxies[place])


def _prepared(url: str, headers: Mapping[str, str]) -> requests.PreparedRequest:
    """Return a GET; of what requests would prepare, only what one needs: this is done per file."""
    request = requests.PreparedRequest()
    request.prepare_method("GET")
    request.prepare_url(url, None)
    request.prepare_headers(headers)
    if "@" in url:  # a redirect may lead to an URL with its own log-in
        request.prepare_auth(None, url)
    return request


def is_inside(url: str, peer: str) -> bool:
    """Whether a reply came from this machine or from somebody's own network.

    Args:
        url: What was asked.
        peer: The address that was dialled; empty where a proxy dialled.
    """
    return is_loopback(host(url)) or (bool(peer) and not is_public_address(peer))
