"""Any list of URLs: the names come from the manifest, never from a reply."""

import re
from collections.abc import Container, Iterator, Mapping
from functools import cached_property, lru_cache
from pathlib import PurePosixPath
from typing import Annotated, ClassVar, cast
from urllib.parse import unquote, urlsplit

import msgspec
from msgspec import Meta

from downloader.artifact import Artifact, check_path
from downloader.errors import SourceError
from downloader.sources.interface import (
    WEB,
    Entry,
    Fault,
    Keys,
    NamedUrl,
    Reference,
    Resolution,
    Sha256,
    Text,
    Url,
)
from downloader.urls import Location, host


class HttpFile(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """One file of an `http` model."""

    url: Annotated[
        Url,
        Meta(
            description="https; plain http for this machine, and elsewhere where `sha256` is given."
        ),
    ]
    sha256: Annotated[
        Sha256 | None,
        Meta(
            description="64 hex digits; without it the first verified download pins one in "
            "models.lock."
        ),
    ] = None
    path: Annotated[
        Text | None,
        Meta(description="Posix path below the model's folder; default: the last part of the URL."),
    ] = None
    mirrors: Annotated[
        tuple[Url, ...],
        Meta(description="Whole URLs of the same bytes, tried in order after `url`."),
    ] = ()

    def __post_init__(self) -> None:
        """Write the digest as the lock does."""
        if self.sha256:
            digest = self.sha256.lower().removeprefix("sha256:")
            msgspec.structs.force_setattr(self, "sha256", digest)

    @property
    def target(self) -> str:
        """The file's posix path below the model's folder.

        Without `path` it is the last part of the URL, percent-decoded once.

        Raises:
            ValueError: That part is not UTF-8; a loaded manifest holds no such file.
        """
        if self.path is not None:
            return self.path
        return _last_part(self.url)


_FILE = re.compile(r"[^/?#]*//[^/?#]*/(?:[^?#]*/)?([^/?#]*)")
"""A URL up to the last part of its path (RFC 3986, appendix B), for less than urlsplit takes."""


@lru_cache(1 << 14)  # asked at every step of a file's way
def _last_part(url: str) -> str:
    found = _FILE.match(url)
    return unquote(found[1], errors="strict") if found else ""


class HttpEntry(Entry, frozen=True, kw_only=True, tag="http"):
    """Any list of URLs, or a single one.

    However it was written, `files` has the files: models.lock does not tell the forms apart.
    """

    collision_hint = (
        "Give one another `path`. Names that differ only in case are one file on many disks."
    )
    reference_forms = {"https://example.org/model.bin": "a file at any URL"}  # noqa: RUF012
    reference_slips = {  # noqa: RUF012
        rf"(?!{WEB})h?t+ps?[:/]+([\w-]+(?:\.[\w-]+)+(?::\d+)?(?:/.*)?)": r"https://\1",
        r"([\w-]+(?:\.[\w-]+)+(?::\d+)?/(?:[^:]*/)?[^:/]+\.[a-z]\w+)": r"https://\1",
    }
    schema: ClassVar[dict[str, object]] = {
        "oneOf": [{"required": ["files"]}, {"required": ["url"]}],
        "dependencies": {"sha256": ["url"], "path": ["url"]},
    }

    files: Annotated[
        tuple[HttpFile | Url, ...],
        Meta(
            min_length=1,
            description="Each a URL, or `url` with further keys.",
            extra={"hint": "Begin each file with `- `, such as `- https://example.org/a.bin`."},
        ),
    ] = ()
    url: Annotated[
        Url | None, Meta(description="Of a model with one file, in place of `files`.")
    ] = None
    sha256: Annotated[Sha256 | None, Meta(description="Of `url`: 64 hex digits.")] = None
    path: Annotated[Text | None, Meta(description="Of `url`: the file's name in the folder.")] = (
        None
    )

    def __post_init__(self) -> None:
        """Put the shorter forms into `files`."""
        files = self.files
        if self.url and not files:
            files = (HttpFile(url=self.url, sha256=self.sha256, path=self.path),)
            for key in ("url", "sha256", "path"):
                msgspec.structs.force_setattr(self, key, None)
        files = tuple(HttpFile(url=each) if isinstance(each, str) else each for each in files)
        msgspec.structs.force_setattr(self, "files", files)

    @property
    def listed(self) -> tuple[HttpFile, ...]:
        """Its files."""
        return cast("tuple[HttpFile, ...]", self.files)

    @classmethod
    def read_reference(cls, text: str) -> Reference | None:
        """See Entry: any URL, named as its file."""
        try:
            path = urlsplit(text).path
        except ValueError:  # as of a bracket in the host
            return None
        if not re.match(WEB, text):
            return None
        name = unquote(path.rstrip("/").rpartition("/")[2])
        stem = PurePosixPath(name.removesuffix(".gz").removesuffix(".zst")).stem
        return Reference({"url": text}, (stem, host(text)))

    def source(self) -> "Http":
        """See Entry."""
        return Http(self)

    def faults(self, given: Container[str]) -> Iterator[Fault]:  # noqa: ARG002 - as Entry has it
        """See Entry: there are files, written in one form, each with a safe path."""
        if not self.files:
            hint = "Write `files:` and below it a URL a line, or `url:` for a single file."
            yield Fault((), "`files` is missing", hint)
        if self.url:
            yield Fault(("url",), "use `url` or `files`, not both", "Put this URL into `files`.")
        for key in ("sha256", "path"):
            if getattr(self, key) is not None and not self.url:
                hint = f"Put it beside the `url` of its file: `- {{url: …, {key}: …}}`."
                yield Fault((key,), f"which file's `{key}` is meant?", hint)
        for index, file in enumerate(self.listed):
            try:
                _check_path(file)
            except Fault as fault:
                yield fault.below("files", index)

    def written_at(self, keys: Keys, given: Mapping[str, object]) -> Keys:
        """See Entry: a URL may stand alone in `files`, or in `url` of the model."""
        if keys[:1] != ("files",) or len(keys) == 1:
            return keys
        if "url" in given:
            return keys[2:] or ("url",)
        files, index = given.get("files"), keys[1]
        is_plain = isinstance(files, list) and isinstance(files[int(index)], str)
        return keys[:2] if is_plain else keys

    def urls(self) -> Iterator[NamedUrl]:
        """See Entry."""
        yield from Entry.urls(self)
        for index, file in enumerate(self.listed):
            is_pinned = file.sha256 is not None
            yield NamedUrl(("files", index, "url"), file.url, is_pinned)
            for place, url in enumerate(file.mirrors):
                yield NamedUrl(("files", index, "mirrors", place), url, is_pinned)

    def targets(self) -> Iterator[tuple[Keys, str]]:
        """See Entry."""
        for index, file in enumerate(self.listed):
            yield ("files", index), file.target

    def about_bytes(self) -> dict[str, object]:
        """See Entry: the mirrors of a file have the same bytes."""
        said = Entry.about_bytes(self)
        files = cast("list[dict[str, object]]", said["files"])
        own = [{key: file[key] for key in file if key != "mirrors"} for file in files]
        return {**said, "files": own}


def _check_path(file: HttpFile) -> None:
    """Refuse a path that is not safe, given or taken from the URL."""
    if file.path is not None:
        try:
            check_path(file.path)
        except ValueError as error:
            hint = "It is a path below the model's folder."
            raise Fault(("path",), str(error), hint) from None
        return
    hint = "Give the file a `path` of its own: `- {url: …, path: model.bin}`."
    try:
        path = file.target
    except UnicodeDecodeError:
        raise Fault(("url",), "the last part of the URL is not UTF-8", hint) from None
    if not path or "/" in path:
        raise Fault(("url",), f"the URL's last part, {path!a}, is not one file name", hint)
    try:
        check_path(path)
    except ValueError as error:
        raise Fault(("url",), f"the URL's last part cannot be a file name: {error}", hint) from None


LOG_IN = (
    "Check that the file is public. If it needs a credential, put a login for {} into ~/.netrc or "
    "the file that NETRC names."
)


class Http:
    """The source of one `http` entry."""

    def __init__(self, entry: HttpEntry) -> None:
        self._entry = entry

    @cached_property
    def _files(self) -> dict[str, HttpFile]:
        return {file.target: file for file in self._entry.listed}

    def outline(self) -> Resolution:
        """See Source."""
        return Resolution(
            artifacts=tuple(
                Artifact(path=path, sha256=file.sha256, url=file.url)
                for path, file in self._files.items()
            )
        )

    def locate(self, artifact: Artifact, revision: str | None) -> tuple[Location, ...]:  # noqa: ARG002 - an entry of this source names it
        """See Source."""
        from downloader.sources.netrc import authorization  # noqa: PLC0415 - a run with nothing to do needs no log-in

        file = self._files.get(artifact.path)
        if file is None:
            raise SourceError(f"models.yaml has no file {artifact.path}.")
        urls = (file.url, *file.mirrors, *self._mirrored(artifact.path))
        named = frozenset(map(host, urls))
        return tuple(
            Location(
                url=url,
                headers=authorization(url),
                named_hosts=named,
                credential_hint=LOG_IN.format(host(url)),
            )
            for url in urls
        )

    def _mirrored(self, path: str) -> tuple[str, ...]:
        """Return the file's place below the entry's base URLs of mirrors."""
        return tuple(f"{base.rstrip('/')}/{path}" for base in self._entry.bases)
