"""Where a redirect may lead, and what may go along. Pure.

requests would follow by itself, but keeps custom headers across hosts and lets netrc back in;
so each hop is decided here (curl CVE-2018-1000007, CVE-2022-27774; requests CVE-2023-32681).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import urljoin, urlsplit

from downloader.artifact import Location
from downloader.errors import BadResponse
from downloader.urls import has_same_origin, host, is_loopback, origin, redact

REDIRECTS = frozenset({301, 302, 303, 307, 308})
MOST_HOPS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """One URL on the way to the bytes.

    Attributes:
        url: What to dial.
        headers: What the location wants there; empty once the way has left its origin.
        is_pinned: Whether a SHA-256 will judge the bytes, so that plain http may carry them.
        named_hosts: As in Location.
        number: How many redirects led here.
        outside: The public URL that led here, as it may be shown; empty where this hop may go to
            a private address.
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    is_pinned: bool
    named_hosts: frozenset[str] = frozenset()
    number: int = 0
    outside: str = ""

    def __repr__(self) -> str:
        """Show no header and no query: they may be credentials."""
        return f"Hop({redact(self.url)!r}, number={self.number})"

    @property
    def is_named(self) -> bool:
        """Whether models.yaml itself names this hop's host."""
        return host(self.url) in self.named_hosts

    @property
    def inside(self) -> BadResponse | None:
        """What to raise where this hop leads to a private address; None where it may (SSRF)."""
        if not self.outside:
            return None
        return BadResponse(
            f"{self.outside} redirects to {host(self.url)}, a private address.",
            hint="If that is meant, name that host in models.yaml, as a mirror.",
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
    )
    _check_scheme(hop)
    if location.headers and urlsplit(hop.url).scheme == "http" and not is_loopback(host(hop.url)):
        return replace(hop, headers={})  # plain http never carries a credential
    return hop


def next_hop(hop: Hop, target: str, *, is_inside: bool = False) -> Hop:
    """Return where the redirect's Location leads (RFC 9110 §10.2.2).

    Args:
        hop: The URL that answered with a redirect.
        target: Its Location header; empty when there was none.
        is_inside: Whether it stands in a private network itself, so that it may lead there.

    Raises:
        BadResponse: There is no Location, the way is too long, goes from https to http, or leaves
            http altogether.
    """
    place = redact(hop.url)
    if not target:
        raise BadResponse(f"{place} answered with a redirect that says not where to.")
    if hop.number >= MOST_HOPS:
        raise BadResponse(f"{place} is the end of more than {MOST_HOPS} redirects: a loop?")
    url = _joined(hop.url, target)
    stays = has_same_origin(hop.url, url)
    following = replace(hop, url=url, headers=hop.headers if stays else {}, number=hop.number + 1)
    if urlsplit(hop.url).scheme == "https" and urlsplit(url).scheme == "http":
        raise BadResponse(f"{place} redirects from https to http, which is never followed.")
    _check_scheme(following)
    is_free = is_inside or following.is_named
    return replace(following, outside="" if is_free else place)


def _joined(base: str, target: str) -> str:
    try:
        return urljoin(base, target)
    except ValueError:
        raise BadResponse(f"{redact(base)} redirects to a broken URL.") from None


def _check_scheme(hop: Hop) -> None:
    try:
        scheme, name, _ = origin(hop.url)
    except ValueError:
        scheme = name = ""
    if scheme not in ("http", "https") or not name:
        raise BadResponse(f"{scheme or 'A broken URL'}: is no way to fetch a file; https is.")
    if scheme == "http" and not is_loopback(name) and not hop.is_pinned:
        raise BadResponse(
            f"{redact(hop.url)} is plain http, and no SHA-256 is known for the file.",
            hint="Use https, or give the file's sha256 in models.yaml.",
        )
