"""Where a hostile value may stand in models.lock, and what must come of it.

The fields are those of the types that read the file, so a new one is either told in
`hostile_values`, or the matrix fails and asks what is hostile for it.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import msgspec

from downloader.artifact import Artifact, Checkpoint, LockedModel
from tests.e2e.hostile_values import (
    ARTIFACT,
    CHECKPOINT,
    LATER,
    MODEL,
    Said,
    Values,
    some_paths,
    unsafe_paths,
)
from tests.e2e.hostile_world import BYTES, World
from tests.projects import sha256

FEW = 4
"""How many values of a field that is no path are tried where another place has had them all."""

HOSTILE: dict[type[msgspec.Struct], dict[str, Callable[[World], Values]]] = {
    Artifact: ARTIFACT,
    Checkpoint: CHECKPOINT,
    LockedModel: MODEL,
}


@dataclass(frozen=True)
class Place:
    """Somewhere in models.lock that has fields.

    Attributes:
        model: Whose.
        name: What it is.
        kind: The type that has the fields.
        find: Returns the object there, made where an honest lock has none.
        is_led_to: Whether the entry leads to such a thing at all.
        free: Whether only the provider tells the paths there: safe ones are then as good as others.
        is_full: Whether every path is tried there.
    """

    model: str
    name: str
    kind: type[msgspec.Struct]
    find: Callable[[Said], Said]
    is_led_to: bool = True
    free: bool = False
    is_full: bool = False

    def cases(self, world: World) -> "Iterator[Case]":
        """Yield each value for each field there."""
        known = HOSTILE[self.kind]
        names = {each.name for each in msgspec.structs.fields(self.kind)}
        assert names == known.keys(), f"say what is hostile for {names ^ known.keys()}"
        unsafe = unsafe_paths(world).values()
        for field, hostile in known.items():
            values = hostile(world)
            if field == "path" and not self.is_full:
                values = some_paths(world)
            elif field != "path" and not self.is_full:
                values = dict(list(values.items())[: FEW if self.is_led_to else 1])
            for what, value in values.items():
                must = self._must_refuse(field, value, is_unsafe=value in unsafe)
                yield Case(self, field, what, value, must)

    def _must_refuse(self, field: str, value: object, *, is_unsafe: bool) -> bool:
        """Whether a lock with this value is refused; any other may at most harm its own model."""
        if not self.is_led_to or not _has_type(self.kind, field, value):
            return True
        if field in LATER or (field, value) == ("size", 0):
            return False
        return is_unsafe or not (field == "path" and self.free)


@dataclass(frozen=True)
class Case:
    """A lock with one hostile value.

    Attributes:
        place: Where it is.
        field: In which field.
        what: What it is, in words.
        value: It.
        must_refuse: Whether a run must end at once and change nothing.
    """

    place: Place
    field: str
    what: str
    value: object
    must_refuse: bool

    @property
    def is_told_with_model(self) -> bool:
        """Whether it is of the right type, so that the message can name the model."""
        is_digest = self.field in {"sha256", "root", "md5"}
        return not is_digest and _has_type(self.place.kind, self.field, self.value)

    def lock(self, world: World) -> bytes:
        """Return the text of models.lock; files of an archive name its path, as attackers do."""
        models = world.honest
        model = models[self.place.model]
        found = self.place.find(model)
        before = found.get("path")
        found[self.field] = self.value
        if (
            self.place.kind is Artifact
            and self.field == "path"
            and found in model.get("archives", ())
        ):
            for each in model["files"]:
                if each.get("archive") == before:
                    each["archive"] = self.value
        return text_of(models)


def text_of(models: Said) -> bytes:
    """Return the text of models.lock."""
    return json.dumps({"version": 1, "models": models}).encode()


def _has_type(kind: type[msgspec.Struct], field: str, value: object) -> bool:
    """Whether the value is of the field's type, with all that the type says."""
    named = next(each for each in msgspec.structs.fields(kind) if each.name == field)
    try:
        msgspec.convert(value, type=named.type)
    except msgspec.ValidationError:
        return False
    return True


def _first(name: str) -> Callable[[Said], Said]:
    def find(model: Said) -> Said:
        found: Said = model[name][0]
        return found

    return find


def _archive_added(model: Said) -> Said:
    """Add an archive whose bytes are known, and say that a file comes out of it."""
    archive = {"path": "x.tar", "size": len(BYTES), "sha256": sha256(BYTES)}
    model["archives"] = [archive]
    model["files"][0]["archive"] = archive["path"]
    return archive


def _bare_archive_added(model: Said) -> Said:
    archive = {"path": "x.tar"}
    model["archives"] = [archive]
    return archive


def _stale(model: Said) -> Said:
    """Add an archive to a model whose entry was changed, so that no entry says what follows."""
    model["entry"] = f"sha256:{'0' * 64}"
    return _bare_archive_added(model)


def _checkpoint_of(name: str) -> Callable[[Said], Said]:
    return lambda model: model[name][0].setdefault("checkpoint", {"request": "merged"})


WHOLE = ("whole", LockedModel, lambda model: model)
FILE = ("file", Artifact, _first("files"))
ARCHIVE = ("archive", Artifact, _first("archives"))
ADDED = ("added archive", Artifact, _archive_added)
BARE = ("added bare archive", Artifact, _bare_archive_added)
OF_FILE = ("checkpoint of a file", Checkpoint, _checkpoint_of("files"))
OF_ARCHIVE = ("checkpoint of an archive", Checkpoint, _checkpoint_of("archives"))

PLACES = (
    Place("tiny", *WHOLE),
    Place("tiny", *FILE, is_full=True),
    Place("tiny", *ADDED, is_led_to=False),
    Place("tiny", *BARE, is_led_to=False, is_full=True),
    Place("tiny", *OF_FILE, is_led_to=False),
    Place("gpt", *WHOLE),
    Place("gpt", *FILE),
    Place("gpt", *BARE, is_led_to=False),
    Place("bot", *WHOLE),
    Place("bot", *FILE, free=True, is_full=True),
    Place("bot", *ARCHIVE, free=True, is_full=True),
    Place("bot", *OF_ARCHIVE),
    Place("raw", *WHOLE),
    Place("raw", *FILE, free=True),
    Place("raw", *ADDED, is_led_to=False),
    Place("raw", *OF_FILE),
)
