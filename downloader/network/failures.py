"""Turn errors of requests, urllib3, http.client and sockets into ours, and say when to retry.

Their texts hold the whole URL, query and all; so only the kind of the error is taken over. What a
request carries as a credential is noted here, for errors.py to keep out of every text.

The retry policy is pure: no clock, no sleep, no network. A matrix of CI jobs starts at the same
second and is refused at the same second, each with the same Retry-After. RFC 9110 (10.2.3) lets a
server say how long to wait, not who may come first: so each adds a random part of its own, as wide
as its own backoff, which doubles while they are refused. Nothing is delayed before the first
request: a run that has nothing to fetch, or a server with room for all, would pay for it, and the
first refusal spreads the rest.
"""

import base64
import binascii
import errno
import functools
import http.client
import math
import random
import re
import ssl
from collections.abc import Callable, Iterator, Mapping
from urllib.parse import unquote, unquote_plus, urlsplit

import msgspec
import requests
import urllib3

from downloader.errors import (
    BadResponse,
    ConnectionLost,
    ModelmakeError,
    ServerBusy,
    Stop,
    TimedOut,
    TooManyOpen,
    TransferError,
    note_secret,
)
from downloader.fs.open_file import ADVICE, TOO_MANY_OPEN
from downloader.fs.run_token import released
from downloader.network._connection import LEAST_BYTES_A_SECOND, TooSlow
from downloader.urls import redact

SECRET_NAME = re.compile(r"(?i)sig|token|key|secret|credential|passw|auth|policy")
"""Parameters of a query that are credentials by their names."""
PLAIN_HEADERS = frozenset({"Accept"})
"""Headers of a location that hold no secret, and words that messages need."""


def note_credentials(url: str, headers: Mapping[str, str], proxies: Mapping[str, str]) -> None:
    """Note what a request carries, so that no text shows it (errors.py).

    Args:
        url: What is asked; it may be signed, and a redirect may lead to one with a log-in.
        headers: Those meant for its origin alone.
        proxies: The ways to it; the user and password of one are sent to it.
    """
    if "@" in url or "?" in url:
        _note_url(url)
    for name, value in headers.items():
        if name not in PLAIN_HEADERS:
            _note_header(value)
    for proxy in proxies.values():
        if "@" in proxy:
            _note_log_in((proxy.partition("://")[2] or proxy).rpartition("@")[0])


@functools.lru_cache(1024)
def _note_url(url: str) -> None:
    parts = urlsplit(url)
    if "@" in parts.netloc:
        _note_log_in(parts.netloc.rpartition("@")[0])
    is_signed = False
    for pair in filter(None, parts.query.split("&")):
        name, _, value = pair.partition("=")
        is_secret = SECRET_NAME.search(name) is not None
        is_signed |= is_secret
        note_secret(value, is_hint=not is_secret)
        note_secret(unquote_plus(value), is_hint=not is_secret)
    note_secret(parts.query, is_hint=not is_signed)


@functools.lru_cache(64)
def _note_log_in(log_in: str) -> None:
    """Note the user and password of a URL, as they stand there and as `Basic` sends them."""
    user, _, password = log_in.partition(":")
    note_secret(log_in)
    for encoding in ("latin-1", "utf-8"):
        pair = f"{unquote(user)}:{unquote(password)}".encode(encoding, "replace")
        _note_header(f"Basic {base64.b64encode(pair).decode()}")


