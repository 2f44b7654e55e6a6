"""Which replies are no file: status codes, error pages with status 200, pointers. Pure."""

import re
from http import HTTPStatus

from downloader.errors import (
    AccessDenied,
    BadResponse,
    ConnectionLost,
    ModelmakeError,
    NotFound,
    ServerBusy,
)
from downloader.transfer.credentials import without_credentials
from downloader.transfer.head import Head

DENIED = frozenset({401, 403, 407, 451})
WANTS_CREDENTIAL = frozenset({401, 403})
MAY_BE_EXPIRED = frozenset({400, 401, 403})
GONE = frozenset({404, 410})
BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
BUSY_CODES = frozenset({"SlowDown", "RequestTimeout", "InternalError", "ServerBusy"})
"""Error codes of object stores that mean "later" whatever the status (Nix: s3RetryableErrors)."""
EXPIRED = re.compile(
    rb"<Code>(ExpiredToken|ExpiredRequest|RequestExpired)</Code>|request has expired|"
    rb"signature (has )?expired|not valid in the specified time frame",
    re.IGNORECASE,
)
"""What S3, R2, Google's and Azure's storage say to a signed URL whose time is over."""
ERROR_CODE = re.compile(rb"<Code>([A-Za-z0-9]{1,60})</Code>")

PAGES = (
    (re.compile(rb"\s*<(!doctype\s+html|html)\b", re.IGNORECASE), "an HTML page"),
    (re.compile(rb"\s*<\?xml[^>]*>\s*<Error>|\s*<Error>"), "an XML error message"),
    (re.compile(rb"version https://git-lfs\.github\.com/spec/v1"), "a Git LFS pointer"),
    (re.compile(rb'\s*\{\s*"(error|message)"\s*:'), "a JSON error message"),
)
MARKUP_SUFFIXES = (".html", ".htm", ".xhtml", ".xml", ".svg", ".md", ".txt")
EXCERPT_BYTES = 200


def refusal(head: Head, body_start: bytes, credential_hint: str = "") -> ModelmakeError:
    """Return the error for a reply whose status means no file.

    Args:
        head: Its head; any status but 200 and 206.
        body_start: The first bytes of its body, where object stores say the cause.
        credential_hint: What to do where it wants a credential, or another one.
    """
    code = error_code(body_start)
    said = f"{head.status}{f' {code}' if code else ''}"
    if head.status in BUSY or code in BUSY_CODES:
        return ServerBusy(_busy(head, said), wait_seconds=head.wait_seconds)
    if head.status in GONE:
        return NotFound(f"{head.place} is not there ({said}).")
    if head.status in DENIED or code == "PublicAccessNotPermitted":
        hint = credential_hint if head.status in WANTS_CREDENTIAL else ""
        if head.status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
            hint = "The proxy wants a user and a password, as in HTTPS_PROXY=http://user:password@host."
        return AccessDenied(f"{head.place} refused us ({said}).", hint=hint or None)
    return BadResponse(f"{head.place} answered {said}, which is no file.")


def _busy(head: Head, said: str) -> str:
    asked = head.wait_seconds
    wish = "" if asked is None else f" and asks to wait {asked:.0f} s"
    return f"{head.place} is busy ({said}){wish}."


def error_code(body_start: bytes) -> str:
    """Return the <Code> of an object store's XML error, or an empty text."""
    match = ERROR_CODE.search(body_start)
    return match[1].decode("ascii") if match else ""


def is_expired(status: int, body_start: bytes) -> bool:
    """Whether a storage server refuses a signed URL for its age alone."""
    return status in MAY_BE_EXPIRED and EXPIRED.search(body_start) is not None


def page_in_place_of(path: str, body_start: bytes) -> str | None:
    """Return what the body is, when it cannot be the file `path`; None when it may be.

    Args:
        path: The artifact's path; a page is believed where the suffix promises one.
        body_start: The first bytes that came.
    """
    suffix_allows = path.lower().endswith
    for pattern, name in PAGES:
        if pattern.match(body_start):
            allowed = (".json",) if name.startswith("a JSON") else MARKUP_SUFFIXES
            return None if suffix_allows(allowed) else name
    return None


def excerpt(body_start: bytes) -> str:
    """Return the first bytes as they may be shown: on one line, no credential of ours."""
    whole = without_credentials(body_start.decode("utf-8", "replace"))
    text = whole[:EXCERPT_BYTES]
    return "".join(char if char.isprintable() else " " for char in text).strip()


def check_body_start(head: Head, path: str, body_start: bytes) -> None:
    """Refuse an error page that came with status 200.

    Raises:
        ServerBusy: It is an object store's message that means "later".
        BadResponse: It is another page, message or pointer.
    """
    page = page_in_place_of(path, body_start)
    if page is None:
        return
    if error_code(body_start) in BUSY_CODES:
        raise ServerBusy(_busy(head, f"{head.status} {error_code(body_start)}"))
    raise BadResponse(
        f"{head.place} answered with {page} in place of {path}: {excerpt(body_start)!r}.",
        hint="Open the URL in a browser: a proxy, a captive portal or a login may be in the way.",
    )


def cut_short(place: str, got: int, expected: int | None) -> ConnectionLost:
    """Return the error for a body that ended early; both counts in bytes of this body."""
    of = "" if expected is None else f" of {expected:,}"
    return ConnectionLost(f"{place} ended the body after {got:,}{of} bytes.")
