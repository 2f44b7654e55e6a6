"""A hostile bundle: `adopt` judges all of it before the first file is in place."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from downloader.operations.bundle import Mark
from tests.e2e.hostile_places import PLACES
from tests.e2e.hostile_runs import (
    OFFLINE,
    Command,
    Findings,
    damage,
    refusal_wrong,
    settled,
)
from tests.e2e.hostile_values import some_paths
from tests.e2e.hostile_world import World, changes, look
from tests.e2e.project import REPOSITORY
from tests.e2e.warm import Warm
from tests.servers.faulty import FaultyServer
from tests.servers.together.server import TogetherServer

LOCK = "models.lock"
TAKEN = "taken"
KINDS = ("absolute", "up 3", "a new file outside", "dodo.py", "up from private", "NUL")
IS_HERE = [True, False]
"""Whether the project that takes the bundle has a models.yaml."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Give a project, an honest bundle of it, and beside it folders that are to take another."""
    folder = tmp_path_factory.mktemp("hostile-bundle")
    (folder / "said").mkdir()
    with FaultyServer() as server, TogetherServer() as together, Warm(folder / "said") as warm:
        made = World(folder, warm, server, together)
        for is_here in IS_HERE:
            taker(made, is_here=is_here).mkdir()
            shutil.copy(REPOSITORY / "dodo.py", taker(made, is_here=is_here))
        shutil.copy(made.project.manifest, taker(made, is_here=True))
        run = made.run(["bundle", "--out", str(bundle(made))])
        assert run.status == 0, run.text
        made.keep()
        made.reset()
        yield made


def bundle(world: World) -> Path:
    """Return where the bundle is."""
    return world.world / "bundle"


def taker(world: World, *, is_here: bool) -> Path:
    """Return the project that takes it, as deep as the one that it is of."""
    return world.world / "outer" / f"{TAKEN}{is_here:d}"


def hostile_locks(world: World) -> Iterator[tuple[str, str, bytes]]:
    """Yield locks of which each says one hostile thing: in words, of which model, and the text."""
    for place in PLACES:
        kinds = KINDS if place.is_full else KINDS[:2]
        for case in place.cases(world):
            is_path = case.field == "path" and case.what in kinds
            is_first = case.what == "absolute" and case.field in {"into", "archive", "url"}
            if case.must_refuse and (is_path or is_first):
                yield f"{place.name}, {case.field} = {case.what}", place.model, case.lock(world)


@pytest.mark.sweep
@pytest.mark.parametrize("is_here", IS_HERE, ids=["a models.yaml here", "no models.yaml here"])
def test_a_hostile_lock_in_a_bundle_is_refused(world: World, *, is_here: bool) -> None:
    """Nothing is written in the project that takes it, and its next run harms nobody."""
    findings = Findings()
    honest = (bundle(world) / LOCK).read_bytes()
    command = Command(("adopt", "--from", str(bundle(world))))
    for what, model, text in hostile_locks(world):
        (bundle(world) / LOCK).write_bytes(text)
        findings.add(f"{model}: {what}", "bundle", wrong_with(world, command, model, is_here))
        (bundle(world) / LOCK).write_bytes(honest)
    findings.check()


def wrong_with(world: World, command: Command, model: str, is_here: bool) -> list[str]:
    """Return what is wrong with a bundle's refusal, and with the next run."""
    cwd = taker(world, is_here=is_here)
    before = look(world.root)
    run = command.run(world, model, cwd)
    cache = f"{cwd.relative_to(world.root).as_posix()}/.modelmake"
    told = changes(before, look(world.root), [cache] * is_here)
    wrong = [*told, *refusal_wrong(run, [LOCK, model])]
    next_run = Command((), OFFLINE).run(world, model, cwd)
    return [*settled(world, before, taken(world, cwd)), *wrong, *damage(next_run)]


def taken(world: World, cwd: Path) -> list[str]:
    """Return what may change where a bundle is taken; its blobs get further links."""
    base = cwd.relative_to(world.root).as_posix()
    blobs = (bundle(world) / "sha256").relative_to(world.root).as_posix()
    return [*world.own(project=cwd.name), f"{base}/models", f"{base}/models.yaml", blobs]


@pytest.mark.parametrize("is_here", IS_HERE, ids=["a models.yaml here", "no models.yaml here"])
def test_an_honest_bundle_is_taken(world: World, *, is_here: bool) -> None:
    """The control: all files come, and nothing outside the project changes."""
    before = look(world.root)
    cwd = taker(world, is_here=is_here)
    run = world.run(["adopt", "--from", str(bundle(world))], cwd)
    next_run = world.run([], cwd, MODELMAKE_OFFLINE="1")
    wrong = settled(world, before, taken(world, cwd))
    assert (run.status, next_run.status, wrong) == (0, 0, []), run.text + next_run.text


def marks(world: World) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield what bundle.json must not be able to do, for each of its fields."""
    paths = [each for each in some_paths(world).values() if isinstance(each, str)]
    hostile: dict[str, list[Any]] = {
        "version": [-1, 2**63, "1"],
        "models": [paths, ["tiny", *paths], "tiny", {"tiny": paths[0]}],
    }
    assert hostile.keys() == set(Mark.__struct_fields__), "say what is hostile for the new field"
    for name, values in hostile.items():
        for value in values:
            yield name, {"version": 1, "models": ["tiny"], name: value}


def manifests(world: World) -> Iterator[tuple[str, str]]:
    """Yield a bundle's models.yaml with folders and paths that lead elsewhere."""
    honest = world.project.manifest.read_text()
    for path in some_paths(world).values():
        if isinstance(path, str) and path not in {"dodo.py", "link/victim.txt", "new.bin"}:
            yield (
                "to",
                honest.replace("source: http\n", f"source: http\n    to: {json.dumps(path)}\n"),
            )
            yield "path", honest.replace("path: a.bin", f"path: {json.dumps(path)}")


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        ("bundle.json", lambda world: ((what, json.dumps(each)) for what, each in marks(world))),
        ("models.yaml", manifests),
        ("models.lock", lambda _: [("binary", "\0\1"), ("list", "[]"), ("deep", "[" * 100_000)]),
        ("receipts", lambda world: [("receipts", json.dumps({"path": str(world.world)}))]),
    ],
)
def test_no_other_file_of_a_bundle_leads_out(
    world: World, name: str, texts: Callable[[World], Iterator[tuple[str, str]]]
) -> None:
    """It is refused, or taken as if it said nothing; no victim is touched."""
    findings = Findings()
    file, cwd = bundle(world) / name, taker(world, is_here=False)
    honest = file.read_bytes()
    for what, text in texts(world):
        file.write_text(text)
        before = look(world.root)
        runs = [
            world.run(words, cwd, **OFFLINE)
            for words in (["adopt", "--from", str(bundle(world))], [])
        ]
        wrong = settled(world, before, taken(world, cwd))
        file.write_bytes(honest)
        findings.add(f"{what}: {text[:60]}", name, wrong + [e for run in runs for e in damage(run)])
    findings.check()
