"""What a source is: the keys that every entry has, and the questions that a source answers.

A source moves no bytes and keeps no state. msgspec checks types, unknown keys and required keys
against the entry classes and says at which key path; what a type cannot say (a safe path, an
allowed scheme) is checked in manifest/manifest.py.
"""

from typing import Annotated, Literal, Protocol, TypeAlias, runtime_checkable

import msgspec
from msgspec import Meta

from downloader.artifact import Artifact, LockedModel
from downloader.urls import Location

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


Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-fA-F]{64}\Z")]
Step = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Steps = Annotated[tuple[Step, ...], Meta(min_length=1)]
Text = Annotated[str, Meta(min_length=1)]

DEFAULT_TO = "models/{name}"
NOT_ABOUT_BYTES = frozenset({"to", "optional", "link", "mirrors", "keep_archive", "wait"})
"""Keys that do not change which bytes an entry means: they never make a lock stale."""


class Entry(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
    tag_field="source",
):
    """What every model may say."""

    to: Text = DEFAULT_TO
    """Target folder, relative to models.yaml; {name} stands for the model's name."""
    include: tuple[Text, ...] = ()
    """Only files whose whole posix path matches one of these patterns of fnmatch."""
    exclude: tuple[Text, ...] = ()
    """Patterns of files to leave out, after `include`."""
    optional: bool = False
    """Only fetched when asked for by name."""
    mirrors: tuple[Text, ...] = ()
    """Base URLs with the provider's layout, tried in order after it."""
    base_url: Text | None = None
    """The provider's endpoint, when it is not the public one."""
    link: Literal["auto", "reflink", "hardlink", "copy"] = "auto"
    """How a blob of the store is shown at the target."""


class Resolution(msgspec.Struct, frozen=True, kw_only=True):
    """An entry's files, as far as they are known.

    Attributes:
        revision: The immutable version upstream, where there is one.
        artifacts: The files; what is not known of them yet is None.
        archives: What the files are to be unpacked from. Which files that gives is known when an
            archive came; until then there are none of it in `artifacts`.
    """

    revision: str | None = None
    artifacts: tuple[Artifact, ...] = ()
    archives: tuple[Artifact, ...] = ()


class Source(Protocol):
    """Where one entry's model comes from."""

    def outline(self) -> Resolution | None:
        """Return what follows from the entry alone: MUST open no socket, and may be called often.

        A digest in it MUST be one that the provider published or the manifest declares. A locked
        model MUST agree with it in every field that it fills.

        Returns:
            None where only the provider knows which files there are: then it is an AskingSource.
        """

    def locate(self, artifact: Artifact) -> tuple[Location, ...]:
        """Return where the artifact can be had now, best first; cheap, and called again.

        Raises:
            SourceError: The entry knows no such file.
            SettingError: An environment variable gives an unusable place.
        """


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """What the first bytes of a file tell.

    Attributes:
        size: The file's length in bytes, None where the reply does not tell.
        etag: The validator, as it was received.
        magic: Its first two bytes.
    """

    size: int | None
    etag: str | None
    magic: bytes


class Provider(Protocol):
    """How a source asks its provider: with GET only, patiently, within bounds."""

    def read(self, location: Location) -> bytes:
        """Return the document at the location.

        Raises:
            NotFound: There is none.
            AccessDenied: It is not for us.
            ModelmakeError: It could not be had, or is larger than a document may be.
        """

    def start(self, location: Location) -> Start:
        """Return what the first bytes of the file at the location tell.

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
