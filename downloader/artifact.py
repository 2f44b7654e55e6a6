"""The nouns: an artifact is one file in the lock, a location is where it can be had now."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

import msgspec
from msgspec import Meta

Size = Annotated[int, Meta(ge=0, le=2**63 - 1)]
# Only their lengths: a pattern for each would triple the time to read a lock of 10,000 files, so
# `lockfile` looks at the digits of all of them at once.
Sha256Hex = Annotated[str, Meta(min_length=64, max_length=64)]
Md5Hex = Annotated[str, Meta(min_length=32, max_length=32)]


class Artifact(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """One file of a model, as one line of models.lock.

    What the provider does not publish is None until the first verified fetch pins it.
    """

    path: str
    """Posix path below the model's folder."""
    size: Size | None = None
    """Length in bytes."""
    sha256: Sha256Hex | None = None
    """64 lower-case hex digits."""
    first_use: bool = False
    """The SHA-256 was computed by us over the first bytes that came, not published by anyone."""
    md5: Md5Hex | None = None
    """32 lower-case hex digits, as the server published it."""
    etag: str | None = None
    """The server's validator when it was locked; for people, never a digest."""
    url: str | None = None
    """Where the manifest itself names it; never an URL that expires."""

    @property
    def is_pinned(self) -> bool:
        """Whether the exact bytes are known."""
        return self.sha256 is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """An URL that serves an artifact now, with the headers it wants there and nowhere else."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    named_hosts: frozenset[str] = frozenset()
    """Hosts models.yaml names: a redirect may lead to them even where they are private."""
    credential_hint: str = ""
    """What to do when this URL's own origin answers 401 or 403; the usual advice when empty."""
