"""Parse models.yaml into frozen entries, or raise an error with file, line and key path. Pure.

Three steps: `_strict_yaml` reads the text, msgspec checks it against the sources' entry types, and
the rest of this module checks what a type cannot say and every source has in common: names,
folders, URLs, and that no two models want one file. The rest each entry checks itself. No name is
resolved here.
"""

import re
from collections.abc import Mapping
from typing import TypeGuard
from urllib.parse import SplitResult, parse_qsl, urlsplit

import msgspec

from downloader.artifact import MODEL_NAME, check_path, collision_key, find_collision
from downloader.manifest import _strict_yaml
from downloader.manifest._messages import common_keys, nearest, reworded, unknown_key
from downloader.sources.interface import Entry, Fault, NamedUrl
from downloader.sources.registry import SOURCES, entry_type
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


def _check_urls(entry: Entry) -> None:
    """Refuse URLs that are not complete, public knowledge and safe to follow.

    Raises:
        Fault: One is not. The message never shows a user, password, query or fragment.
    """
    for named in entry.urls():
        try:
            _check(named)
        except Fault as fault:
            shown = _shown(named.url)
            raise Fault(named.keys, f"{shown}{fault.what}", fault.hint) from None


def _check(named: NamedUrl) -> None:
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


def _check_scheme(parts: SplitResult, named: NamedUrl) -> None:
    if parts.scheme == "https":
        return
    if parts.scheme != "http":
        raise Fault((), "only https URLs are taken", "It begins like https://example.org/.")
    if named.is_pinned or is_loopback((parts.hostname or "").lower()):
        return
    if named.is_base:
        what = "plain http is not taken here: nothing would prove that the bytes are the right ones"
        raise Fault((), what, "Use https: the SHA-256 of these files are not known in advance.")
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


_NAME_HINT = "A name holds letters, digits and . _ + @ - and begins with a letter or digit."


def _check_name(name: str) -> None:
    """Refuse a model's name that is not safe as a part of a path and of a task's name.

    Raises:
        Fault: It is not.
    """
    if not MODEL_NAME.fullmatch(name):
        raise Fault((), "this cannot be a model's name", _NAME_HINT)
    try:
        check_path(name)
    except ValueError as error:
        raise Fault((), str(error), _NAME_HINT) from None


def _check_folder(name: str, entry: Entry) -> None:
    """Refuse a target folder that is not safe on every platform.

    Raises:
        Fault: It is not.
    """
    target = entry.folder(name)
    if found := re.search(r"\{.*?(?:\}|\Z)|\}", target):
        shown = ascii(found[0][:80])
        raise Fault(("to",), f"{shown} is not known here; only {{name}} is put in")
    try:
        check_path(target)
    except ValueError as error:
        hint = "It is a folder below the one of models.yaml, such as models/{name}."
        raise Fault(("to",), str(error), hint) from None


def _check_apart(models: Mapping[str, Entry]) -> None:
    """Refuse models whose files cannot all exist at once, on some file system.

    Files that only a provider knows are compared when they are locked. What an archive unpacks to
    is known too late for that, so its folder must be one model's alone.

    Raises:
        Fault: Two files would be one, or one would have to be a folder too.
    """
    _check_own_folders(models)
    targets = [
        (f"{entry.folder(name)}/{path}", ("models", name, *keys), entry)
        for name, entry in models.items()
        for keys, path in entry.targets()
    ]
    pair = find_collision(target for target, _, _ in targets)
    if pair is None:
        return
    (first, named, _), (second, keys, entry) = [each for each in targets if each[0] in pair][:2]
    place = _strict_yaml.key_path(named)
    what = f"its target {second!a} cannot exist beside that of {place} ({first!a})"
    raise Fault(keys, what, entry.collision_hint)


def _check_own_folders(models: Mapping[str, Entry]) -> None:
    """Refuse a folder that two models share, if nobody can tell that their files differ."""
    folders = {name: collision_key(entry.folder(name)) for name, entry in models.items()}
    seen: dict[object, str] = {}
    for name, entry in models.items():
        what = entry.identity()
        if what is not None and (other := seen.setdefault((folders[name], what), name)) != name:
            what = f"its files would have the names and the folder of those of `{other}`"
            raise Fault(("models", name), what, entry.collision_hint)
        for other, folder in folders.items() if entry.needs_own_folder else ():
            if other != name and f"{folder}/".startswith(f"{folders[name]}/"):
                what = f"its archive would be unpacked into the folder of `{other}`"
                raise Fault(("models", name), what, "Give one of the two another `to`.")


