"""Interface of a source: the keys of every entry, and the questions that a source answers.

A provider is one file of this room. It has an entry class, with the keys of models.yaml and what
no type can say of them, and a source, which answers where the files are. Neither moves bytes nor
keeps state. msgspec checks types, unknown keys and required keys, and says at which key path.
"""

import hashlib
import re
from collections.abc import Container, Hashable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Annotated, ClassVar, Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

import msgspec
from msgspec import Meta

from downloader.artifact import Artifact, LeftOut, LockedModel
from downloader.urls import PUBLISHED, Location, is_published

Keys: TypeAlias = tuple[str | int, ...]


class Fault(Exception):  # noqa: N818 - it becomes a ManifestError once its line is known
    """Something an entry may not say.

    Args:
        keys: The key path, below the place of whoever raises it.
        what: What is wrong.
        hint: What to write instead.
    """

    def __init__(self, keys: Keys, what: str, hint: str | None = None) -> None:
        super().__init__(what)
        self.keys = keys
        self.what = what
        self.hint = hint

    def below(self, *keys: str | int) -> "Fault":
        """Return the same fault, seen from further up."""
        return Fault((*keys, *self.keys), self.what, self.hint)


WEB = "^[hH][tT][tT][pP][sS]?://[^/?#]"
"""Start of a URL that can be downloaded.

A regular expression that Python and ECMA 262 (JSON Schema) both know, as the next two.
"""
PAGE = (
    r"^https?://(www\.)?("
    r"(huggingface|hf)\.co/(?!api/)(?!.*/(resolve|raw)/)"
    r"|github\.com/[^/]+/[^/]+(/(blob|tree)/|/?$)"
    r"|gitlab\.com/.*/-/(blob|tree)/"
    r")"
)
"""URLs of pages about a file or a model, not of the file itself."""
PAGE_PARTS = ("/blob/", "/tree/")
"""One of them is in each URL that a provider's `read_reference` knows for a page."""
VARIABLE = r"\$\{|\{\{|\$[A-Z][A-Z0-9_]+"
"""Text that a shell or a template would replace."""


class NamedUrl(NamedTuple):
    """One URL of an entry, with its key path and the terms on which it is accepted."""

    keys: Keys
    url: str
    is_pinned: bool
    """A digest that is known in advance proves the bytes that come from it."""
    is_base: bool = False
    """Paths are appended to it."""

    @property
    def has_variable(self) -> bool:
        """Whether somebody expects a part of it to be replaced."""
        return re.search(VARIABLE, self.url) is not None

    @property
    def is_page(self) -> bool:
        """Whether it leads to a page about the file."""
        return not self.is_base and re.search(PAGE, self.url) is not None

    @property
    def may_be_page(self) -> bool:
        """Whether it leads to one, or its provider has to be asked about that."""
        return self.is_page or (not self.is_base and any(part in self.url for part in PAGE_PARTS))


Sha256 = Annotated[
    str,
    Meta(pattern=r"^([sS][hH][aA]256:)?[0-9a-fA-F]{64}\Z", extra={"form": "64 hex digits"}),
]
"""As tools print it: in either case, with or without `sha256:` before it."""
Step = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Text = Annotated[str, Meta(min_length=1)]
Texts: TypeAlias = tuple[Text, ...]
BaseUrl = Annotated[
    str,
    Meta(
        min_length=1,
        extra_json_schema={
            "pattern": WEB,
            "not": {"pattern": VARIABLE},
        },
    ),
]
"""A URL to which paths are appended. manifest/ checks it with words of its own."""
MirrorUrl = Annotated[
    str,
    Meta(
        min_length=1,
        extra_json_schema={"pattern": f"{WEB}|{PUBLISHED}", "not": {"pattern": VARIABLE}},
    ),
]
"""A base URL with the provider's layout, or a published copy. manifest/ checks it."""
Url = Annotated[
    str,
    Meta(
        min_length=1,
        extra_json_schema={
            "pattern": WEB,
            "not": {"pattern": f"{VARIABLE}|{PAGE}"},
        },
    ),
]
"""The location of a file."""


class Reference(NamedTuple):
    """What a short form or a URL, as people copy it, means as an entry.

    Attributes:
        keys: The keys of the entry, as they are written into models.yaml.
        names: What the model may be called, best first; not always a valid name.
        is_page: Whether it is a URL that can only be that of a page, not of a file's bytes; it has
            one of PAGE_PARTS in it.
    """

    keys: dict[str, object]
    names: tuple[str, ...]
    is_page: bool = False


def _matches(path: str, patterns: Texts) -> bool:
    """Whether a pattern of fnmatch matches the whole path; one that ends with `/` means a folder.

    As the include and exclude patterns of huggingface_hub (2.4.0: filter_repo_objects).
    """
    return any(fnmatchcase(path, f"{each}*" if each.endswith("/") else each) for each in patterns)


