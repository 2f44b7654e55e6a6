"""Which URLs a manifest may name. Nothing is dialled and no name is resolved."""

import re
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import SplitResult, parse_qsl, urlsplit

from downloader.manifest.entries import AnyEntry, HttpEntry, OpenAIGPT2Entry
from downloader.manifest.wording import Fault, Keys
from downloader.urls import is_loopback, redact

_SECRET_PARAMETERS = frozenset(
    {
        "access-token",
        "api-key",
        "apikey",
        "auth-token",
        "awsaccesskeyid",
        "key-pair-id",
        "password",
        "secret",
        "sig",
        "signature",
        "token",
        "x-amz-credential",
        "x-amz-security-token",
        "x-amz-signature",
        "x-goog-credential",
        "x-goog-signature",
    }
)
"""In lower case with `-` for `_`: S3, Google, CloudFront and Azure signatures, and plain tokens."""

_SECRETS_HINT = "Secrets come from the environment, or for plain HTTP from netrc."
_PUBLISHED_SIZE = "124M"


class _Named(NamedTuple):
    """One URL of an entry, with its place and the terms it is taken on."""

    keys: Keys
    url: str
    is_pinned: bool
    """The bytes that come from it are proved by a digest known in advance."""
    is_base: bool


def check_urls(entry: AnyEntry) -> None:
    """Accept an entry whose URLs are all complete, public knowledge and safe to follow.

    Raises:
        Fault: One is not. The message never shows a user, password, query or fragment.
    """
    for named in _urls(entry):
        try:
            _check(named)
        except Fault as fault:
            shown = _shown(named.url)
            raise Fault(named.keys, f"{shown}{fault.what}", fault.hint) from None


def _urls(entry: AnyEntry) -> Iterator[_Named]:
    # OpenAI's digests of this size alone are published, so any mirror of it can be proved.
    is_published = isinstance(entry, OpenAIGPT2Entry) and entry.published_size == _PUBLISHED_SIZE
    if entry.base_url is not None:
        yield _Named(("base_url",), entry.base_url, is_published, is_base=True)
    for index, url in enumerate(entry.mirrors):
        yield _Named(("mirrors", index), url, is_published, is_base=True)
    if isinstance(entry, HttpEntry):
        yield from _file_urls(entry)


def _file_urls(entry: HttpEntry) -> Iterator[_Named]:
    for index, file in enumerate(entry.files):
        is_pinned = file.sha256 is not None
        yield _Named(("files", index, "url"), file.url, is_pinned, is_base=False)
        for place, url in enumerate(file.mirrors):
            yield _Named(("files", index, "mirrors", place), url, is_pinned, is_base=False)


def _check(named: _Named) -> None:
    parts = _split(named.url)
    _check_scheme(parts, named)
    if "@" in parts.netloc:
        raise Fault((), "a URL may hold no user or password", _SECRETS_HINT)
    if "#" in named.url:
        raise Fault((), "a URL may hold no fragment (`#`)", "Remove it, or write it as %23.")
    if named.is_base and parts.query:
        raise Fault((), "a base URL may hold no query (`?`)")
    _check_query(parts.query)


def _split(url: str) -> SplitResult:
    # urlsplit drops tabs and line ends in silence, and clients differ on a backslash.
    if " " in url or "\\" in url or not url.isprintable():
        raise Fault((), "a URL may hold no space, backslash or control character")
    try:
        parts = urlsplit(url)
        has_host = bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise Fault((), "not a valid URL: look at its host and port") from None
    if not has_host:
        raise Fault((), "not a whole URL", "It begins like https://example.org/.")
    return parts


def _check_scheme(parts: SplitResult, named: _Named) -> None:
    if parts.scheme == "https":
        return
    if parts.scheme != "http":
        raise Fault((), "only https URLs are taken", "It begins like https://example.org/.")
    if named.is_pinned or is_loopback((parts.hostname or "").lower()):
        return
    if named.is_base:
        what = "plain http is not taken here: nothing would prove that the bytes are the right ones"
        raise Fault((), what, "Use https. Only for GPT-2 124M are all digests published.")
    what = "plain http is only taken for a file whose sha256 is given"
    raise Fault((), what, "Use https, or add the file's `sha256`.")


def _check_query(query: str) -> None:
    for name, _ in parse_qsl(query.replace(";", "&"), keep_blank_values=True):
        if name.strip().casefold().replace("_", "-") in _SECRET_PARAMETERS:
            what = "a URL may hold no signature or token in its query"
            hint = f"Such a URL expires or is secret; name a lasting one. {_SECRETS_HINT}"
            raise Fault((), what, hint)


def _shown(url: str) -> str:
    """Return the URL for a message, or nothing where a password may stand at an odd place in it."""
    shown = redact(url)
    is_clear = "@" not in shown and re.match(r"https?://[^/]", shown)
    return f"{_escaped(shown)}: " if is_clear else ""


def _escaped(text: str) -> str:
    return re.sub(r"[^\x21-\x7e]", lambda found: ascii(found[0])[1:-1], text)[:200]
