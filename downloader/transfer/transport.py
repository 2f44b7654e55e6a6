"""One conditional GET -> a reply whose body can be read.

requests brings connection pools, TLS and proxies. What it would decide for us is decided here
instead: redirects hop by hop, no netrc, no cookies, no decoding, no environment look-up per call.
The body is read from http.client's buffered socket (see body.py and docs/decisions/0003).
"""

import os
import socket
from collections.abc import Mapping

import requests
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies

from downloader.artifact import Location
from downloader.errors import BadResponse, TransferError
from downloader.settings import Settings
from downloader.transfer.redirects import REDIRECTS, Hop, first_hop, next_hop
from downloader.transfer.reply import Reply
from downloader.transfer.wire_errors import translated
from downloader.urls import host, is_loopback, is_public_address, origin, redact
from downloader.version import __version__

USER_AGENT = f"modelmake/{__version__}"
POOL_SIZE = 32
IDENTITY = {"Accept-Encoding": "identity", "User-Agent": USER_AGENT}


class Transport:
    """A pool of kept-alive connections; safe to share between threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._adapter = HTTPAdapter(POOL_SIZE, POOL_SIZE, max_retries=0)
        self._proxies: dict[tuple[str, str, int], Mapping[str, str]] = {}
        bundle = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
        self._verify: bool | str = bundle or True

    def open(self, location: Location, conditions: Mapping[str, str], *, is_pinned: bool) -> Reply:
        """Send one GET, follow its redirects, and return the first reply that is none.

        Args:
            location: The URL, and the headers meant for its origin alone.
            conditions: Headers for every hop: Range and If-Match.
            is_pinned: Whether a SHA-256 will judge the bytes.

        Raises:
            TransferError: No reply came, or a redirect leads where it may not.
        """
        hop = first_hop(location, is_pinned=is_pinned)
        while True:
            reply = self._get(hop, conditions)
            if reply.head.status not in REDIRECTS:
                return reply
            with reply:
                following = next_hop(hop, reply.head.first("Location"))
            self._check_reach(hop, following)
            hop = following

    def close(self) -> None:
        """Close every pooled connection."""
        self._adapter.close()

    def _get(self, hop: Hop, conditions: Mapping[str, str]) -> Reply:
        if self._settings.is_offline:
            raise TransferError(
                f"{redact(hop.url)} is not dialled: MODELMAKE_OFFLINE is set.",
                hint="Unset MODELMAKE_OFFLINE to fetch what is missing.",
            )
        patience = self._settings.timeout_seconds
        request = requests.PreparedRequest()
        with translated(hop.url, patience):
            request.prepare("GET", hop.url, headers={**IDENTITY, **hop.headers, **conditions})
            response = self._adapter.send(
                request,
                stream=True,
                timeout=(patience, patience),
                verify=self._verify,
                proxies=self._proxies_for(hop.url),
            )
        return Reply(hop.url, response, patience)

    def _proxies_for(self, url: str) -> dict[str, str]:
        place = origin(url)
        if place not in self._proxies:
            self._proxies[place] = get_environ_proxies(url)
        return dict(self._proxies[place])

    def _check_reach(self, hop: Hop, following: Hop) -> None:
        """Refuse a redirect from a public host into somebody's own network (SSRF).

        Raises:
            BadResponse: The target resolves to a private address that models.yaml does not name.
        """
        is_other = host(following.url) != host(hop.url)
        if not is_other or following.is_named or self._proxies_for(following.url):
            return
        if not is_inside(host(hop.url)) and is_inside(host(following.url)):
            raise BadResponse(
                f"{redact(hop.url)} redirects to {host(following.url)}, a private address.",
                hint="If that is meant, name that host in models.yaml, as a mirror.",
            )


def is_inside(name: str) -> bool:
    """Whether any address of the host is loopback, private or link-local; dials the resolver."""
    if is_loopback(name):
        return True
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):  # the latter for a name that IDNA cannot write
        return False
    return any(not is_public_address(str(entry[4][0])) for entry in found)
