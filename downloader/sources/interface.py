"""What a source answers. It moves no bytes and keeps no state."""

from typing import Protocol

import msgspec

from downloader.artifact import Artifact, Location


class Resolution(msgspec.Struct, frozen=True, kw_only=True):
    """An entry's files, as far as they are known.

    Attributes:
        revision: The immutable version upstream, where there is one.
        artifacts: The files; what is not known of them yet is None.
    """

    revision: str | None = None
    artifacts: tuple[Artifact, ...]


class Source(Protocol):
    """Where one entry's model comes from."""

    def outline(self) -> Resolution:
        """Return what follows from the entry alone: MUST open no socket, and may be called often.

        A digest in it MUST be one that the provider published or the manifest declares. A locked
        model MUST agree with it in every field that it fills.
        """

    def locate(self, artifact: Artifact) -> tuple[Location, ...]:
        """Return where the artifact can be had now, best first; cheap, and called again.

        Raises:
            SourceError: The entry knows no such file.
            SettingError: An environment variable gives an unusable place.
        """
