"""The nouns: an artifact is one file in the lock, a location is where it can be had now."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Size = Annotated[int, Meta(ge=0, le=2**63 - 1)]
# Only their lengths: a pattern for each would triple the time to read a lock of 10,000 files, so
# `lockfile` looks at the digits of all of them at once.
Sha256Hex = Annotated[str, Meta(min_length=64, max_length=64)]
Md5Hex = Annotated[str, Meta(min_length=32, max_length=32)]


class Checkpoint(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True
):
    """Which checkpoint of a fine-tuning job an archive holds."""

    step: Size | None = None
    """The training step; None is the final model, asked for without naming its step."""
    request: str
    """What the provider is asked for: `merged`, `adapter` or `model_output_path`."""
    is_final: bool = False
    """`step` is the job's last one, which the provider serves as the final model."""
    came: Literal["adapter", "model"] | None = None
    """What the archive proved to hold, read from it; None as long as nothing came."""
    created: str | None = None
    """When the provider made it, as the provider writes it."""


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
    root: Sha256Hex | None = None
    """The Merkle root (BEP 52) of the bytes that `sha256` means, beside which alone it counts."""
    first_use: bool = False
    """The SHA-256 was computed by us over the first bytes that came, not published by anyone."""
    md5: Md5Hex | None = None
    """32 lower-case hex digits, as the server published it."""
    etag: str | None = None
    """The server's validator when it was locked; for people, never a digest."""
    url: str | None = None
    """Where the manifest itself names it; never an URL that expires."""
    checkpoint: Checkpoint | None = None
    """Of an archive: what it holds."""
    into: str | None = None
    """Of an archive: the folder below the model's where its files go, when not the model's own."""
    archive: str | None = None
    """Of an unpacked file: the path of the archive it comes from."""

    @property
    def is_pinned(self) -> bool:
        """Whether the exact bytes are known."""
        return self.sha256 is not None

    @property
    def is_proven_by_root(self) -> bool:
        """Whether the root may stand for the SHA-256: both were computed here, over one reading.

        Where somebody else vouches for the SHA-256, nobody does for the root.
        """
        return self.root is not None and self.first_use

    def with_root_of(self, known: "Artifact | None") -> "Artifact":
        """Return it with the root that is known of the very same bytes, where there is one."""
        is_same = known is not None and self.is_pinned and known.sha256 == self.sha256
        if known is None or known.root is None or not is_same or self.root:
            return self
        return msgspec.structs.replace(self, root=known.root)


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """An URL that serves an artifact now, with the headers it wants there and nowhere else."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    named_hosts: frozenset[str] = frozenset()
    """Hosts models.yaml names: a redirect may lead to them even where they are private."""
    credential_hint: str = ""
    """What to do when this URL's own origin answers 401 or 403; the usual advice when empty."""

    def __repr__(self) -> str:
        """Show no header and no query: they may be credentials."""
        from downloader.urls import redact  # noqa: PLC0415 - the no-op run shows none

        return f"Location({redact(self.url)!r})"
