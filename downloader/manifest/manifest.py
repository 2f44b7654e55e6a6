"""Parse models.yaml into frozen entries, or raise an error with file, line and key path. Pure.

Three steps: `_strict_yaml` reads the text, msgspec checks it against the entry types of the
sources, and the rest of this module checks what a type cannot say: where an entry's files go and
whether they may go there, and which URLs it may name. No name is resolved here.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple, TypeGuard
from urllib.parse import SplitResult, parse_qsl, urlsplit

import msgspec

from downloader.artifact import MODEL_NAME, check_path, collision_key, find_collision
from downloader.manifest._messages import SOURCES, common_keys, nearest, reworded, unknown_key
from downloader.sources.http import HttpEntry, HttpFile, file_path
from downloader.sources.interface import NOT_ABOUT_BYTES, Entry, Fault, Keys
from downloader.sources.openai_gpt2 import OpenAIGPT2Entry
from downloader.sources.registry import AnyEntry
from downloader.sources.together import TogetherEntry, check_together
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


ARCHIVE_HINT = "Give one of the two another `to`, or an `archive` name of its own."
_NAME_HINT = "A name holds letters, digits and . _ + @ - and begins with a letter or digit."


def model_folder(name: str, entry: AnyEntry) -> str:
    """Return the model's target folder, a posix path relative to models.yaml."""
    return entry.to.replace("{name}", name)


def check_name(name: str) -> None:
    """Accept a model's name that is safe as a part of a path and of a task's name.

    Raises:
        Fault: It is not.
    """
    if not MODEL_NAME.fullmatch(name):
        raise Fault((), "this cannot be a model's name", _NAME_HINT)
    try:
        check_path(name)
    except ValueError as error:
        raise Fault((), str(error), _NAME_HINT) from None


def check_paths(name: str, entry: AnyEntry) -> None:
    """Accept an entry whose folder and file paths are safe on every platform.

    Raises:
        Fault: One is not.
    """
    target = model_folder(name, entry)
    if found := re.search(r"\{.*?(?:\}|\Z)|\}", target):
        shown = ascii(found[0][:80])
        raise Fault(("to",), f"{shown} is not known here; only {{name}} is put in")
    try:
        check_path(target)
    except ValueError as error:
        hint = "It is a folder below the one of models.yaml, such as models/{name}."
        raise Fault(("to",), str(error), hint) from None
    if isinstance(entry, HttpEntry):
        for index, file in enumerate(entry.files):
            _check_file(index, file)


def _check_file(index: int, file: HttpFile) -> None:
    if file.path is None:
        _check_last_part(("files", index, "url"), file)
        return
    try:
        check_path(file.path)
    except ValueError as error:
        hint = "It is a path below the model's folder."
        raise Fault(("files", index, "path"), str(error), hint) from None


def _check_last_part(keys: Keys, file: HttpFile) -> None:
    """Accept a URL whose last part can be the file's name."""
    hint = "Give the file a `path` of its own."
    try:
        path = file_path(file)
    except UnicodeDecodeError:
        raise Fault(keys, "the last part of the URL is not UTF-8", hint) from None
    if not path or "/" in path:
        raise Fault(keys, f"the URL's last part, {path!a}, is not one file name", hint)
    try:
        check_path(path)
    except ValueError as error:
        raise Fault(keys, f"the URL's last part cannot be a file name: {error}", hint) from None


def _check_unpacked_folders(models: Mapping[str, AnyEntry]) -> None:
    unpacked = [name for name, entry in models.items() if getattr(entry, "extract", False)]
    folders = [(collision_key(model_folder(name, entry)), name) for name, entry in models.items()]
    for name in unpacked:
        key = collision_key(model_folder(name, models[name]))
        for other, of in folders:
            if of != name and (other == key or other.startswith(f"{key}/")):
                what = f"its archive would be unpacked into the folder of `{of}`"
                raise Fault(("models", name), what, "Give one of the two another `to`.")


def check_collisions(models: Mapping[str, AnyEntry]) -> None:
    """Accept models whose known files can all exist at once, on every file system.

    Only `http` entries name all their files, and `together` entries at most an archive; the others
    are compared when they are locked. What an archive unpacks to is known too late for that, so
    its folder must be one model's alone.

    Raises:
        Fault: Two files would be one, or one would have to be a folder too.
    """
    _check_unpacked_folders(models)
    _check_same_archives(models)
    targets = [target for name, entry in models.items() for target in _known_targets(name, entry)]
    pair = find_collision(target for target, _ in targets)
    if pair is None:
        return
    (first, named), (second, keys) = [found for found in targets if found[0] in pair][:2]
    what = f"its target {second!a} cannot exist beside that of {_as_path(named)} ({first!a})"
    hint = "Give one another `path`. Names that differ only in case are one file on many disks."
    if keys[-1] == "archive":
        hint = ARCHIVE_HINT
    raise Fault(keys, what, hint)


