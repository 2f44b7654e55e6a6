"""Answer a server that asks who wants its bytes: a password, or a token of the service it names.

A registry refuses the first request with 401, and says in WWW-Authenticate which service gives a
token for it (distribution/spec/auth/token.md). The token is sent until the registry refuses it: it
may end in the middle of a file, and then the next request gets another one. Tokens are kept in
memory only. A token service is asked only if its host belongs to the registry: what a server says
must not lead a request, or the user's log-in, to any place it likes.
"""

import base64
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from urllib.parse import urlencode, urlsplit

import msgspec

from downloader.errors import AccessDenied, BadResponse, shown
from downloader.network._response import Head, Reply
from downloader.urls import (
    Challenge,
    Location,
    LogIn,
    host,
    is_address,
    is_loopback,
    origin,
    redact,
)

HEADER = "Authorization"
MOST_TOKEN_BYTES = 1 << 20
REFUSED = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})

_SCHEME = r"[\s,]*([A-Za-z][A-Za-z0-9_-]*)(?=[\s,]|\Z)"
_PARAMETER = r'[\s,]*([A-Za-z0-9_-]+)\s*=\s*(?:"((?:\\.|[^"\\])*)"|([^\s,"]+))'


Ask = Callable[[str, Mapping[str, str]], Reply]
"""Asks a token service, with headers for its own origin."""


class _Answer(msgspec.Struct, frozen=True):
    """A token service's answer; OAuth 2 calls the token `access_token`."""

    token: str = ""
    access_token: str = ""


class _Known(msgspec.Struct):
    """The header that one server accepts for one scope."""

    lock: threading.Lock = msgspec.field(default_factory=threading.Lock)
    value: str = ""


class Tokens:
    """Log-ins and tokens of one run, in memory only; safe to share between threads."""

    def __init__(self) -> None:
        self._known: dict[tuple[tuple[str, str, int], str, str], _Known] = {}
        self._finding = threading.Lock()

    def headers(self, location: Location) -> Mapping[str, str]:
        """Return the location's headers, with what its server accepted before."""
        challenge = location.challenge
        if challenge is None or not _is_private(location.url):
            return location.headers
        value = self._of(location.url, challenge).value
        return {**location.headers, HEADER: value} if value else location.headers

    def answer(self, location: Location, refused: Head, ask: Ask) -> Mapping[str, str] | None:
        """Return the headers to ask once more with after a 401; None if there is no other answer.

        Args:
            location: What was asked, with the headers that were sent.
            refused: The head of the reply.
            ask: Asks a token service.

        Raises:
            AccessDenied: The token service gives none.
            SettingError: The user's log-in cannot be read.
            ModelmakeError: The token service cannot be asked, or may not.
        """
        challenge, sent = location.challenge, location.headers
        if challenge is None or not _is_private(location.url):
            return None
        found = dict(challenges(", ".join(refused.values("WWW-Authenticate"))))
        known = self._of(location.url, challenge)
        with known.lock:  # the other connections of this file wait for the same token
            if known.value in ("", sent.get(HEADER)):
                if "bearer" in found:
                    known.value = _token(challenge, location.url, found["bearer"], ask)
                elif "basic" in found and HEADER not in sent:
                    log_in = challenge.log_in(challenge.server)
                    known.value = _basic(log_in) if log_in else ""
                else:
                    return None
            return {**sent, HEADER: known.value} if known.value else None

    def _of(self, url: str, challenge: Challenge) -> _Known:
        with self._finding:
            key = (origin(url), challenge.server, challenge.scope)
            return self._known.setdefault(key, _Known())


