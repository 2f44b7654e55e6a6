"""What we know about a URL without opening a connection. Pure; no name is resolved here.

A location is a URL where an artifact can be downloaded now, with the headers for it.
"""

import functools
import hashlib
import re
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from pathlib import Path
from typing import Literal
from urllib.parse import quote, unquote, urlsplit

import msgspec

from downloader.errors import shown

KEPT = 256
"""A file's URL is asked about again and again while it is fetched; so many answers are kept."""
LOOPBACK_NAMES = frozenset({"localhost", "ip6-localhost"})
NAT64 = IPv6Network("64:ff9b::/96")
"""IPv4 by way of a translator (RFC 6052)."""
DEFAULT_PORTS = {"http": 80, "https": 443}
PLACES = (
    "a folder, s3://bucket/prefix, gs://bucket/prefix, az://account/container/prefix or "
    "oci://registry/repository"
)
"""What `doit publish` writes to, as it is typed."""
PUBLISHED = r"^((s3|gs|az|oci|blobs\+https?)://[^/?#]|file:///[^/?#])"
"""Start of the URL of a published copy (docs/mirrors.md), for Python and for ECMA 262.

`blobs+https:` is a folder that a plain web server serves: its `https:` URL alone would mean a
server with the provider's own layout.
"""

_OTHER_SCHEMES = {
    **dict.fromkeys(("s3a", "s3n", "minio", "r2"), "s3"),
    **dict.fromkeys(("gcs", "google"), "gs"),
    **dict.fromkeys(("azure", "abfs", "abfss", "wasb", "wasbs"), "az"),
    "docker": "oci",
}
"""How other tools begin the URLs of object stores and registries, and how we do."""
_SLIP = r"([^/\\:\s]{2,}):(?!//)"
"""No URL and no folder: `s3:bucket`, `me@host:/folder`. One letter is a drive of Windows."""
_REPOSITORY = r"[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*"
_PARTS = re.compile(r"(?:([^:/?#]+:))?(//[^/?#]*)?([^?#]*)(\?[^#]*)?", re.DOTALL)
"""Scheme, authority, path and query, each with its mark, if any (RFC 3986, appendix B)."""
_DOTS = re.compile(r"/\.{1,2}(?=/|$)")


@functools.lru_cache(KEPT)
def origin(url: str) -> tuple[str, str, int]:
    """Return (scheme, host, port): the exact place a credential is meant for (RFC 6454 §4)."""
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    return scheme, host(url), parts.port or DEFAULT_PORTS.get(scheme, 0)


def has_same_origin(one: str, other: str) -> bool:
    """Whether a credential for the one URL may be shown to the other; never for a broken one."""
    try:
        return origin(one) == origin(other)
    except ValueError:
        return False


@functools.lru_cache(KEPT)
def host(url: str) -> str:
    """Return the host in lower case, without port, user or brackets; empty when there is none."""
    try:
        return (urlsplit(url).hostname or "").lower()
    except ValueError:
        return ""


def join(base: str, reference: str) -> str:
    """Return where a redirect leads, without its fragment (RFC 3986 §5.2.2).

    `urljoin` loses an empty query, and empty segments of a relative path.

    Args:
        base: The URL that answered with it.
        reference: Its Location, as http.client decodes it. The bytes are taken for UTF-8.

    Raises:
        ValueError: It is not a URL, or its host holds what parsers of URLs read differently.
    """
    text = reference.encode("latin-1").decode("utf-8", "surrogateescape")
    scheme, authority, path, query = _parts(text)
    if not authority.isprintable() or {"\\", " "} & {*authority}:
        raise ValueError(reference)
    base_scheme, base_authority, base_path, base_query = _parts(base)
    if not (scheme or authority):
        authority = base_authority
        if not path:
            path, query = base_path, query or base_query
        elif not path.startswith("/"):
            path = f"{_without_dots(base_path).rpartition('/')[0]}/{path}"
    url = f"{scheme or base_scheme}{authority}{_encoded(_without_dots(path) + query)}"
    origin(url)
    return url


def request_target(url: str) -> str:
    """Return path and query as curl and browsers put them on the request line (RFC 9112 §3.2.1).

    Escapes stay as they are written (`%7E`, `%e6`): a signature or a cache may depend on them. Only
    what cannot stand in a request line is encoded, and only dot segments are resolved.
    """
    _, _, path, query = _parts(url)
    return _encoded((_without_dots(path) or "/") + query)


def _parts(url: str) -> tuple[str, str, str, str]:
    match = _PARTS.match(url)
    scheme, authority, path, query = match.groups("") if match else ("", "", url, "")
    return scheme, authority, path, query