class Entry(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
    tag_field="source",
):
    """What every model may say.

    The description of a field is what editors show. `extra` holds what errors say: `form` what a
    pattern matches, `longer` a pattern that finds it in a longer text, `choices` the words to
    choose from, `hint` what to write if the type is wrong.
    """

    not_about_bytes: ClassVar[frozenset[str]] = frozenset(
        {"to", "optional", "link", "mirror", "mirrors", "share", "sniff"}
    )
    """Keys that do not change which bytes an entry means: they never make a lock stale."""
    collision_hint: ClassVar[str] = "Give one of the models another `to`."
    """Hint if two models would write one file."""
    is_private: ClassVar[bool] = False
    """Whether the provider gives its files to one account alone, as a fine-tuned model."""
    reference_forms: ClassVar[Mapping[str, str]] = {}
    """What `read_reference` takes, with what it means; shown to people."""
    reference_slips: ClassVar[Mapping[str, str]] = {}
    """What people type instead: whole patterns without regard to case, with the form that each
    means, as `re.sub` takes them."""

    to: Annotated[
        Text,
        Meta(
            description="Target folder, relative to models.yaml; {name} stands for the model's "
            "name."
        ),
    ] = "models/{name}"
    include: Annotated[
        Texts,
        Meta(
            description="Only files whose whole posix path matches one of these patterns of "
            "fnmatch."
        ),
    ] = ()
    exclude: Annotated[
        Texts, Meta(description="Patterns of files to leave out, after `include`.")
    ] = ()
    optional: Annotated[bool, Meta(description="Only fetched when asked for by name.")] = False
    mirrors: Annotated[
        tuple[MirrorUrl, ...],
        Meta(
            description="Published copies (s3://, gs://, az://, oci://, file:///, blobs+https://), "
            "asked in order before the provider; and base URLs with the provider's layout, tried "
            "in order after it."
        ),
    ] = ()
    mirror: Annotated[
        Literal["first", "only"],
        Meta(
            description="Whether a file that no published copy has comes from the provider.",
            extra={"hint": "Places go into `mirrors`, as a list."},
        ),
    ] = "first"
    base_url: Annotated[
        BaseUrl | None, Meta(description="The provider's endpoint, when it is not the public one.")
    ] = None
    link: Annotated[
        Literal["auto", "reflink", "hardlink", "copy"],
        Meta(description="How a blob of the store is shown at the target."),
    ] = "auto"
    share: Annotated[
        bool,
        Meta(
            description="Whether peers may get its files from this machine even if the model is "
            "gated or private, or may be."
        ),
    ] = False
    sniff: Annotated[
        bool,
        Meta(description="Whether a file without a SHA-256 is refused if it begins like a page."),
    ] = True

    may_be_private: ClassVar[bool] = False
    """Whether a log-in may be what gives its models, and models.lock does not say so."""
    schema: ClassVar[dict[str, object]] = {}
    """What the JSON Schema says of its keys together."""

    @property
    def source_name(self) -> str:
        """What models.yaml calls its source."""
        return str(self.__struct_config__.tag)

    @property
    def is_published(self) -> bool:
        """Whether the SHA-256 of all its files are published, so that any mirror can be proved."""
        return False

    @property
    def needs_own_folder(self) -> bool:
        """Whether its folder must be this model's alone: nobody knows yet what will lie there."""
        return False

    @property
    def keeps_archives(self) -> bool:
        """Whether archives stay once their files are in place; true if there are none."""
        return True

    @property
    def limit_factor(self) -> int:
        """How many times the usual limits its archives may reach when they are unpacked."""
        return 1

    @classmethod
    def read_reference(cls, text: str) -> Reference | None:  # noqa: ARG003 - for subclasses
        """Return what a short form or a URL means; None if it is not one of this provider.

        The keys need not be right: they are checked as all of models.yaml is.
        """
        return None

    def source(self) -> "Source":
        """Return the source of this entry."""
        raise NotImplementedError

    def faults(self, given: Container[str]) -> Iterator[Fault]:  # noqa: ARG002 - for subclasses
        """Yield what no type can see: unsafe paths, and keys that exclude each other.

        Args:
            given: The keys that the model itself has; others come from the defaults.
        """
        yield from ()

    def written_at(self, keys: Keys, given: Mapping[str, object]) -> Keys:  # noqa: ARG002
        """Return the key path in models.yaml of what the entry has at this one.

        They differ if a key has a shorter form.

        Args:
            keys: Below the entry.
            given: The model as models.yaml has it.
        """
        return keys

    def urls(self) -> Iterator[NamedUrl]:
        """Yield every URL that it names; models.yaml is refused if one is incomplete or secret."""
        if self.base_url is not None:
            yield NamedUrl(("base_url",), self.base_url, self.is_published, is_base=True)
        for index, url in enumerate(self.mirrors):
            if not is_published(url):
                yield NamedUrl(("mirrors", index), url, self.is_published, is_base=True)

    @property
    def copies(self) -> tuple[str, ...]:
        """Those of `mirrors` that are published copies."""
        return tuple(url for url in self.mirrors if is_published(url))

    @property
    def bases(self) -> tuple[str, ...]:
        """Those of `mirrors` that have the provider's layout."""
        return tuple(url for url in self.mirrors if not is_published(url))

    def targets(self) -> Iterator[tuple[Keys, str]]:
        """Yield the files that follow from the entry: the key path of each, and its path."""
        yield from ()

    def identity(self) -> Hashable:
        """Return what decides the names of files that only the provider knows; None if nothing.

        Two entries with the same one may not share a folder.
        """
        return None

    def folder(self, name: str) -> str:
        """Return the target folder of a model, a posix path relative to models.yaml."""
        return self.to.replace("{name}", name)

    def wants(self, path: str) -> bool:
        """Whether the include and exclude patterns want the file."""
        included = not self.include or _matches(path, self.include)
        return included and not (self.exclude and _matches(path, self.exclude))

    def about_bytes(self) -> dict[str, object]:
        """Return what it says about bytes, without where they go and which mirrors have them."""
        said = msgspec.to_builtins(self).items()
        return {key: value for key, value in said if key not in self.not_about_bytes}

    def digest(self) -> str:
        """Return `sha256:<hex>` of what it says about bytes; it stands in models.lock."""
        canonical = msgspec.json.encode(self.about_bytes(), order="deterministic")
        return f"sha256:{hashlib.sha256(canonical).hexdigest()}"


