"""Refuse URLs that are not complete, public knowledge and safe to follow. Pure.

The message never shows a user, password, query or fragment, and says what to write instead.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from downloader.sources.interface import VARIABLE, Entry, Fault, NamedUrl, Reference
from downloader.sources.registry import find_meant, find_reference
from downloader.urls import is_loopback, is_published, published_url, redact

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
_STORAGE = re.compile("s3[an]?|minio|r2|gs|gcs|google|az|azure|abfss?|wasbs?|oci|docker|hdfs")
ORDINARY = re.compile(r"https?://[a-z0-9][a-z0-9.-]*(?::[1-9][0-9]{0,3})?(?:/[A-Za-z0-9_./~+-]*)?")
"""What most URLs look like: a host that is ASCII, maybe a port, and a path without any escape."""
_WHOLE_HINT = "It begins like https://example.org/."
VARIABLE_FAULT = "variables are not expanded here"
VARIABLE_HINT = "Write the value itself."


def url_faults(entry: Entry) -> Iterator[Fault]:
    """Yield what is wrong with the URLs of an entry, each with its key path."""
    for named in entry.urls():
        if _is_ordinary(named):
            continue
        try:
            _check(named)
        except Fault as fault:
            yield Fault(named.keys, f"{_shown(named.url)}{fault.what}", fault.hint)
    for index, url in enumerate(entry.mirrors):
        if is_published(url) and (why := _published_fault(url)):
            yield Fault(("mirrors", index), *why)


def _is_ordinary(named: NamedUrl) -> bool:
    """Whether one look tells that `_check` would find nothing."""
    url = named.url
    return (
        ORDINARY.fullmatch(url) is not None
        and (named.is_pinned or url.startswith("https:"))
        and not named.may_be_page
    )


def _published_fault(url: str) -> tuple[str, str] | None:
    """Return what is wrong with the URL of a published copy, and what to write; None if nothing."""
    if re.search(VARIABLE, url):
        return VARIABLE_FAULT, VARIABLE_HINT
    try:
        published_url(url)
    except ValueError as error:
        return f"not a published copy: {error}", _place_hint(url)
    return None


def _place_hint(url: str) -> str:
    what = "oci://registry/repository" if url.startswith("oci:") else "s3://bucket/prefix/"
    return f"It is written like {what}."


def _check(named: NamedUrl) -> None:
    if named.has_variable:
        raise Fault((), VARIABLE_FAULT, VARIABLE_HINT)
    parts = _split(named)
    _check_scheme(parts, named)
    if "@" in parts.netloc:
        raise Fault((), "a URL must not contain a user or password", _SECRETS_HINT)
    if "#" in named.url:
        raise Fault((), "a URL must not contain a fragment (`#`)", "Remove it, or write it as %23.")
    if named.is_base and parts.query:
        raise Fault((), "a base URL must not contain a query (`?`)")
    _check_query(parts.query)
    if not named.may_be_page:
        return
    entry = find_reference(named.url, is_url=True)
    if named.is_page or (entry and entry.is_page):
        may_be_model = entry if "mirrors" not in named.keys else None
        raise Fault((), "that is the page, not the file", _page_hint(parts, may_be_model))


def _split(named: NamedUrl) -> SplitResult:
    url = named.url
    if found := re.match(r"(\w+):(?=https?:)", url):
        raise Fault((), f"a space is missing after `{found[0]}`")
    # urlsplit drops tabs and line ends in silence, and clients differ on a backslash.
    if " " in url or "\\" in url or not url.isprintable():
        is_around = url != url.strip(" ")
        hint = "Remove the space before or after it." if is_around else "Write a space as %20."
        what = "a URL must not contain a space, backslash or control character"
        raise Fault((), what, hint if " " in url else None)
    try:
        parts = urlsplit(url)
        has_host = bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise Fault((), "not a valid URL: look at its host and port") from None
    is_mirror = named.is_base and "mirrors" in named.keys  # not that of one file
    if parts.scheme == "file" or url.startswith(("/", "./", "../", "~/")):
        path = PurePosixPath(unquote(parts.path))
        hint = f"`doit adopt --from {_escaped(str(path.parent))}` takes local files."
        if is_mirror and path.is_absolute():
            folder = _escaped(path.as_uri())
            hint = f"Write {folder} for a folder that `doit publish` filled."
        raise Fault((), "only https URLs are supported", hint)
    if _STORAGE.fullmatch(parts.scheme):
        if is_mirror and (fault := _published_fault(url)):
            raise Fault((), *fault)
        hint = _meant_hint(named) or "Use an https URL of the same file."
        raise Fault((), f"{parts.scheme}:// is not supported here", hint)
    is_of_web = parts.scheme in {"http", "https"}
    if not is_of_web and (entry := find_reference(url, is_url=True)):
        may_be_secret = re.search("[?#]", str(entry.keys))  # a token in the query of a short form
        raise Fault((), "not a URL, but a model", None if may_be_secret else entry_hint(entry))
    if not has_host:
        raise Fault((), "not a complete URL", _meant_hint(named) or _WHOLE_HINT)
    return parts


def _check_scheme(parts: SplitResult, named: NamedUrl) -> None:
    if parts.scheme == "https":
        return
    if parts.scheme != "http":
        raise Fault((), "only https URLs are supported", _meant_hint(named) or _WHOLE_HINT)
    if named.is_pinned or is_loopback((parts.hostname or "").lower()):
        return
    if named.is_base:
        what = "plain http is not allowed here: nothing would prove that the bytes are right"
        raise Fault((), what, "Use https.")
    what = "plain http needs a `sha256` for the file"
    raise Fault((), what, "Use https, or add the file's `sha256`.")


def _check_query(query: str) -> None:
    for name, _ in parse_qsl(query.replace(";", "&"), keep_blank_values=True):
        if name.strip().casefold().replace("_", "-") in _SECRET_PARAMETERS:
            what = "a URL must not contain a signature or token"
            hint = f"Such a URL expires or is secret; use a permanent one. {_SECRETS_HINT}"
            raise Fault((), what, hint)


def _page_hint(parts: SplitResult, entry: Reference | None) -> str:
    """Return what to write instead of a page's address: an entry, or the address of its file."""
    file = _file_place(parts)
    if not entry:
        return f"Write {file}"
    is_whole = file.endswith("/FILE")
    return entry_hint(entry) + f", or the URL of this file: {file}" * (not is_whole)