@functools.lru_cache(64)
def _note_header(value: str) -> None:
    """Note the value, its last word (the token after `Bearer`), and the log-in of a `Basic`."""
    word = value.rpartition(" ")[2]
    for each in (value, word, word.partition("=")[2]):
        note_secret(each)
        note_secret(each, is_hint=True)
    try:
        log_in = base64.b64decode(word, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return
    user, colon, password = log_in.partition(":")
    if colon:
        note_secret(log_in)
        note_secret(password)
        note_secret(user, is_hint=user.isalpha())  # an ordinary word is in many texts
        for each in (user, password):  # so is a short password
            note_secret(each, is_hint=True)


FIRST_DELAY_SECONDS = 0.5
LONGEST_DELAY_SECONDS = 30.0


class RetryPolicy(msgspec.Struct, frozen=True):
    """Limits for retries and waits.

    Attributes:
        retries: Attempts in a row that may bring no new byte.
        max_wait_seconds: The longest Retry-After that is waited for.
        max_window_seconds: The longest wait for a rate limit to begin anew.
    """

    retries: int
    max_wait_seconds: float
    max_window_seconds: float = 0.0

    def delay_seconds(self, error: ModelmakeError, failures: int, jitter: float) -> float | None:
        """Return how long to wait before the next attempt, or None to give up.

        Args:
            error: What ended the attempt.
            failures: Attempts in a row without progress, this one included; 0 when it made some.
            jitter: A random number in [0, 1), so that a matrix of jobs does not come back at once.
        """
        if not error.retryable or failures >= self.retries:
            return None
        if not isinstance(error, ServerBusy) or error.wait_seconds is None:
            return backoff_seconds(failures, jitter)
        if self.is_too_long(error):
            return None
        asked = max(error.wait_seconds, 0.0)
        return asked + max(0.1 * asked, _bound_seconds(failures)) * jitter

    def is_too_long(self, error: ServerBusy) -> bool:
        """Whether a server asks to wait longer than the user allows."""
        most = self.max_window_seconds if error.is_window else self.max_wait_seconds
        return (error.wait_seconds or 0.0) > most


class Retries:
    """The one loop that tries again: each attempt is a block within it.

        retries = Retries(policy, stop, waiting)
        while True:
            with retries:
                return ask()

    A few bytes are not progress, else a server that drips would be asked for ever; nor are bytes
    that came before and were thrown away, else one without ranges that always breaks off would be.

    Args:
        policy: How patient to be.
        stop: Ends a wait.
        waiting: Called with what failed, the seconds until the next attempt, that attempt's number
            since the last progress, and how many attempts there are.
        present: How many bytes are there before the first attempt.
        least: How many more are progress, which resets the count of failures.

    Attributes:
        present: How many bytes are there now; set by the block.
    """

    def __init__(
        self,
        policy: RetryPolicy,
        stop: Stop,
        waiting: Callable[[ModelmakeError, float, int, int], object],
        present: int = 0,
        least: int = 1,
    ) -> None:
        self._policy, self._stop, self._waiting = policy, stop, waiting
        self.present = self._furthest = present
        self._least, self._failures = least, 0

    def __enter__(self) -> None:
        """Begin an attempt."""

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> bool:
        """Wait after a failure that may pass, and raise any other; Interrupted if it is stopped."""
        if not isinstance(error, ModelmakeError):
            return False
        if self.present >= self._furthest + self._least:
            self._furthest, self._failures = self.present, 0
        else:
            self._failures += 1
        delay = self._policy.delay_seconds(error, self._failures, random.random())  # noqa: S311
        if delay is None:
            if isinstance(error, ServerBusy) and self._policy.is_too_long(error):
                wait_seconds = math.ceil(error.wait_seconds or 0.0)
                error.hint = (
                    "Run the same command again then, or set "
                    f"MODELMAKE_MAX_WAIT={wait_seconds} to wait that long."
                )
            return False
        self._waiting(error, delay, self._failures + 1, self._policy.retries)
        with released(is_urgent=True):
            self._stop.wait(delay)
        return True


def backoff_seconds(failures: int, jitter: float) -> float:
    """Return an exponential delay, between half and the whole of its bound."""
    return _bound_seconds(failures) * (0.5 + 0.5 * jitter)


def _bound_seconds(failures: int) -> float:
    doublings = min(max(failures - 1, 0), 16)
    bound: float = FIRST_DELAY_SECONDS * 2**doublings
    return min(bound, LONGEST_DELAY_SECONDS)


PROXY_FAILURES = (
    requests.exceptions.ProxyError,
    requests.exceptions.InvalidProxyURL,
    requests.exceptions.InvalidSchema,  # SOCKS without its package
    urllib3.exceptions.LocationValueError,  # of a proxy: `prepare` has read the URL itself
)
TIMEOUTS = (requests.Timeout, urllib3.exceptions.TimeoutError, TimeoutError)
FOREIGN = (OSError, urllib3.exceptions.HTTPError, http.client.HTTPException)
"""Errors of requests are OSErrors too."""
REFUSED_TUNNEL = r"Tunnel connection failed: ([0-9]{3})\b"
MOST_CAUSES = 20


class translated:  # noqa: N801 - used as a function; a generator would cost more at each read
    """Run the block and turn foreign errors into ours.

    Args:
        url: What is asked for; shown without its query.
        timeout_seconds: The patience that was set, for the message.

    Raises:
        TimedOut: Nothing came in time.
        ConnectionLost: The connection failed or broke.
        BadResponse: The URL cannot be asked at all.
        TransferError: TLS or a proxy is in the way; trying again will not help.
        TooManyOpen: The system gives no further socket.
    """

    __slots__ = ("_timeout_seconds", "_url")

    def __init__(self, url: str, timeout_seconds: float) -> None:
        self._url, self._timeout_seconds = url, timeout_seconds

    def __enter__(self) -> None:
        """Begin the block."""

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        """Raise ours instead of a foreign error."""
        if isinstance(error, FOREIGN):
            place = redact(self._url)
            ours = _limit(error, place) or _ours(error, place, self._timeout_seconds)
            raise ours from None  # its text has the whole URL, and an uncaught error shows it


def _ours(error: BaseException, place: str, timeout_seconds: float) -> TransferError:
    """Return what a foreign error means."""
    if isinstance(error, TIMEOUTS):
        return TimedOut(f"{place} {_missed(error)} {timeout_seconds:g} s.")
    if isinstance(error, requests.exceptions.SSLError):
        return _tls_failure(place, error)
    if isinstance(error, PROXY_FAILURES):
        return _proxy_failure(place, error)
    if isinstance(error, http.client.HTTPException):
        return ConnectionLost(f"The connection to {place} broke: {type(error).__name__}.")
    if isinstance(error, (requests.exceptions.InvalidURL, requests.exceptions.InvalidHeader)):
        return BadResponse(f"{place} cannot be requested: {_reason(error)}.")
    return ConnectionLost(f"The connection to {place} failed: {_reason(error)}.")


def _proxy_failure(place: str, error: BaseException) -> TransferError:
    if isinstance(error, requests.exceptions.InvalidSchema):
        return TransferError(
            f"The proxy for {place} is a SOCKS proxy, and PySocks is not installed.",
            hint="Run `pip install PySocks`, or unset ALL_PROXY (or HTTPS_PROXY, HTTP_PROXY).",
        )
    return TransferError(
        f"The proxy for {place} failed: {_reason(error)}.",
        hint="Check HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY.",
    )


def _limit(error: BaseException, place: str) -> TooManyOpen | None:
    """Return the local error, whatever the libraries wrapped it in."""
    for cause in _causes(error):
        if isinstance(cause, OSError) and cause.errno in TOO_MANY_OPEN:
            return TooManyOpen(
                f"Cannot open a connection to {place}: {cause.strerror}.",
                hint=ADVICE[errno.errorcode[cause.errno]],
            )
    return None


def _missed(error: BaseException) -> str:
    """Return what did not happen in time."""
    if isinstance(error, requests.ConnectTimeout):
        return "accepted no connection within"
    if any(isinstance(cause, TooSlow) for cause in _causes(error)):
        return f"sent less than {LEAST_BYTES_A_SECOND} bytes a second, or an endless head, for"
    return "sent no data for"


def _tls_failure(place: str, error: BaseException) -> TransferError:
    """Return the error for a handshake or a connection that TLS gave up."""
    causes = list(_causes(error))
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes):
        return TransferError(
            f"{place} has an untrusted TLS certificate: {_reason(error)}.",
            hint="If your network has its own CA, set REQUESTS_CA_BUNDLE to its certificate file.",
        )
    if any(isinstance(cause, (ssl.SSLEOFError, ssl.SSLZeroReturnError)) for cause in causes):
        return ConnectionLost(f"{place} closed the TLS connection.")
    return TransferError(
        f"TLS with {place} failed: {_reason(error)}.",
        hint="A proxy in between or an outdated server may be the cause.",
    )


def _reason(error: BaseException) -> str:
    """Return the innermost cause in the system's words, without any URL."""
    reason = type(error).__name__
    for cause in _causes(error):
        tunnel = re.match(REFUSED_TUNNEL, str(cause)) if isinstance(cause, OSError) else None
        if tunnel:
            return f"it answered {tunnel[1]}"
        if isinstance(cause, OSError) and cause.strerror and not _is_wrapper(cause):
            return cause.strerror
        reason = type(cause).__name__
    return reason


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the error, what it wraps, and so on."""
    cause: BaseException | None = error
    for _ in range(MOST_CAUSES):
        if cause is None:
            return
        yield cause
        cause = _inner(cause)


def _is_wrapper(error: OSError) -> bool:
    return isinstance(error, requests.RequestException)


def _inner(error: BaseException) -> BaseException | None:
    """Return what the error wraps: urllib3 keeps it in `reason`, requests in its arguments."""
    candidates = (
        getattr(error, "reason", None),
        *reversed(error.args),
        error.__cause__,
        error.__context__,
    )
    return next((found for found in candidates if isinstance(found, BaseException)), None)
