"""strace as a test's tool: in a child, the N-th system call of a kind is a kill, or fails.

    blow = Blow(calls=("fsync",), number=2, effect="error=EIO", paths=(partial,))
    subprocess.run([*strace.striking(log, blow), sys.executable, ...])
    call = failed(log)

strace counts the calls of each thread by itself: where several run, the first to make its N-th is
struck.
"""

import re
from dataclasses import dataclass
from pathlib import Path

FAMILIES = {
    "write": ("write",),
    "pwrite64": ("pwrite64",),
    "fsync": ("fsync",),
    "fdatasync": ("fdatasync",),
    "ftruncate": ("ftruncate",),
    "rename": ("?rename", "?renameat", "?renameat2"),
    "unlink": ("?unlink", "?unlinkat"),
    "open": ("?open", "?openat"),
    "mkdir": ("?mkdir", "?mkdirat"),
    "flock": ("flock",),
    "link": ("?link", "?linkat"),
    "chmod": ("?chmod", "?fchmodat", "?fchmodat2"),
}
"""System calls that do the same; those with a question mark are not on every machine."""

_CALL = re.compile(r"(?P<thread>\d+) +(?P<name>\w+)\((?P<arguments>.*)")
_DESCRIPTOR = re.compile(r"\d+<(?P<path>[^>]*)>")
_FIRST_NAME = re.compile(r'(?:\w+<(?P<folder>[^>]*)>, )?"(?P<name>(?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, slots=True)
class Call:
    """One line of strace's log: a call, or the part of it before another thread's."""

    line: str

    @property
    def name(self) -> str:
        """Name of the system call; empty where the line is about something else."""
        found = _CALL.match(self.line)
        return found["name"] if found else ""

    @property
    def thread(self) -> str:
        """Who makes it."""
        return self.line.partition(" ")[0]

    @property
    def family(self) -> str:
        """What it is counted as; empty where it is of no family."""
        names = {"?" + self.name, self.name}
        return next((each for each, calls in FAMILIES.items() if names & {*calls}), "")

    def path(self, folder: Path) -> Path:
        """Return the (first) file it is about.

        Args:
            folder: Where the program runs: names may be relative to it.
        """
        found = _CALL.match(self.line)
        arguments = found["arguments"] if found else ""
        if descriptor := _DESCRIPTOR.match(arguments):
            return Path(descriptor["path"])
        named = _FIRST_NAME.match(arguments)
        return folder / (named["name"] if named else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Blow:
    """What strace does to the child.

    Attributes:
        calls: The names it counts, each for itself.
        number: Which of them is struck, from 1 on.
        effect: In strace's words: `signal=KILL`, `error=ENOSPC`.
        and_later: Whether those after it are struck as well.
        paths: Only calls on these files count, absolute; none: on any file.
    """

    calls: tuple[str, ...]
    number: int
    effect: str
    and_later: bool = False
    paths: tuple[Path, ...] = ()


class Strace:
    """The program.

    Args:
        program: Its path.
    """

    def __init__(self, program: str) -> None:
        self._program = program

    def listening(self, log: Path) -> list[str]:
        """Return what stands before a command to have all its calls logged."""
        calls = ",".join(name for names in FAMILIES.values() for name in names)
        return self._before(log, [f"--trace={calls}"])

    def striking(self, log: Path, blow: Blow) -> list[str]:
        """Return what stands before a command to have one of its calls struck."""
        calls = ",".join(blow.calls)
        when = f"{blow.number}+" if blow.and_later else f"{blow.number}"
        inject = f"--inject={calls}:{blow.effect}:when={when}"
        paths = [f"--trace-path={path}" for path in blow.paths]
        return self._before(log, [f"--trace={calls}", inject, *paths])

    def _before(self, log: Path, chosen: list[str]) -> list[str]:
        return [self._program, "-f", "-y", "-o", str(log), *chosen]


def calls(log: Path) -> list[Call]:
    """Return every call of a log, in the order they were made."""
    lines = log.read_text(errors="replace").splitlines()
    return [call for call in map(Call, lines) if call.family]


def failed(log: Path) -> Call | None:
    """Return the call that an `error=` struck; None when there were not so many."""
    return next((call for call in calls(log) if "(INJECTED)" in call.line), None)


def killed(log: Path) -> Call | None:
    """Return the call at which `signal=KILL` ended the program; None when it came through."""
    is_killed = "+++ killed by SIGKILL +++" in log.read_text(errors="replace")
    return calls(log)[-1] if is_killed else None