def _meant_hint(named: NamedUrl) -> str:
    """Return what to write instead of what is no URL; empty if nobody knows what it means."""
    for form in find_meant(named.url, is_url=True):
        if not named.is_base and (entry := find_reference(form, is_url=True)):
            return entry_hint(entry)
        if form.startswith("https://"):
            return f"Did you mean `{_escaped(form)}`?"
    return ""


def missing_source_hint(given: Mapping[str, object]) -> str:
    """Return what to write for a model whose keys do not say the source; empty if unknown."""
    texts = [given[key] for key in ("url", "repo", "image") if isinstance(given.get(key), str)]
    meant = [find_reference(form) for text in texts for form in find_meant(str(text))]
    return next((entry_hint(entry) for entry in meant if entry), "")


def entry_hint(entry: Reference) -> str:
    """Return the hint to write a model as the entry that a reference means."""
    from downloader.manifest.edit import flow_text  # noqa: PLC0415 - on the way to an error

    return f"Write the model as {_escaped(flow_text(entry.keys))}"


def _file_place(parts: SplitResult) -> str:
    """Return the address of the file that a page is about, as far as the page tells."""
    host, path = (parts.hostname or "").removeprefix("www."), parts.path.rstrip("/")
    found = re.fullmatch(r"(?P<repo>/.+?)(/-)?/(blob|tree)/(?P<revision>[^/]+)(?P<file>/.+)?", path)
    repo, origin = found["repo"] if found else path, f"{parts.scheme}://{parts.netloc}"
    revision = found["revision"] if found else "REVISION"
    file = (found and found["file"]) or "/FILE"
    if host == "github.com":
        place = f"https://raw.githubusercontent.com{repo}/{revision}{file}"
    elif host == "gitlab.com":
        place = f"https://gitlab.com{repo}/-/raw/{revision}{file}"
    else:
        site = "https://huggingface.co" if host in {"huggingface.co", "hf.co"} else origin
        place = f"{site}{repo}/resolve/{revision}{file}"
    return _escaped(place)


def _shown(url: str) -> str:
    """Return the URL for a message, or nothing if a password may stand at an odd place in it."""
    shown = redact(url)
    is_clear = "@" not in shown and re.match(r"https?://[^/]", shown)
    return f"{_escaped(shown)}: " if is_clear else ""


def _escaped(text: str) -> str:
    return re.sub(r"[^\x21-\x7e]", lambda found: ascii(found[0])[1:-1], text)[:200]
