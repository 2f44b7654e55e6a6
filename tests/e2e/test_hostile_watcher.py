"""The watcher of the hostile tests sees what it has to, and honest files pass every command."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.hostile_runs import CLEAN, EVERY, PLAIN, REPAIR, Command, damage, watched
from tests.e2e.hostile_world import MODELS, World, changes, look
from tests.e2e.warm import PYTHON, Warm
from tests.servers.faulty import FaultyServer
from tests.servers.together.server import TogetherServer


@pytest.fixture(scope="module", params=["off", "store"])
def world(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """Give a whole project with victims around it, with a shared store and without."""
    folder = tmp_path_factory.mktemp("hostile-watcher")
    (folder / "said").mkdir()
    has_store = request.param == "store"
    with FaultyServer() as server, TogetherServer() as together, Warm(folder / "said") as warm:
        yield World(folder, warm, server, together, store=has_store)


@pytest.mark.parametrize("command", EVERY, ids=str)
def test_an_honest_lock_passes_every_command(world: World, command: Command) -> None:
    """Status 0, and nothing outside the folders of the models changes."""
    run, changed = watched(world, command, "tiny", [*world.own(*MODELS), "out"])
    assert (run.status, changed, damage(run)) == (0, [], []), run.text


def test_honest_files_come_back(world: World) -> None:
    """A run fetches what `clean` removed, and says so; the same bytes are there."""
    before = look(world.root)
    cleaned, fetched = CLEAN.run(world, "tiny"), PLAIN.run(world, "tiny")
    repaired = REPAIR.run(world, "tiny")
    after = look(world.root)
    world.reset()
    assert (cleaned.status, fetched.status, repaired.status) == (0, 0, 0)
    assert changes(before, after, world.own("tiny")) == []
    assert changes(before, after) != []
    target = world.project.target("tiny", "a.bin").relative_to(world.root).as_posix()
    assert before[target][1] == after[target][1]


def overwritten(victim: Path) -> None:
    """Change a byte."""
    victim.write_bytes(b"x" + victim.read_bytes()[1:])


def written_again(victim: Path) -> None:
    """Write the same bytes into another file under the same name."""
    other = victim.with_name("other")
    other.write_bytes(victim.read_bytes())
    other.replace(victim)


def linked(victim: Path) -> None:
    """Make a hard link elsewhere."""
    victim.with_name("linked").hardlink_to(victim)


def turned_into_a_link(victim: Path) -> None:
    """Put a symlink to the same bytes in its place."""
    victim.rename(victim.with_name("moved"))
    victim.symlink_to("moved")


def chmodded(victim: Path) -> None:
    """Make it read-only."""
    victim.chmod(0o400)


def folder_opened(victim: Path) -> None:
    """Let everybody write in its folder."""
    victim.parent.chmod(0o777)


def added_beside(victim: Path) -> None:
    """Make a file."""
    victim.with_name("new").touch()


def removed(victim: Path) -> None:
    """Remove it."""
    victim.unlink()


HARM = [overwritten, written_again, linked, turned_into_a_link, chmodded, folder_opened]
HARM += [added_beside, removed]


@pytest.mark.parametrize("harm", HARM, ids=lambda each: str(each.__name__))
@pytest.mark.parametrize("where", ["victim.txt", "victim-dir/precious"])
def test_the_watcher_sees_harm(world: World, harm: Callable[[Path], object], where: str) -> None:
    """Each way to harm a victim is told, and `reset` makes it good."""
    before = look(world.root)
    harm(world.world / where)
    assert changes(before, look(world.root), world.own(*MODELS))
    world.reset()
    seen = look(world.root)
    assert before.keys() == seen.keys()
    assert changes(seen, look(world.root)) == []


def test_a_run_is_watched_to_its_end(world: World) -> None:
    """What a program does when Python ends is seen, and a status that is no number."""
    victim = world.world / "victim.txt"
    script = (
        f"import atexit, os; atexit.register(os.unlink, {str(victim)!r}); raise SystemExit('x')"
    )
    before = look(world.root)
    run = world.run([PYTHON, script])
    changed = changes(before, look(world.root))
    world.reset()
    assert run.status == 1
    assert changed == [f"{victim.relative_to(world.root).as_posix()} is gone"]
