"""Hostile receipts, journals, compiled manifests, piece layers and notes of a store lead nowhere.

They are caches: a run ignores what they say or refuses it, and harms nobody either way.
"""

import hashlib
import json
import os
import typing
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from downloader.fs.files import Private
from downloader.fs.locks import partial_name
from downloader.project import project
from downloader.project.project import Declaration
from downloader.store.blobs import Record
from downloader.store.projects import KnownProject
from downloader.targets.state import Receipt
from downloader.transfer._journal import Binding
from tests.e2e.hostile_runs import CORE, Command, Findings, damage, watched
from tests.e2e.hostile_values import some_paths
from tests.e2e.hostile_world import BYTES, MODELS, World
from tests.e2e.warm import Warm
from tests.projects import sha256
from tests.servers.faulty import FaultyServer
from tests.servers.together.server import TogetherServer

PRUNE = Command(("prune", "--older-than=0"))
COMMANDS = (*CORE, PRUNE)
KINDS = ("absolute", "up 3", "absolute dodo.py", "empty", "NUL", "long")
NUMBERS = (-1, 0, 2**63 - 1)
Texts = Iterator[tuple[str, bytes]]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Give a project in which runs have something to do, and a shared store."""
    folder = tmp_path_factory.mktemp("hostile-files")
    (folder / "said").mkdir()
    with FaultyServer() as server, TogetherServer() as together, Warm(folder / "said") as warm:
        made = World(folder, warm, server, together, store=True)
        made.begin()
        made.keep()
        yield made


def hostile(world: World, kind: type[msgspec.Struct], honest: dict[str, Any]) -> Texts:
    """Yield an object of the type for each field and each value that is hostile for the field.

    Args:
        world: Where victims are.
        kind: The type that reads it.
        honest: One that says what is so.
    """
    hints = typing.get_type_hints(kind)
    for each in msgspec.structs.fields(kind):
        for value in values(world, each.name, hints[each.name]):
            text = json.dumps({**honest, each.encode_name: value}).encode()
            yield f"{each.name} = {str(value)[:40]!r}", text


def values(world: World, name: str, hint: Any) -> Iterable[Any]:
    """Return what is hostile for a field of a type."""
    known = some_paths(world)
    paths = [str(known[kind]) for kind in KINDS]
    paths += [str(world.victims), os.path.relpath(world.victims, world.project.folder)]
    outside = {"path": str(world.world / "victim.txt")}
    of_hint: dict[Any, Iterable[Any]] = {
        str: paths,
        str | None: paths,
        int: NUMBERS,
        int | None: NUMBERS,
        bool: (True, False),
        tuple[str, ...]: [[each] for each in paths],
        dict[str, str]: [{"tiny": each} for each in paths] + [{each: each} for each in paths],
    }
    of_name: dict[str, Iterable[Any]] = {
        "raw": [{"source": "http", "to": each, "files": []} for each in paths[:3]] + [1, [], None],
        "outlined": [{"entry": "sha256:" + "0" * 64, "source": "http", "files": [outside]}],
    }
    found = of_hint.get(hint) or of_name.get(name)
    assert found, f"say what is hostile for {name}, which is {hint}"
    return found


def receipts(world: World) -> Texts:
    """Yield receipts, each beside the honest ones."""
    honest = world.project.receipts("tiny").read_bytes()
    last = json.loads(honest.splitlines()[-1])
    for what, text in hostile(world, Receipt, {**last, "path": "sub/file.bin"}):
        yield what, honest + text + b"\n"


def journals(world: World) -> Texts:
    """Yield the journal of a partial that is there."""
    model = world.honest["tiny"]["files"][1]
    place = hashlib.sha256(model["url"].encode()).hexdigest()
    binding = {"path": model["path"], "place": place, "size": 1000, "sha256": model["sha256"]}
    for what, text in hostile(world, Binding, {**binding, "validator": '"x"\r\nX: y'}):
        yield what, b'{"version":1,"binding":%s}\n[[0,500]]\n' % text
    for ranges in ("[[0,9223372036854775807]]", "[[-5,5]]", "[[9223372036854775000,2]]", "[[0]]"):
        head = json.dumps({"version": 1, "binding": {**binding, "validator": None}})
        yield ranges, f"{head}\n{ranges}\n".encode()


def compiled(world: World) -> Texts:
    """Yield compiled manifests that are bound to models.yaml as it is."""
    file = world.project.folder / ".modelmake" / "manifest.json"
    honest = json.loads(file.read_bytes())
    tiny = next(each for each in honest["models"] if each["name"] == "tiny")
    others = [each for each in honest["models"] if each is not tiny]
    for what, text in hostile(world, Declaration, tiny):
        models = [json.loads(text), *others]
        yield what, json.dumps({**honest, "models": models}).encode()
    assert {*honest} == {*project._Compiled.__struct_fields__} == {"binding", "models"}


def notes(world: World) -> Texts:
    """Yield what a store remembers of another project, whose folders it may look into."""
    other = {"lock": str(world.victims / "models.lock"), "manifest": str(world.project.manifest)}
    noted = {"folders": {}, "former": [], "mount": "/", "machine": "", **other}
    yield from hostile(world, KnownProject, noted)


def records(world: World) -> Texts:
    """Yield what a store noted of a blob."""
    honest = {"sha256": sha256(BYTES), "size": 1, "mtime_ns": 1, "ctime_ns": 1, "inode": 1}
    for what, text in hostile(world, Record, honest):
        yield what, text + b"\n"


def layers(world: World) -> Texts:
    """Yield piece layers of roots that are paths."""
    for value in (*some_paths(world).values(), "0" * 64):
        line = {"root": value, "size": 2**63 - 1, "piece": 1, "layer": value}
        yield f"root = {str(value)[:40]!r}", json.dumps(line).encode() + b"\n"


def claims(world: World) -> Texts:
    """Yield where the bytes of a file are said to grow."""
    for what, value in some_paths(world).items():
        if isinstance(value, str):
            yield what, os.fsencode(value)


@dataclass(frozen=True)
class File:
    """A file that hostile things may stand in.

    Attributes:
        where: Where it is.
        texts: What it says.
        commands: What is run.
    """

    where: Callable[[World], Path]
    texts: Callable[[World], Texts]
    commands: tuple[Command, ...] = COMMANDS


def _journal(world: World) -> Path:
    partials = world.project.target("tiny", f".modelmake/{Private.PARTIALS}")
    return (partials / partial_name("sub/file.bin")).with_suffix(".journal")


FILES = {
    "receipts": File(lambda world: world.project.receipts("tiny"), receipts),
    "journal": File(_journal, journals, COMMANDS[:1]),
    "manifest.json": File(
        lambda world: world.project.folder / ".modelmake" / "manifest.json", compiled
    ),
    "projects": File(lambda world: world.store / "projects" / "0123.json", notes, (PRUNE,)),
    "records": File(lambda world: world.store / "records", records, (CORE[0], PRUNE)),
    "models.pieces": File(
        lambda world: world.project.folder / "models.pieces", layers, (CORE[0], CORE[2])
    ),
    "growing": File(
        lambda world: world.store / "growing" / sha256(BYTES), claims, (CORE[0], PRUNE)
    ),
}


@pytest.mark.sampled(keep=2)
@pytest.mark.parametrize("name", FILES)
def test_no_field_of_another_file_leads_out(world: World, name: str) -> None:
    """Whatever it says, nothing outside the models' folders is changed, and no error is ours."""
    file, findings = FILES[name], Findings()
    where = file.where(world)
    for number, (what, text) in enumerate(list(file.texts(world))):
        is_folder = what.startswith(("folder", "former", "path"))
        one = [file.commands[number % len(file.commands)]]
        for each in file.commands if is_folder else one:
            where.parent.mkdir(parents=True, exist_ok=True)
            where.write_bytes(text)
            if name == "journal":
                where.with_suffix(".part").write_bytes(bytes(500))
            run, changed = watched(world, each, "tiny", world.own(*MODELS))
            findings.add(what, each, changed + damage(run))
            world.reset()
    findings.check()
