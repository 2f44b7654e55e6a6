"""What requests, urllib3, http.client and sockets raise -> our errors, without their texts.

Their texts hold the whole URL, query and all; so only the kind of the error is taken over.
"""

import errno
import http.client
import re
import ssl
from collections.abc import Iterator

import requests
import urllib3

from downloader.disk.advice import ADVICE, TOO_MANY_OPEN
from downloader.errors import BadResponse, ConnectionLost, TimedOut, TooManyOpen, TransferError
from downloader.transfer.patience import LEAST_BYTES_A_SECOND, TooSlow
from downloader.urls import redact

PROXY_FAILURES = (
    requests.exceptions.ProxyError,
    requests.exceptions.InvalidProxyURL,
    requests.exceptions.InvalidSchema,  # SOCKS without its package
    urllib3.exceptions.LocationValueError,  # of a proxy: `prepare` has read the URL itself
)
TIMEOUTS = (requests.Timeout, urllib3.exceptions.TimeoutError, TimeoutError)
FOREIGN = (OSError, urllib3.exceptions.HTTPError, http.client.HTTPException)
"""Errors of requests are OSErrors too."""
REFUSED_TUNNEL = re.compile(r"Tunnel connection failed: ([0-9]{3})\b")
MOST_CAUSES = 20


class translated:  # noqa: N801 - used as a function; a generator would cost more at each read
    """Run the block and turn foreign errors into ours.

    Args:
        url: What is asked for; shown without its query.
        timeout_seconds: The patience that was set, for the message.

    Raises:
        TimedOut: Nothing came in time.
        ConnectionLost: The connection failed or broke off.
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
        """Raise ours in place of a foreign error."""
        if isinstance(error, FOREIGN):
            place = redact(self._url)
            ours = _limit(error, place) or _ours(error, place, self._timeout_seconds)
            raise ours from error


def _ours(error: BaseException, place: str, timeout_seconds: float) -> TransferError:
    """Return what a foreign error means."""
    if isinstance(error, TIMEOUTS):
        return TimedOut(f"{place} {_missed(error)} {timeout_seconds:g} s.")
    if isinstance(error, requests.exceptions.SSLError):
        return _tls_failure(place, error)
    if isinstance(error, PROXY_FAILURES):
        return TransferError(
            f"The proxy for {place} failed: {_reason(error)}.",
            hint="See HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY in the environment.",
        )
    if isinstance(error, http.client.HTTPException):
        return ConnectionLost(f"{place} broke off: {type(error).__name__}.")
    if isinstance(error, (requests.exceptions.InvalidURL, requests.exceptions.InvalidHeader)):
        return BadResponse(f"{place} cannot be asked: {_reason(error)}.")
    return ConnectionLost(f"The connection to {place} failed: {_reason(error)}.")


def _limit(error: BaseException, place: str) -> TooManyOpen | None:
    """Return what the wire has no part in, whatever the libraries wrapped it in."""
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
        return "took no connection in"
    if any(isinstance(cause, TooSlow) for cause in _causes(error)):
        return f"sent less than {LEAST_BYTES_A_SECOND} bytes a second, or an endless head, for"
    return "sent nothing for"


def _tls_failure(place: str, error: BaseException) -> TransferError:
    """Return the error for a handshake or a connection that TLS gave up."""
    causes = list(_causes(error))
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes):
        return TransferError(
            f"{place} has no TLS certificate that can be trusted: {_reason(error)}.",
            hint="If your network has its own authority, name its file in REQUESTS_CA_BUNDLE.",
        )
    if any(isinstance(cause, (ssl.SSLEOFError, ssl.SSLZeroReturnError)) for cause in causes):
        return ConnectionLost(f"{place} broke off TLS.")
    return TransferError(
        f"TLS with {place} failed: {_reason(error)}.",
        hint="A proxy in between, or a server that is too old, may be the cause.",
    )


def _reason(error: BaseException) -> str:
    """Return the innermost cause in the system's words, without any URL."""
    reason = type(error).__name__
    for cause in _causes(error):
        tunnel = REFUSED_TUNNEL.match(str(cause)) if isinstance(cause, OSError) else None
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
