"""What a source answers. It moves no bytes and keeps no state."""

from typing import Protocol, runtime_checkable

import msgspec

from downloader.artifact import Artifact, Location
from downloader.lock.lockfile import LockedModel


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