def challenges(text: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the schemes of WWW-Authenticate, each with its parameters (RFC 9110 §11).

    Names are in lower case. Several may stand in one header, and commas divide parameters as well
    as challenges. It ends at what is neither.
    """
    scheme, parameters, at = "", dict[str, str](), 0
    named, valued = re.compile(_SCHEME), re.compile(_PARAMETER)
    while True:
        if scheme and (found := valued.match(text, at)):
            quoted = found[2]
            value = found[3] if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
            parameters.setdefault(found[1].lower(), value)
        else:
            if scheme:
                yield scheme, parameters
            found = named.match(text, at)
            if found is None:
                return
            scheme, parameters = found[1].lower(), {}
        at = found.end()


def _token(challenge: Challenge, refused: str, asked: Mapping[str, str], ask: Ask) -> str:
    """Return the header with a new token.

    Args:
        challenge: How the location answers.
        refused: Its URL.
        asked: The parameters of its challenge.
        ask: Asks the token service.

    Raises:
        AccessDenied: The service gives none.
        ModelmakeError: It cannot be asked, or may not.
    """
    registry = challenge.server
    realm = asked.get("realm", "")
    _check_realm(realm, refused, challenge)
    wanted = {"service": asked.get("service", ""), "scope": asked.get("scope") or challenge.scope}
    query = urlencode({name: value for name, value in wanted.items() if value})
    url = f"{realm}{'&' if urlsplit(realm).query else '?'}{query}"
    log_in = challenge.log_in(registry)
    headers = {HEADER: _basic(log_in)} if log_in else {}
    with ask(url, headers) as reply:
        if reply.head.status in REFUSED:
            raise _denied(registry, host(realm), reply.head.status, has_log_in=bool(log_in))
        if reply.head.status != HTTPStatus.OK:
            raise reply.refusal(Location(url=url))
        text = reply.read_some(MOST_TOKEN_BYTES)
    try:
        answer = msgspec.json.decode(text, type=_Answer)
    except (ValueError, RecursionError):
        answer = _Answer()
    token = answer.token or answer.access_token
    if not (token.isascii() and token.isprintable()) or not token or " " in token:
        raise BadResponse(f"{redact(realm)}, the token service of {registry}, sent no token.")
    return f"Bearer {token}"


def _denied(registry: str, service: str, status: int, *, has_log_in: bool) -> AccessDenied:
    if has_log_in:
        what = f"{service} refused your log-in for {registry} ({status})."
        return AccessDenied(what, hint=f"Run `docker login {registry}` again.")
    return AccessDenied(
        f"{service} gives no token for {registry} without a log-in ({status}).",
        hint=f"Run `docker login {registry}`. Without one, only public repositories can be read.",
    )


def _check_realm(realm: str, url: str, challenge: Challenge) -> None:
    """Refuse a token service that is not the registry's.

    Its own is on the same host, on one of the same domain (registry.gitlab.com: gitlab.com), or
    on one that is known for this registry.

    Raises:
        BadResponse: It is another's, or would be asked in plain text.
    """
    name, own = host(realm), host(url)
    try:
        scheme, _, _ = origin(realm)
    except ValueError:
        scheme = name = ""
    is_printable = realm.isascii() and realm.isprintable() and not set(realm) & set(" \\#@")
    if not (name and is_printable and scheme in ("http", "https")):
        raise BadResponse(f"{redact(url)} asks for a token, and names no URL that gives one.")
    if scheme == "http" and not (is_loopback(name) and is_loopback(own)):
        raise BadResponse(f"{redact(url)} names a token service without https, {shown(name)}.")
    if name == own or name in challenge.token_hosts or (is_loopback(name) and is_loopback(own)):
        return
    domain = own.partition(".")[2]
    if is_address(own) or "." not in domain or not f".{name}".endswith(f".{domain}"):
        raise BadResponse(
            f"{own} names {shown(name)} as its token service, which is not a host of its domain.",
            hint="modelmake asks no host of another domain for tokens. Use another address of this "
            "registry, if it has one.",
        )


def _is_private(url: str) -> bool:
    """Whether nobody on the way can read what is sent to the URL."""
    return urlsplit(url).scheme == "https" or is_loopback(host(url))


def _basic(log_in: LogIn) -> str:
    pair = f"{log_in.user}:{log_in.password}".encode()
    return f"Basic {base64.b64encode(pair).decode()}"
