"""What is promised beside speed: little moved twice after a kill, and a bound on the rate kept.

Nobody races here: ours is started, watched by what lies on the disk, and judged.
"""

import contextlib
import shutil
import stat
import subprocess
import time
from collections.abc import Iterator, Sequence
from functools import partial

from bench.measure import Race
from bench.origin import Origin
from bench.projects import Project
from bench.scratch import Arrived, payload
from bench.table import MEGA, Goal, Report
from bench.transfers import Setting

KILLED_AT = 0.9
BOUND = "20M"
BOUND_BYTES = 20 * MEGA
FILES = 4
LOOK_SECONDS = 0.002
SETTLE_SECONDS = 0.5
BLOCK_BYTES = 512
"""The unit of st_blocks (POSIX leaves it open; Linux and macOS have this one)."""


def kept(setting: Setting) -> Report:
    """Judge a kill near the end, and a bounded rate over several files at once."""
    twice = [_moved_twice(setting) for _ in range(setting.plan.pairs)]
    mean, fullest = _bounded(setting)
    return Report(
        title="Killed at 90 %, and MODELMAKE_LIMIT_RATE",
        race=Race(),
        goals=[
            Goal(text="moved twice / size, killed at 90 %", ratios=twice, at_most=0.02),
            Goal(text=f"mean rate of {FILES} files / {BOUND}", ratios=[mean], at_least=0.97),
            Goal(text=f"mean rate of {FILES} files / {BOUND}", ratios=[mean], at_most=1.03),
            Goal(text="fullest second after the first / bound", ratios=[fullest], at_most=1.2),
        ],
    )


def _moved_twice(setting: Setting) -> float:
    """Kill a run near its end, finish it, and return the share of bytes that moved twice."""
    origin = setting.origin
    file = payload(origin.root, "killed.bin", setting.plan.limited_bytes)
    project = Project(setting.scratch, [file], partial(origin.url, place="counted/"))
    with _running(project) as process:
        while _on_disk(project) < KILLED_AT * file.size and process.poll() is None:
            time.sleep(LOOK_SECONDS)
    there, before = _on_disk(project), _settled(origin)
    project.doit()
    Arrived([(file, project.target(file.name))])()
    project.forget()
    file.path.unlink()
    return (there + _settled(origin) - before - file.size) / file.size


def _settled(origin: Origin) -> int:
    """Return what was sent so far, once the server has noted the end of every reply."""
    found = -1
    while found != (now := origin.sent_bytes()):
        found = now
        time.sleep(SETTLE_SECONDS)
    return found


def _bounded(setting: Setting) -> tuple[float, float]:
    """Return the mean rate and that of the fullest second, both over the bound."""
    size = BOUND_BYTES * setting.plan.kept_seconds // FILES
    names = [f"bounded/{number}.bin" for number in range(FILES)]
    files = [payload(setting.origin.root, name, size) for name in names]
    project = Project(setting.scratch, files, setting.origin.url)
    seen = []
    with _running(project, MODELMAKE_LIMIT_RATE=BOUND) as process:
        while process.poll() is None:
            seen.append((time.monotonic(), _on_disk(project)))
            time.sleep(LOOK_SECONDS)
    Arrived([(each, project.target(each.name)) for each in files])()
    project.forget()
    shutil.rmtree(setting.origin.root / "bounded")
    return rates([(at, count) for at, count in seen if 0 < count < FILES * size], BOUND_BYTES)


def rates(seen: Sequence[tuple[float, int]], bound: float) -> tuple[float, float]:
    """Return the mean rate and that of the fullest second after the first, over the bound.

    Args:
        seen: Moments in seconds, each with the bytes that were there then.
        bound: Bytes per second.
    """
    (began, first), (ended, last) = seen[0], seen[-1]
    fullest, behind = 0, 0
    for at, count in seen:
        while at - seen[behind][0] > 1:
            behind += 1
        if seen[behind][0] >= began + 1:
            fullest = max(fullest, count - seen[behind][1])
    return (last - first) / (ended - began) / bound, fullest / bound


def _on_disk(project: Project) -> int:
    """Return the bytes that are written, in partials and targets; holes do not count."""
    found = 0
    for path in project.target("").rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            status = path.stat()
            found += stat.S_ISREG(status.st_mode) and status.st_blocks * BLOCK_BYTES
    return found


@contextlib.contextmanager
def _running(project: Project, **extra: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start ours, and kill it at the end of the block, whatever it is doing."""
    project.forget()
    command = project.command(**extra)
    process = subprocess.Popen(
        command.words,
        cwd=command.folder,
        env=dict(command.variables),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