class Resolution(msgspec.Struct, frozen=True, kw_only=True):
    """An entry's known files.

    Attributes:
        revision: The immutable version upstream, if there is one.
        artifacts: The files; what is not known of them yet is None.
        left_out: What else the provider has and the entry does not want, for people.
        archives: What the files are to be unpacked from. Which files that gives is known when an
            archive came; until then there are none of it in `artifacts`.
        gated: Whether not everybody may have them.
    """

    revision: str | None = None
    artifacts: tuple[Artifact, ...] = ()
    archives: tuple[Artifact, ...] = ()
    left_out: LeftOut | None = None
    gated: bool = False


class Source(Protocol):
    """The source of one entry's model."""

    def outline(self) -> Resolution | None:
        """Return what follows from the entry alone: MUST open no socket, and may be called often.

        A digest in it MUST be one that the provider published or the manifest declares. A locked
        model MUST agree with it in every field that it fills.

        Returns:
            None if only the provider knows which files there are: then it is an AskingSource.
        """

    def locate(self, artifact: Artifact, revision: str | None) -> tuple[Location, ...]:
        """Return where the artifact can be had now, best first; cheap, and called again.

        Args:
            artifact: One of the model's.
            revision: The model's, as it is locked.

        Raises:
            SourceError: The entry knows no such file.
            SettingError: An environment variable gives an unusable place.
        """


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """Result of asking for the first bytes of a file.

    Attributes:
        size: The file's length in bytes, None if the reply does not tell.
        etag: The validator, as it was received.
        magic: Its first two bytes.
        headers: All headers of the reply, the first value of each, by its name in lower case.
    """

    size: int | None
    etag: str | None
    magic: bytes
    headers: Mapping[str, str] = {}


Question: TypeAlias = tuple[Location, Mapping[str, str]]
"""A file, and the headers that ask for it or its first bytes."""


class Provider(Protocol):
    """Access of a source to its provider: GET only, with retries, within limits."""

    def read(self, location: Location) -> bytes:
        """Return the document at the location.

        Raises:
            NotFound: There is none.
            AccessDenied: It is not for us.
            ModelmakeError: It could not be had, or is larger than a document may be.
        """

    def pages(self, location: Location) -> Iterator[bytes]:
        """Yield the document at the location, and those that it says follow (RFC 8288: `next`).

        They are asked for at the same address, with the query that the page before gives.

        Raises:
            BadResponse: They do not end.
            ModelmakeError: As `read`.
        """

    def start(self, location: Location) -> Start:
        """Return what the first bytes of the file at the location tell.

        Raises:
            ModelmakeError: As `read`.
        """

    def starts(self, questions: Sequence[Question]) -> list[Start]:
        """Return what `start` does of many files, in order, asked for several at once.

        Raises:
            ModelmakeError: As `read`.
        """

    def wait(self, why: str, delay_seconds: float) -> None:
        """Let time pass before the provider is asked again, and say why.

        Raises:
            Interrupted: The run was stopped meanwhile.
        """


@runtime_checkable
class AskingSource(Source, Protocol):
    """A source whose provider must be asked which files there are."""

    def resolve(self, provider: Provider) -> Resolution:
        """Return the entry's files as the provider has them now; moves no bodies.

        Raises:
            SourceError: The provider has no such thing, or not yet.
            ModelmakeError: It could not be asked.
        """

    def check(self, locked: LockedModel) -> str:
        """Return in what the locked model does not follow from the entry; empty when it does.

        Opens no socket: it is asked in every run.
        """
