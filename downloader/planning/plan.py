"""What a plan tells. These are the fields of `doit plan --json`, in docs/plan.md; they stay."""

from typing import Literal

import msgspec

Action = Literal["present", "adopt", "link", "fetch", "unpack", "missing", "refuse"]
Said = Literal["fetched", "linked", "verified", "unpacked"]
LockState = Literal["current", "stale", "missing"]
ModelState = Literal["locked", "stale", "unknown", "refused"]

VERSION = 1
CANNOT: frozenset[Action] = frozenset({"missing", "refuse"})


class PlannedFile(msgspec.Struct, frozen=True, kw_only=True):
    """What would be done for one file.

    Attributes:
        path: Below the model's folder.
        action: What would be done.
        outcome: What `doit` then says that it did; None where it says nothing.
        why: The rule that made it so; empty where it is present.
        size: In bytes; None where nobody knows it yet.
        bytes_to_move: How many would come over the wire; None where the size is not known.
        bytes_resumed: How many are in a partial already.
    """

    path: str
    action: Action
    outcome: Said | None = None
    why: str = ""
    size: int | None = None
    bytes_to_move: int | None = 0
    bytes_resumed: int = 0


class Extraneous(msgspec.Struct, frozen=True, kw_only=True):
    """A file in a model's folder that models.lock does not name."""

    path: str
    size: int


class PlannedModel(msgspec.Struct, frozen=True, kw_only=True):
    """What would be done for one model.

    Attributes:
        name: Its key in models.yaml.
        folder: Where its files go, from the folder of models.yaml.
        state: `locked`; `stale` where models.lock has to be brought up to date first, and the files
            are those that follow from the entry; `unknown` where only the provider can tell them;
            `refused` where nothing can be done.
        why: What is unknown or refused, a sentence without its full stop; empty otherwise.
        files: Its files, archives among them where something is done with them.
        extraneous: What else lies there; it is left alone.
    """

    name: str
    folder: str
    state: ModelState
    why: str = ""
    files: tuple[PlannedFile, ...] = ()
    extraneous: tuple[Extraneous, ...] = ()

    def count(self, action: Action) -> int:
        """Return for how many files that would be done."""
        return sum(each.action == action for each in self.files)

    @property
    def bytes_to_move(self) -> int:
        """How many bytes would come over the wire, as far as sizes are known."""
        return sum(each.bytes_to_move or 0 for each in self.files)

    @property
    def unknown_sizes(self) -> int:
        """How many files would be fetched whose size is not known."""
        return sum(each.bytes_to_move is None for each in self.files)


class Volume(msgspec.Struct, frozen=True, kw_only=True):
    """What a disk has to hold.

    Attributes:
        folder: A folder on it.
        peak_bytes: How many bytes more than now lie there at the most, while the run lasts.
        freed_bytes: How many of those, or of what is there now, are removed at its end.
        free_bytes: How many are free now; None where the disk does not tell.
        is_at_least: Whether sizes are unknown, so that it may be more.
    """

    folder: str
    peak_bytes: int
    freed_bytes: int
    free_bytes: int | None
    is_at_least: bool

    @property
    def fits(self) -> bool:
        """Whether there is room for it, as far as is known."""
        return self.free_bytes is None or self.peak_bytes <= self.free_bytes


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What `doit` would do.

    Attributes:
        lock: How models.lock stands.
        offline: Whether nothing may be dialled.
        refusal: Why `doit` would begin with nothing; None where it would begin.
        models: What would be done for each model.
        volumes: What each disk has to hold; none where nothing is written.
    """

    version: int = VERSION
    lock: LockState
    offline: bool
    refusal: str | None
    models: tuple[PlannedModel, ...]
    volumes: tuple[Volume, ...]

    @property
    def bytes_to_move(self) -> int:
        """How many bytes would come over the wire, as far as is known."""
        return sum(each.bytes_to_move for each in self.models)

    @property
    def bytes_resumed(self) -> int:
        """How many bytes are in partials already."""
        return sum(file.bytes_resumed for each in self.models for file in each.files)

    @property
    def unknown_sizes(self) -> int:
        """How many files would be fetched whose size is not known."""
        return sum(each.unknown_sizes for each in self.models)

    @property
    def is_at_least(self) -> bool:
        """Whether sizes or whole models are unknown, so that it may be more."""
        return bool(self.unknown_sizes) or any(each.state == "unknown" for each in self.models)

    @property
    def fits(self) -> bool:
        """Whether every disk has room, as far as is known."""
        return all(each.fits for each in self.volumes)

    @property
    def is_possible(self) -> bool:
        """Whether `doit` can be expected to bring everything up to date."""
        is_refused = self.refusal or any(each.state == "refused" for each in self.models)
        return not is_refused and self.fits and not self.files(*CANNOT)

    def files(self, *actions: Action) -> list[tuple[PlannedModel, PlannedFile]]:
        """Return the files for which one of these would be done, each with its model."""
        found = ((model, file) for model in self.models for file in model.files)
        return [each for each in found if each[1].action in actions]

    def dump(self) -> bytes:
        """Return the plan as JSON, with its sums, in one line."""
        sums = {
            "bytes_to_move": self.bytes_to_move,
            "bytes_resumed": self.bytes_resumed,
            "unknown_sizes": self.unknown_sizes,
            "is_at_least": self.is_at_least,
            "fits": self.fits,
            "is_possible": self.is_possible,
        }
        own: dict[str, object] = msgspec.to_builtins(self)
        return msgspec.json.encode({**own, **sums})
