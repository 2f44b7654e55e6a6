"""What requests, urllib3, http.client and sockets raise -> our errors, without their texts.

Their texts hold the whole URL, query and all; so only the kind of the error is taken over.
"""

import contextlib
import http.client
from collections.abc import Iterator

import requests
import urllib3

from downloader.errors import BadResponse, ConnectionLost, TimedOut, TransferError
from downloader.urls import redact


@contextlib.contextmanager
def translated(url: str, timeout_seconds: float) -> Iterator[None]:
    """Run the block and turn foreign errors into ours.

    Args:
        url: What is asked for; shown without its query.
        timeout_seconds: The patience that was set, for the message.

    Raises:
        TimedOut: Nothing came in time.
        ConnectionLost: The connection failed or broke off.
        BadResponse: The URL cannot be asked at all.
        TransferError: TLS or a proxy is in the way; trying again will not help.
    """
    place = redact(url)
    try:
        yield
    except (requests.Timeout, urllib3.exceptions.TimeoutError, TimeoutError) as error:
        raise TimedOut(f"{place} sent nothing for {timeout_seconds:g} s.") from error
    except requests.exceptions.SSLError as error:
        raise TransferError(
            f"{place} has no TLS certificate that can be trusted: {_reason(error)}.",
            hint="If your network has its own authority, name its file in REQUESTS_CA_BUNDLE.",
        ) from error
    except requests.exceptions.ProxyError as error:
        raise TransferError(f"The proxy for {place} failed: {_reason(error)}.") from error
    except (requests.ConnectionError, urllib3.exceptions.HTTPError, OSError) as error:
        if isinstance(error, (requests.exceptions.InvalidURL, requests.exceptions.InvalidHeader)):
            raise BadResponse(f"{place} cannot be asked: {_reason(error)}.") from error
        raise ConnectionLost(f"The connection to {place} failed: {_reason(error)}.") from error
    except http.client.HTTPException as error:
        raise ConnectionLost(f"{place} broke off: {type(error).__name__}.") from error


def _reason(error: BaseException) -> str:
    """Return the innermost cause in the system's words, without any URL."""
    reason = type(error).__name__
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror and not _is_wrapper(cause):
            return cause.strerror
        reason = type(cause).__name__
        cause = _inner(cause)
    return reason


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