VERSION = 1
_TOP_KEYS = frozenset({"version", "defaults", "models"})


class Manifest(msgspec.Struct, frozen=True):
    """What people ask for."""

    models: dict[str, Entry]
    """By name, in the order of the file, `defaults` already put in."""


def load(text: bytes, name: str = "models.yaml") -> Manifest:
    """Read a manifest.

    Args:
        text: The file's bytes.
        name: The file's name, for messages.

    Raises:
        ManifestError: It says something it may not, as `NAME:LINE: key.path: what`.
    """
    document = _strict_yaml.load(text, name)
    try:
        return Manifest(models=_models(document.data))
    except Fault as fault:
        raise document.error(fault.keys, fault.what, hint=fault.hint) from None


def _is_mapping(value: object) -> TypeGuard[dict[str, object]]:
    return isinstance(value, dict)


def _models(data: object) -> dict[str, Entry]:
    top = _checked_top(data)
    defaults = _checked_defaults(top.get("defaults"))
    models = top["models"]
    if not _is_mapping(models):
        raise Fault(("models",), "expected the models by name", "Each is `NAME:` with its keys.")
    _check_names(models)
    entries = {name: _entry(name, raw, defaults) for name, raw in models.items()}
    _check_apart(entries)
    return entries


def _checked_top(data: object) -> dict[str, object]:
    """Return the whole manifest, its version understood and its keys known."""
    if not _is_mapping(data):
        raise Fault((), "expected keys and values: `version: 1` and `models:`")
    _check_version(data)
    for key in data:
        if key not in _TOP_KEYS:
            raise unknown_key((key,), _TOP_KEYS)
    if "models" not in data:
        raise Fault((), "`models` is missing", "Write `models:` and below it one model a name.")
    return data


def _check_version(data: Mapping[str, object]) -> None:
    if "version" not in data:
        raise Fault((), "`version` is missing", f"Write `version: {VERSION}` as the first line.")
    version = data["version"]
    if type(version) is not int or version < 1:
        raise Fault(("version",), f"expected {VERSION}")
    if version > VERSION:
        what = f"this program knows version {VERSION} of the format only"
        raise Fault(("version",), what, "Update modelmake, from where you have it")


def _checked_defaults(raw: object) -> dict[str, object]:
    """Return the common keys for every model; an empty `defaults:` has none."""
    if raw is None:
        return {}
    if not _is_mapping(raw):
        raise Fault(("defaults",), "expected keys and values")
    known = common_keys()
    for key in raw:
        if key not in known:
            raise unknown_key(("defaults", key), known)
    if "source" in raw:
        _check_source(raw["source"], ("defaults", "source"))
    try:
        msgspec.convert({key: raw[key] for key in raw if key != "source"}, Entry)
    except msgspec.ValidationError as error:
        raise reworded(error, Entry).below("defaults") from None
    return raw


def _check_source(source: object, keys: tuple[str, ...]) -> None:
    known = ", ".join(sorted(SOURCES))
    if not isinstance(source, str):
        raise Fault(keys, f"expected one of {known}")
    if source not in SOURCES:
        raise Fault(keys, f"unknown source; known are {known}", nearest(source, SOURCES))


def _check_names(models: Mapping[str, object]) -> None:
    seen: dict[str, str] = {}
    for name in models:
        try:
            _check_name(name)
        except Fault as fault:
            raise fault.below("models", name) from None
        key = collision_key(name)
        if key in seen:
            what = f"the name differs from `{seen[key]}` only in case, which some disks cannot tell"
            raise Fault(("models", name), what, "Rename one of the two.")
        seen[key] = name


def _entry(name: str, raw: object, defaults: dict[str, object]) -> Entry:
    """Return one model's entry; a fault is laid at the line that says it."""
    if not _is_mapping(raw):
        raise Fault(("models", name), "expected keys and values, such as `source: http`")
    try:
        entry = _converted({**defaults, **raw})
        _check_urls(entry)
        _check_folder(name, entry)
        entry.check(raw)
    except Fault as fault:
        key = fault.keys[0] if fault.keys else None
        is_default = key in defaults and key not in raw
        place = ("defaults",) if is_default else ("models", name)
        raise fault.below(*place) from None
    return entry


def _converted(merged: dict[str, object]) -> Entry:
    if "source" not in merged:
        raise Fault((), "`source` is missing", f"It is one of {', '.join(sorted(SOURCES))}.")
    _check_source(merged["source"], ("source",))
    kind = entry_type(str(merged["source"]))
    try:
        return msgspec.convert(merged, kind)
    except msgspec.ValidationError as error:
        raise reworded(error, kind) from None
