"""Runs with hostile files in place, and what is found wrong with them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path

from tests.e2e.hostile_world import MODELS, World, changes, look
from tests.e2e.project import Run
from tests.e2e.warm import PYTHON

SHOWN = 12
DAMAGE = ("Traceback", "an error in modelmake itself", "internal-error")
SYNC = """
import downloader, downloader.errors, sys
try:
    downloader.{}
except downloader.errors.ModelmakeError as error:
    print(error.report(), file=sys.stderr)
    sys.exit(1)
"""


@dataclass(frozen=True, eq=False)
class Command:
    """A command line, where MODEL stands for the model, ATTIC and OUT for folders."""

    words: tuple[str, ...]
    variables: dict[str, str] = field(default_factory=dict)

    def run(self, world: World, model: str, cwd: Path | None = None) -> Run:
        """Run it in the project, or in another folder."""
        named = {
            "MODEL": model,
            "ATTIC": str(world.world / "attic"),
            "OUT": str(world.root / "out"),
        }
        words = [str(named.get(word, word)).replace("MODEL", model) for word in self.words]
        return world.run(words, cwd, **self.variables)

    def __str__(self) -> str:
        variables = [f"{name}={value}" for name, value in self.variables.items()]
        words = ("python", *self.words[1].splitlines()[3:4]) if PYTHON in self.words else self.words
        return " ".join([*variables, *(["doit"] * (words is self.words)), *words])


CI, LOCKED, OFFLINE = {"CI": "1"}, {"MODELMAKE_LOCKED": "1"}, {"MODELMAKE_OFFLINE": "1"}
PLAIN = Command(())
CLEAN = Command(("clean", "fetch:MODEL"))
REPAIR = Command(("verify", "--repair"))
CORE = (PLAIN, CLEAN, REPAIR)
FURTHER = (
    Command((), CI),
    Command((), LOCKED),
    Command((), OFFLINE),
    Command(("adopt", "--from", "ATTIC")),
    Command(("prune", "--older-than=0")),
    Command(("bundle", "--out", "OUT")),
    Command(("publish", "--to", "OUT")),
    Command(("list",)),
    Command(("clean",)),
    Command(("verify",)),
    Command(("plan",)),
    Command(("lock",)),
    Command((PYTHON, SYNC.format("sync()"))),
    Command(("outdated",)),
    Command(("ci-key",)),
    Command(("info", "fetch:MODEL")),
    Command(("lock", "--upgrade")),
    Command(("fetch:MODEL",)),
    Command(("verify", "--repair", "MODEL"), CI),
    Command(("lock", "--check")),
    Command(("forget", "fetch:MODEL")),
    Command(("list", "--all")),
    Command(("lock", "--pieces")),
    Command(("clean", "fetch:MODEL"), OFFLINE),
    Command(("plan", "--json"), LOCKED),
    Command((PYTHON, SYNC.format("ensure('MODEL')")), OFFLINE),
)
EVERY = (*CORE, *FURTHER)


def in_turn() -> Iterator[Command]:
    """Yield the commands for ever, those that change most more often."""
    for command in cycle(FURTHER):
        yield command
        yield CORE[hash_free(command) % len(CORE)]


def hash_free(command: Command) -> int:
    """Return a number that is the same in each run."""
    return FURTHER.index(command)


class Findings:
    """What was found wrong, told all together."""

    def __init__(self) -> None:
        self._told: list[str] = []
        self._runs = 0

    def add(self, case: str, command: object, wrong: Sequence[str]) -> None:
        """Note a run; with nothing wrong it counts as one."""
        self._runs += 1
        if wrong:
            self._told.append(f"{case}: {command}: {'; '.join(wrong[:3])}")

    def check(self) -> None:
        """Fail where anything was wrong, and name it."""
        shown = "\n".join(self._told[:SHOWN])
        assert not self._told, f"{len(self._told)} of {self._runs} runs are wrong:\n{shown}"
        assert self._runs


def refusal_wrong(run: Run, names: Sequence[str]) -> list[str]:
    """Return what is wrong with how a run refused.

    Args:
        run: The run.
        names: What it must name: the file, and the model where it can.
    """
    wrong = damage(run)
    if run.status != 1:
        wrong.append(f"status {run.status}")
    if missing := [name for name in names if name not in run.text]:
        wrong.append(f"names not {', '.join(missing)}: {run.text.strip()[:160]!r}")
    return wrong


def damage(run: Run) -> list[str]:
    """Return what a run says that nothing hostile may make it say."""
    return [f"{word}: {run.text.strip()[-200:]!r}" for word in DAMAGE if word in run.text]


def watched(
    world: World, command: Command, model: str, may: Sequence[str] = ()
) -> tuple[Run, list[str]]:
    """Run a command, and return what it changed beside what it may; then restore all."""
    before = look(world.root)
    run = command.run(world, model)
    return run, settled(world, before, may)


def settled(world: World, before: object, may: Sequence[str] = ()) -> list[str]:
    """Return what changed since, beside what may, and restore all of it."""
    assert isinstance(before, dict)
    after = look(world.root)
    if after != before:
        world.reset()
    changed = changes(before, after, may)
    return sorted(changed, key=lambda told: told.startswith(tuple(world.own(*MODELS))))
