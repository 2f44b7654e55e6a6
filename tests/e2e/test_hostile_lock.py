"""A hostile models.lock: each command refuses it before it changes anything, anywhere."""

from collections.abc import Iterator

import pytest

from tests.e2e.hostile_places import PLACES, Case, Place, text_of
from tests.e2e.hostile_runs import (
    CORE,
    EVERY,
    FURTHER,
    Command,
    Findings,
    damage,
    in_turn,
    refusal_wrong,
    watched,
)
from tests.e2e.hostile_values import Said, some_paths, unsafe_paths
from tests.e2e.hostile_world import BYTES, MODELS, World
from tests.e2e.warm import Warm
from tests.projects import sha256
from tests.servers.faulty import FaultyServer
from tests.servers.together.server import TogetherServer

LOCK = "models.lock"
MODELS_WITH_WORK = tuple(name for name in MODELS if name != "other")
ATTACKS = ("absolute", "up 3", "a new file outside", "dodo.py", "through a symlink")
WRITTEN: tuple[str, ...] = (
    "a new file outside",
    "an absolute new file",
    "models.yaml",
    "a sibling's file",
)
WRITTEN = (*WRITTEN, "absolute", "up from private")
EVERYWHERE = {"added bare archive": ("absolute", "dodo.py"), "archive": ("through a symlink",)}
"""What is sent through every command, by the place where it is most harmful."""


@pytest.fixture(scope="module")
def world(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """Give a project in which runs have something to do, with victims around it."""
    has_store = getattr(request, "param", "") == "store"
    folder = tmp_path_factory.mktemp("hostile-lock")
    (folder / "said").mkdir()
    with FaultyServer() as server, TogetherServer() as together, Warm(folder / "said") as warm:
        made = World(folder, warm, server, together, store=has_store)
        made.begin()
        made.keep()
        yield made


def commands_for(case: Case, turns: Iterator[Command]) -> list[Command]:
    """Return what a case is sent through: all, the ones that change most, or the next in turn."""
    if case.field != "path" or case.what not in ATTACKS:
        return [next(turns)]
    if case.place.is_full and case.what in EVERYWHERE.get(case.place.name, ()):
        return [*EVERY]
    return [*CORE, next(turns)]


@pytest.mark.sampled(keep=4)
@pytest.mark.parametrize("place", PLACES, ids=lambda each: f"{each.model}: {each.name}")
def test_no_value_of_any_field_leads_out(world: World, place: Place) -> None:
    """The refusal names file and model, status 1; where a value may stand, others stay whole."""
    findings, turns = Findings(), in_turn()
    for case in place.cases(world):
        for command in commands_for(case, turns):
            findings.add(f"{case.field} = {case.what}", command, wrong_with(world, case, command))
    findings.check()


def wrong_with(world: World, case: Case, command: Command) -> list[str]:
    """Return what is wrong with a run that meets the case."""
    model = case.place.model
    text = case.lock(world)
    if not case.must_refuse:
        return harm(world, text, command, model)
    names = [LOCK, model] if case.is_told_with_model else [LOCK]
    return not_refused(world, text, command, names)


def not_refused(world: World, lock: bytes, command: Command, names: list[str]) -> list[str]:
    """Return what is wrong with how a lock was refused, before which nothing may change."""
    world.project.lock.write_bytes(lock)
    run, changed = watched(world, command, names[-1] if len(names) > 1 else "tiny")
    world.project.lock.write_bytes(world.honest_lock)
    return changed + refusal_wrong(run, names)


def harm(world: World, lock: bytes, command: Command, model: str) -> list[str]:
    """Return what a lock that may be obeyed, or not, did outside the folders of its models."""
    world.project.lock.write_bytes(lock)
    busy = MODELS if command.words == ("clean",) else MODELS_WITH_WORK
    run, changed = watched(world, command, model, [*world.own(*busy), "out"])
    world.project.lock.write_bytes(world.honest_lock)
    return changed + damage(run)


def added(model: Said, path: str) -> Said:
    """Return a model with an archive at the path, known by digest, out of which its files come."""
    archive = {"path": path, "size": len(BYTES), "sha256": sha256(BYTES)}
    files = [{**each, "archive": path} for each in model["files"]]
    return {**model, "archives": [archive], "files": files}


def test_a_stale_model_is_no_way_round(world: World) -> None:
    """No entry says what its files are: its paths are refused all the same."""
    findings, turns = Findings(), in_turn()
    for what, path in some_paths(world).items():
        if not isinstance(path, str) or path in ("dodo.py", "link/victim.txt", "new.bin"):
            continue
        models = world.honest
        models["tiny"] = added(models["tiny"], path) | {"entry": f"sha256:{'0' * 64}"}
        for command in (*CORE, next(turns)):
            wrong = not_refused(world, text_of(models), command, [LOCK, "tiny"])
            findings.add(what, command, wrong)
    findings.check()


def test_a_model_that_nobody_declares_is_no_way_round(world: World) -> None:
    """Whatever it is called, and whatever it holds."""
    findings, turns = Findings(), in_turn()
    for what, path in some_paths(world).items():
        if not isinstance(path, str):
            continue
        for name, held in (("ghost", path), (path, "a.bin"), (path, path)):
            models = world.honest
            models[name] = added(models["tiny"], held)
            command = next(turns)
            wrong = harm(world, text_of(models), command, "tiny")
            findings.add(f"{what} as {name[:20]!r}", command, wrong)
    findings.check()


@pytest.mark.parametrize("model", ["bot", "raw"])
def test_names_that_differ_in_case_are_refused(world: World, model: str) -> None:
    """Two files that are one on some disks, and an archive in the place of a file."""
    findings, turns = Findings(), in_turn()
    for kind in ("files", "archives"):
        models = world.honest
        found = models[model]
        if kind in found:
            known = found[kind][0]
            found[kind].append({**known, "path": known["path"].upper()})
            for command in (*CORE, next(turns)):
                wrong = not_refused(world, text_of(models), command, [LOCK, model])
                findings.add(kind, command, wrong)
    findings.check()


@pytest.mark.parametrize("world", ["store"], indirect=True)
@pytest.mark.parametrize("has_members", [True, False], ids=["with members", "without"])
def test_no_bytes_of_a_store_are_put_elsewhere(world: World, *, has_members: bool) -> None:
    """An archive with the digest of a file that is in the store would be linked to its path."""
    findings = Findings()
    for what, path in unsafe_paths(world).items():
        if what not in WRITTEN:
            continue
        models = world.honest
        models["tiny"] = added(models["tiny"], path)
        if not has_members:
            models["tiny"]["files"] = world.honest["tiny"]["files"]
        for command in (*CORE, *FURTHER[:4]):
            wrong = not_refused(world, text_of(models), command, [LOCK, "tiny"])
            findings.add(what, command, wrong)
    findings.check()
