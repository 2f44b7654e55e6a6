"""Commands run to their end, what they cost, and contenders raced in turn.

One round runs every contender once, ours first, so that each pair of one round met the same
machine; the first round warms up and is not counted.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

LAUNCHER = Path(__file__).with_name("launch.py")
LIMIT_SECONDS = 300.0
SAID_BYTES = 500
RSS_UNIT = 1 if sys.platform == "darwin" else 1024
"""The unit of ru_maxrss: getrusage(2) has kilobytes on Linux, bytes on macOS."""


class Failed(Exception):  # noqa: N818 - reads as what happened
    """A command ended badly, took too long, or left other bytes than it should."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What one run cost.

    Attributes:
        wall_seconds: From its start to its end.
        cpu_seconds: User and system time of the process and all children it waited for.
        peak_bytes: The largest resident set of any one of them.
        server_cpu_seconds: What the origin spent meanwhile; NaN where it cannot be told.
    """

    wall_seconds: float
    cpu_seconds: float
    peak_bytes: int
    server_cpu_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A program with its arguments, and what surrounds it.

    Attributes:
        words: The program and its arguments.
        folder: Its working directory; its output goes to a file there.
        variables: Its whole environment.
    """

    words: Sequence[str]
    folder: Path
    variables: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One line of a race.

    Attributes:
        name: What the table calls it.
        command: What is timed; None when it is absent.
        before: Puts things back as they were before each run; not timed.
        check: Raises Failed when the run did not leave what it should; not timed.
        absent: Why it does not take part; empty when it does.
    """

    name: str
    command: Command | None = None
    before: Callable[[], None] = lambda: None
    check: Callable[[], None] = lambda: None
    absent: str = ""


@dataclass(slots=True)
class Race:
    """The counted runs of every contender, in the order of the rounds.

    Attributes:
        runs: By the contender's name; as many for each, in the order they were entered.
        absent: Why a contender has no runs, by its name.
    """

    runs: dict[str, list[Usage]] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)


def run(command: Command, limit_seconds: float = LIMIT_SECONDS) -> Usage:
    """Run a command to its end.

    Raises:
        Failed: It ended with another status than 0, or not in time.
    """
    said, report = command.folder / "said.log", command.folder / "cost.txt"
    report.unlink(missing_ok=True)
    with said.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(LAUNCHER), str(report), *command.words],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            cwd=command.folder,
            env=dict(command.variables),
            start_new_session=True,  # its own group, so that its children end with it
        )
        _wait(process, limit_seconds)
    status, *costs = report.read_text().split() if report.exists() else (str(process.returncode),)
    if status != "0":
        text = said.read_bytes()[-SAID_BYTES:].decode(errors="replace").strip()
        raise Failed(f"status {status}: {text or 'it said nothing'}")
    wall, cpu, peak = map(float, costs)
    return Usage(wall_seconds=wall, cpu_seconds=cpu, peak_bytes=int(peak) * RSS_UNIT)


def _wait(process: subprocess.Popen[bytes], limit_seconds: float) -> None:
    try:
        process.wait(limit_seconds)
    except subprocess.TimeoutExpired:
        raise Failed(f"not done after {limit_seconds:.0f} s") from None
    finally:
        if process.returncode is None:  # too late, or we were interrupted
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def race(
    contenders: Sequence[Contender],
    pairs: int,
    server_cpu: Callable[[], float] = lambda: 0.0,
    *,
    warms_all: bool = True,
) -> Race:
    """Run all contenders in turn, once to warm up and then `pairs` times.

    One that fails is out of the race, and the reason is kept.

    Args:
        contenders: Who takes part; names differ.
        pairs: How many rounds are counted.
        server_cpu: The CPU seconds the origin has spent so far.
        warms_all: Whether all warm up; the first one, which is ours, does so always, and touches
            the memory that the others then use.
    """
    result = Race(absent={each.name: each.absent for each in contenders if each.absent})
    result.runs = {each.name: [] for each in contenders if not each.absent}
    for number in range(pairs + 1):
        for each in contenders:
            is_wanted = number or warms_all or each is contenders[0]
            if is_wanted and each.name in result.runs:
                _take_turn(each, number, result, server_cpu)
    return result


def _take_turn(
    contender: Contender, number: int, result: Race, server_cpu: Callable[[], float]
) -> None:
    label = f"round {number}" if number else "warm-up"
    try:
        usage = _timed(contender, server_cpu)
    except Failed as error:
        say(f"  {label}: {contender.name}: failed: {error}")
        del result.runs[contender.name]
        result.absent[contender.name] = f"failed: {error}"
        return
    say(f"  {label}: {contender.name}: {usage.wall_seconds:.2f} s")
    if number:
        result.runs[contender.name].append(usage)


def _timed(contender: Contender, server_cpu: Callable[[], float]) -> Usage:
    assert contender.command is not None
    contender.before()
    spent = server_cpu()
    usage = run(contender.command)
    server_seconds = server_cpu() - spent
    contender.check()
    return Usage(
        wall_seconds=usage.wall_seconds,
        cpu_seconds=usage.cpu_seconds,
        peak_bytes=usage.peak_bytes,
        server_cpu_seconds=server_seconds,
    )


def say(text: str) -> None:
    """Tell how far we are, on standard error."""
    print(text, file=sys.stderr, flush=True)