def _known_targets(name: str, entry: AnyEntry) -> Iterator[tuple[str, Keys]]:
    """Give each target that the entry names, and where it does."""
    if isinstance(entry, HttpEntry):
        for index, file in enumerate(entry.files):
            keys: Keys = ("models", name, "files", index)
            yield f"{model_folder(name, entry)}/{file_path(file)}", keys
    elif isinstance(entry, TogetherEntry) and entry.archive is not None:
        yield f"{model_folder(name, entry)}/{entry.archive}", ("models", name, "archive")


def _as_path(keys: Keys) -> str:
    parts = (f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys)
    return "".join(parts).removeprefix(".")


def _check_same_archives(models: Mapping[str, AnyEntry]) -> None:
    """Refuse two entries whose archives Together gives one name, in one folder."""
    seen: dict[object, str] = {}
    for name, entry in models.items():
        if not isinstance(entry, TogetherEntry) or entry.archive is not None:
            continue
        job, _, step = entry.job.partition(":")
        checkpoint = int(step) if step else entry.checkpoint
        meant = collision_key(model_folder(name, entry)), job, checkpoint, entry.type
        other = seen.setdefault(meant, name)
        if other != name:
            what = f"its archive would have the name and the folder of that of `{other}`"
            raise Fault(("models", name), what, ARCHIVE_HINT)


VERSION = 1
_TOP_KEYS = frozenset({"version", "defaults", "models"})


class Manifest(msgspec.Struct, frozen=True):
    """What people ask for."""

    models: dict[str, AnyEntry]
    """By name, in the order of the file, `defaults` already put in."""


def load(text: bytes, name: str = "models.yaml") -> Manifest:
    """Read a manifest.

    Args:
        text: The file's bytes.
        name: The file's name, for messages.

    Raises:
        ManifestError: It says something it may not, as `NAME:LINE: key.path: what`.
    """
    from downloader.manifest import _strict_yaml  # noqa: PLC0415 - PyYAML costs 25 ms

    document = _strict_yaml.load(text, name)
    try:
        return Manifest(models=_models(document.data))
    except Fault as fault:
        raise document.error(fault.keys, fault.what, hint=fault.hint) from None


def entry_digest(entry: AnyEntry) -> str:
    """Return `sha256:<hex>` of what the entry says about bytes.

    Where they go, how they are linked and which mirrors also have them is left out, so that a
    change there makes no lock stale.
    """
    data = msgspec.to_builtins(entry)
    about_bytes = {key: value for key, value in data.items() if key not in NOT_ABOUT_BYTES}
    for file in about_bytes.get("files", ()):
        file.pop("mirrors", None)
    canonical = msgspec.json.encode(about_bytes, order="deterministic")
    return f"sha256:{hashlib.sha256(canonical).hexdigest()}"


def _is_mapping(value: object) -> TypeGuard[dict[str, object]]:
    return isinstance(value, dict)


def _models(data: object) -> dict[str, AnyEntry]:
    top = _checked_top(data)
    defaults = _checked_defaults(top.get("defaults"))
    models = top["models"]
    if not _is_mapping(models):
        raise Fault(("models",), "expected the models by name", "Each is `NAME:` with its keys.")
    _check_names(models)
    entries = {name: _entry(name, raw, defaults) for name, raw in models.items()}
    check_collisions(entries)
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
            check_name(name)
        except Fault as fault:
            raise fault.below("models", name) from None
        key = collision_key(name)
        if key in seen:
            what = f"the name differs from `{seen[key]}` only in case, which some disks cannot tell"
            raise Fault(("models", name), what, "Rename one of the two.")
        seen[key] = name


def _entry(name: str, raw: object, defaults: dict[str, object]) -> AnyEntry:
    """Return one model's entry; a fault is laid at the line that says it."""
    if not _is_mapping(raw):
        raise Fault(("models", name), "expected keys and values, such as `source: http`")
    try:
        entry = _converted({**defaults, **raw})
        if isinstance(entry, TogetherEntry):
            check_together(entry, is_given="checkpoint" in raw)
        check_urls(entry)
        check_paths(name, entry)
    except Fault as fault:
        key = fault.keys[0] if fault.keys else None
        is_default = key in defaults and key not in raw
        place = ("defaults",) if is_default else ("models", name)
        raise fault.below(*place) from None
    return entry


def _converted(merged: dict[str, object]) -> AnyEntry:
    if "source" not in merged:
        raise Fault((), "`source` is missing", f"It is one of {', '.join(sorted(SOURCES))}.")
    _check_source(merged["source"], ("source",))
    try:
        entry: AnyEntry = msgspec.convert(merged, AnyEntry)
    except msgspec.ValidationError as error:
        raise reworded(error, SOURCES[str(merged["source"])]) from None
    return _lower_digests(entry) if isinstance(entry, HttpEntry) else entry


def _lower_digests(entry: HttpEntry) -> HttpEntry:
    """Return the entry with its digests as the lock writes them."""
    return msgspec.structs.replace(entry, files=tuple(_lower_digest(file) for file in entry.files))


def _lower_digest(file: HttpFile) -> HttpFile:
    if file.sha256 is None or file.sha256 == file.sha256.lower():
        return file
    return msgspec.structs.replace(file, sha256=file.sha256.lower())