def _encoded(text: str) -> str:
    """Return the text with each byte percent-encoded that is not a visible ASCII character."""
    if text.isascii() and text.isprintable() and " " not in text:
        return text
    data = text.encode("utf-8", "surrogateescape")
    return "".join(chr(byte) if 0x20 < byte < 0x7F else f"%{byte:02X}" for byte in data)  # noqa: PLR2004


def _without_dots(path: str) -> str:
    """Resolve `.` and `..` segments of an absolute path (RFC 3986 §5.2.4)."""
    if not _DOTS.search(path):
        return path
    kept: list[str] = []
    segments = path.split("/")[1:]
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    end = "/" if segments[-1] in (".", "..") and kept else ""
    return f"/{'/'.join(kept)}{end}"


def may_have_credential(url: str, *, allows_plain: bool = False) -> bool:
    """Whether a URL of the environment is one to which a path is appended and a credential sent.

    Args:
        url: As it was written.
        allows_plain: Whether it may be plain http elsewhere than on this machine: a request there
            goes without the credential.
    """
    # urlsplit drops tabs and line ends in silence, and clients differ on a backslash.
    if not (url.isascii() and url.isprintable()) or set(url) & set(" \\#?@"):
        return False
    try:
        scheme, name, _ = origin(url)
    except ValueError:
        return False
    is_plain = scheme == "http" and (allows_plain or is_loopback(name))
    return bool(name) and (scheme == "https" or is_plain)


@functools.lru_cache(KEPT)
def redact(url: str) -> str:
    """Return the URL as it may be shown: short, without user, password, query and fragment."""
    if slip := re.match(_SLIP, url):  # its user and password are where the path should be
        return f"{slip[0]}…"
    try:
        parts = urlsplit(url)
        name, number = parts.hostname or "", parts.port
    except ValueError:
        return "a broken URL"
    bracketed = f"[{name}]" if ":" in name else name
    port = f":{number}" if number else ""
    scheme = parts.scheme.removeprefix("blobs+")  # how a mirror is written in models.yaml alone
    return shown(f"{scheme}://{bracketed}{port}{parts.path}")


@functools.lru_cache(KEPT)
def is_loopback(name: str) -> bool:
    """Whether the host name or address can only be this machine."""
    if name in LOOPBACK_NAMES or name.endswith(".localhost"):
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def is_published(url: str) -> bool:
    """Whether a URL means a published copy, which has blobs by their SHA-256."""
    return re.match(PUBLISHED, url) is not None


def published_url(text: str, path_of: Callable[[str], Path] = Path) -> str:
    """Return the URL of a published copy for what a user typed: such a URL, or a folder.

    In an environment variable, `https:` can only mean a folder that a web server serves.

    Args:
        text: What was typed.
        path_of: Reads it if it is a folder.

    Raises:
        ValueError: It is none, with the reason as a clause.
    """
    if slip := re.match(_SLIP, text):  # not a folder `s3:`, to which gigabytes would go
        raise ValueError(_why_not(slip[1], f"a URL begins with `{_begin(slip[1])}`", "./"))
    if "://" not in text:
        return path_of(text).absolute().as_uri()
    if not text.isascii() or not text.isprintable() or set(text) & set(" \\$"):
        raise ValueError("it has a space, a backslash, a `$` or an odd character")
    url = f"blobs+{text}" if text.startswith(("https://", "http://")) else text
    if not is_published(url):
        scheme = text.partition("://")[0]
        raise ValueError(_why_not(scheme, f"a name must follow `{_begin(scheme)}`"))
    try:
        parts = urlsplit(url)
        has_port = parts.port != 0
    except ValueError:
        has_port = False
    if not has_port:
        raise ValueError("its host or port is not valid")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError("it has a user, a query or a fragment")
    if {".", ".."} & {*unquote(parts.path).split("/")}:
        raise ValueError("it has `.` or `..` in its path")
    if parts.scheme == "oci" and not re.fullmatch(_REPOSITORY, parts.path.strip("/")):
        raise ValueError("it names no repository, in small letters and without a tag")
    return url


def _begin(scheme: str) -> str:
    return f"{scheme}:{'///' if scheme == 'file' else '//'}"


def _why_not(scheme: str, why: str, folder: str = "") -> str:
    """Return why no published copy is at a URL: `why`, if one may begin with that scheme.

    Args:
        scheme: What stands before the first colon.
        why: The reason.
        folder: What may be before it, if a folder can be meant.
    """
    if scheme in _OTHER_SCHEMES:
        return f"`{scheme}:` is written `{_OTHER_SCHEMES[scheme]}://` here"
    if scheme.removeprefix("blobs+") in ("s3", "gs", "az", "oci", "file", "http", "https"):
        return why
    else_folder = f", and a folder of that name is written `{folder}{shown(scheme)}:`"
    return f"no place begins with `{shown(scheme)}:`{else_folder * bool(folder)}"


