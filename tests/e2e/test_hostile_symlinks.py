"""Symlinks that a hostile repository brings along lead nothing out of the folder they are in."""

import itertools
import shutil
from collections.abc import Iterator

import pytest

from downloader.fs.locks import partial_name
from tests.e2e.content import toy_content
from tests.e2e.hostile_places import text_of
from tests.e2e.hostile_runs import CLEAN, PLAIN, REPAIR, Command, Findings, damage, watched
from tests.e2e.hostile_world import MODELS, World
from tests.e2e.warm import Warm
from tests.projects import sha256
from tests.servers.faulty import FaultyServer
from tests.servers.together.server import TogetherServer

FILE = "victim-dir/precious"
FOLDER = "victim-dir"
NOWHERE = "nothing-yet"
PARTIAL = f"models/tiny/.modelmake/partials/{partial_name('sub/file.bin')}"
PRIVATE = ("receipts", "partials", "quarantine", "archives", "unpacking", "linking")
LINKS = {
    "models/tiny/.modelmake": [FOLDER, NOWHERE],
    "models/bot/.modelmake": [FOLDER],
    **{f"models/tiny/.modelmake/{name}": [FOLDER, FILE, NOWHERE] for name in PRIVATE},
    **{f"models/bot/.modelmake/{name}": [FOLDER] for name in PRIVATE[1:]},
    PARTIAL: [FILE, NOWHERE],
    PARTIAL.replace(".part", ".journal"): [FILE, NOWHERE],
    "models/tiny/sub": [FOLDER, NOWHERE],
    "models/tiny/a.bin": [FILE, "outer/project/dodo.py", NOWHERE],
    "models/bot/step-10": [FOLDER, NOWHERE],
    "models/bot/step-10/tokenizer.json": [FILE, NOWHERE],
    ".modelmake": [FOLDER, NOWHERE],
    ".modelmake/manifest.json": [FILE, NOWHERE],
    ".modelmake/models.lock.turn": [FILE, NOWHERE],
    ".doit.db": [FILE, NOWHERE],
    "models.pieces": [FILE, NOWHERE],
}
CASES = [(link, target) for link, targets in LINKS.items() for target in targets]
BLOB = sha256(toy_content("sub/file.bin"))
IN_STORE: tuple[str, ...] = (
    "claims",
    "format",
    "growing",
    "pieces",
    "projects",
    "quarantine",
    "records",
    "sha256",
)
IN_STORE = (*IN_STORE, "CACHEDIR.TAG", f"sha256/{BLOB[:2]}", f"sha256/{BLOB[:2]}/{BLOB}")
FURTHER = (
    Command(("prune", "--older-than=0")),
    Command(("adopt", "--from", "ATTIC")),
    Command(("bundle", "--out", "OUT", "other", "tiny")),
    Command(("publish", "--to", "OUT", "other", "tiny")),
    Command(("forget", "fetch:MODEL")),
    Command(("lock", "--upgrade")),
    Command(("clean",)),
)


@pytest.fixture(scope="module", params=["off", "store"])
def world(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """Give a project in which runs have something to do."""
    folder = tmp_path_factory.mktemp("hostile-symlinks")
    (folder / "said").mkdir()
    has_store = request.param == "store"
    with FaultyServer() as server, TogetherServer() as together, Warm(folder / "said") as warm:
        made = World(folder, warm, server, together, store=has_store)
        made.begin()
        made.keep()
        yield made


def planted(world: World, link: str, target: str) -> None:
    """Put a symlink in the place of what is there."""
    path = world.project.folder / link
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(world.world / target)


@pytest.mark.sampled(keep=1)
@pytest.mark.parametrize("target", [FOLDER, FILE, NOWHERE])
def test_no_symlink_leads_out(world: World, target: str) -> None:
    """Nothing behind it is written, removed, linked or made, and nothing it leads to is new."""
    findings, turns = Findings(), itertools.cycle(FURTHER)
    for link, to in CASES:
        if target not in (to, FILE) or (target == FILE and to in (FOLDER, NOWHERE)):
            continue
        model = "bot" if "/bot" in link else "tiny"
        further = [] if world.store.exists() else [CLEAN, REPAIR, next(turns)]
        for command in (PLAIN, *further):
            planted(world, link, to)
            run, changed = watched(world, command, model, [*world.own(*MODELS), "out"])
            findings.add(f"{link} -> {to}", command, changed + damage(run))
            world.reset()
    findings.check()


@pytest.mark.parametrize("world", ["store"], indirect=True)
def test_a_note_of_a_store_is_no_way_out(world: World) -> None:
    """Where a file's bytes grow is noted for others; no symlink in its place is followed."""
    models = world.honest
    del models["tiny"]["files"][1]["size"]
    world.project.lock.write_bytes(text_of(models))
    shutil.rmtree(world.store / "sha256")
    note = world.store / "growing" / sha256(toy_content("sub/file.bin"))
    note.parent.mkdir(exist_ok=True)
    note.symlink_to(world.world / FILE)
    run, changed = watched(world, PLAIN, "tiny", world.own(*MODELS))
    world.reset()
    assert (changed, damage(run)) == ([], [])


@pytest.mark.sampled(keep=12)
@pytest.mark.parametrize("world", ["store"], indirect=True)
@pytest.mark.parametrize("name", IN_STORE)
@pytest.mark.parametrize("target", [FOLDER, FILE, NOWHERE])
def test_no_symlink_in_a_store_leads_out(world: World, name: str, target: str) -> None:
    """Others may write in a shared store: a run goes on without it, and harms nobody."""
    findings = Findings()
    for command in (PLAIN, CLEAN, FURTHER[0]):
        link = world.store / name
        if link.is_dir():
            shutil.rmtree(link)
        link.unlink(missing_ok=True)
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(world.world / target)
        run, changed = watched(world, command, "tiny", world.own(*MODELS))
        findings.add(name, command, changed + damage(run))
        world.reset()
    findings.check()