def local_path(url: str) -> Path:
    """Return the path that a `file:` URL means, of this system."""
    path = unquote(urlsplit(url).path)
    return Path(re.sub(r"^/(?=[A-Za-z]:)", "", path))  # file:///C:/models


def is_address(name: str) -> bool:
    """Whether a host is written as an IP address, so that no name has to be looked up."""
    try:
        ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return True


@functools.lru_cache(KEPT)
def is_public_address(address: str) -> bool:
    """Whether an IP address, as `getpeername` gives it, is reachable from anywhere.

    Raises:
        ValueError: It is not an IP address.
    """
    parsed = ip_address(address.partition("%")[0])
    if isinstance(parsed, IPv6Address):
        return parsed.is_global if (inner := _inner(parsed)) is None else inner.is_global
    return parsed.is_global


def _inner(address: IPv6Address) -> IPv4Address | None:
    """Return the IPv4 address that is reached by way of an IPv6 one, if any."""
    if address in NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


class Bucket(msgspec.Struct, frozen=True, kw_only=True):
    """A bucket of an object store, or a container of Azure."""

    kind: Literal["s3", "gs", "az"]
    """Which protocol it speaks: S3's, Google Cloud Storage's or Azure Blob Storage's."""
    name: str
    base: str
    """The URL to which the key of an object is appended, after a slash."""
    account: str = ""
    """Azure's storage account."""
    region: str = ""
    """S3's; empty if nobody says which."""
    is_named: bool = False
    """Whether models.yaml says where the service is, not the environment or the provider."""

    def location(self, key: str = "", query: str = "") -> "Location":
        """Return where an object is, or the bucket itself if there is no key."""
        path = f"/{quote(key, safe='/')}" if key else ""
        url = f"{self.base}{path}{'?' * bool(query)}{query}"
        return Location(url=url, named_hosts=frozenset({host(url)}), bucket=self)


class LogIn(msgspec.Struct, frozen=True, kw_only=True):
    """What a user is known by at one server."""

    user: str
    password: str

    def __repr__(self) -> str:
        """Show neither."""
        return "LogIn(…)"


class Challenge(msgspec.Struct, frozen=True, kw_only=True):
    """How to answer a server that asks who wants its bytes: 401 with WWW-Authenticate.

    It asks for a user's password (Basic, RFC 7617), or names a service that gives tokens (Bearer:
    the token authentication of the OCI and Docker registries). Nothing is looked up before it asks.
    """

    server: str
    """What log-ins are kept under."""
    scope: str
    """What the token is for, unless the server says it."""
    token_hosts: frozenset[str]
    """Hosts of token services beside the server's own, and those of its own domain."""
    log_in: Callable[[str], LogIn | None]
    """Returns the user's log-in for `server`; it may ask another program, and raise SettingError.
    Not a method: two locations of one file are equal."""


class Location(msgspec.Struct, frozen=True, kw_only=True):
    """An URL that serves an artifact now, with the headers it wants there and nowhere else."""

    url: str
    headers: Mapping[str, str] = {}
    named_hosts: frozenset[str] = frozenset()
    """Hosts models.yaml names: a redirect may lead to them even if they are private."""
    outside: str = ""
    """The public server that named the URL, as it may be shown; empty if it may lead to a private
    address."""
    credential_hint: str = ""
    """What to do when this URL's own origin answers 401 or 403; the usual advice when empty."""
    advice: Mapping[str, str] = {}
    """What to do by what its own origin refuses: the X-Error-Code or X-Error-Message of a reply, or
    `RateLimit`. It comes before `credential_hint`."""
    rate_limit: str = ""
    """Name of the rate limit that requests for it count against, as the RateLimit header has it."""
    wants_range: bool = False
    """Whether a large file is served in answer to a range only."""
    is_link_doubted: bool = False
    """Whether another link is asked for, once, if a storage server refuses a new one."""
    is_sniffed: bool = True
    """Whether a body is refused that looks like a page instead of the file."""
    bucket: Bucket | None = None
    """The bucket it is in: requests are signed with the credentials that the environment has."""
    challenge: Challenge | None = None
    """How to answer if its own origin asks for a log-in or a token; if None, nothing is sent."""
    mirror: str = ""
    """The published copy that it belongs to; empty if it is the provider's, or has its layout."""
    retries: int | None = None
    """Attempts in a row without progress; None for as many as the environment says."""

    @property
    def place(self) -> str:
        """What stands for the URL on the disk, its SHA-256: a query must not be written down."""
        return hashlib.sha256(self.url.encode()).hexdigest()

    def error_text(self, error: Exception) -> str:
        """Return an error about it with the mirror for the URL, if it belongs to one."""
        text = str(error)
        return text.replace(redact(self.url), redact(self.mirror)) if self.mirror else text

    def __repr__(self) -> str:
        """Show no header and no query: they may be credentials."""
        return f"Location({redact(self.url)!r})"
