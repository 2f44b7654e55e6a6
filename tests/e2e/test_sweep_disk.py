"""A disk that refuses each write, sync, rename, … of a run in turn (rows D1, D2; I1-I3, I8)."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.content import bytes_of, sha256, toy
from tests.e2e.project import Project, Run
from tests.projects import sync
from tests.servers.faulty import FaultyServer
from tests.strace import Blow, Call, Strace, calls, failed

BIG = bytes_of("big", (1 << 20) + 300_000)
"""One step of the journal and a bit."""
ONE_THREAD = ("-n", "0")
QUIET = {"MODELMAKE_CONNECTIONS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
AT_LEAST = {"write": 5, "pwrite64": 5, "fsync": 6, "fdatasync": 1, "rename": 4}
AT_LEAST |= {"unlink": 1, "open": 6, "mkdir": 4}
"""How many calls on files of the project a run makes, at the least."""
MUST_FAIL = {"write", "pwrite64", "fsync", "fdatasync", "rename"}
"""What no run can do without, as far as it is about more than a cache."""
CACHE = ".modelmake"
"""The project's own: what is in it is made anew whenever it is missing."""
BLOWS = [(family, "ENOSPC") for family in AT_LEAST]
BLOWS += [("fsync", "EIO"), ("fdatasync", "EIO"), ("pwrite64", "EDQUOT")]
Struck = tuple[Project, Run, Call]


@pytest.mark.sampled(keep=2)
@pytest.mark.parametrize(("family", "error"), BLOWS)
def test_a_disk_that_refuses_anywhere(
    strace: Strace, server: FaultyServer, tmp_path: Path, family: str, error: str
) -> None:
    """Whatever is refused, it is told in one line that names the place, and the next run is right.

    The failure text lists each call that was struck and did not end so.
    """
    wrong, struck = [], 0
    for project, run, call in strikes(strace, server, tmp_path, (family, error)):
        struck += 1
        complaints = [*told(project, run, call), *kept(project, run)]
        wrong += [f"{error} at {call.line}\n    {each}" for each in complaints]
    assert not wrong, "\n".join(wrong)
    assert struck >= AT_LEAST[family]


def strikes(
    strace: Strace, server: FaultyServer, folder: Path, blow: tuple[str, str]
) -> Iterator[Struck]:
    """Run doit as often as it makes calls of a family on the project's files; strike one each time.

    Yields:
        The project, how the run ended, and the call that was struck.
    """
    family, error = blow
    log = folder / "strace.log"
    compiled = new_project(server, folder / "compiled")  # else another test may do it meanwhile,
    assert compiled.doit(*ONE_THREAD, PYTHONDONTWRITEBYTECODE="").status == 0  # and opens differ
    first = new_project(server, folder / "000")
    first.before = strace.listening(log)
    assert first.doit(*ONE_THREAD, **QUIET).status == 0
    for name, number in wanted(family, log, first.folder):
        project = new_project(server, folder / f"{name}-{number}")
        effect = Blow(calls=(name,), number=number, effect=f"error={error}")
        project.before = strace.striking(log, effect)
        run = project.doit(*ONE_THREAD, **QUIET)
        call = failed(log)
        if call is None:  # the file came in fewer pieces than in the first run
            assert run.status == 0
            continue
        assert call.path(project.folder).is_relative_to(project.folder), call
        yield project, run, call


def new_project(server: FaultyServer, folder: Path) -> Project:
    """Return a project of one file that is not pinned."""
    entry = toy(server, ["big.bin"])
    server.put("/toy/big.bin", BIG)
    project = Project(folder)
    project.declare({"m": entry})
    return project


def wanted(family: str, log: Path, folder: Path) -> list[tuple[str, int]]:
    """Return which calls of a family are to make, change or sync a file of the project.

    They are counted as strace does: by name, in the thread that makes them.
    """
    count: Counter[tuple[str, str]] = Counter()
    found = []
    for call in calls(log):
        key = (call.thread, call.name)
        count[key] += 1
        is_ours = call.path(folder).is_relative_to(folder)
        if call.family == family and is_ours and (family != "open" or "O_CREAT" in call.line):
            found.append((call.name, count[key]))
    return list(dict.fromkeys(found))


def told(project: Project, run: Run, call: Call) -> Iterator[str]:
    """Yield what is wrong with the status and the text of a run."""
    if "Traceback" in run.text:
        yield f"a traceback: {run.text}"
    is_needed = not call.path(project.folder).is_relative_to(project.folder / CACHE)
    is_silent = call.family in MUST_FAIL and is_needed
    if run.status not in (0, 1) or (run.status == 0 and is_silent):
        yield f"exit status {run.status}, and it said: {run.text}"
    if run.status == 1:
        lines = [line for line in run.error_lines if not line.startswith("fetched ")]
        names_it = any("models/m" in line or "models.lock" in line for line in lines)
        if not (1 <= len(lines) <= 3 and names_it):
            yield f"no error of 1-3 lines that names a place: {lines}"


def kept(project: Project, run: Run) -> Iterator[str]:
    """Yield what is wrong with the files after a run, and after another that nobody disturbs."""
    target = project.target("m", "big.bin")
    if target.exists() and target.read_bytes() != BIG:
        yield "the target holds something else"
    if run.status == 0 and not target.exists():
        yield "the status is 0, and the target is not there"
    sync(project.folder)
    if target.read_bytes() != BIG:
        yield "the next run did not make it good"
    if project.locked("m")["big.bin"].get("sha256") != sha256(BIG):
        yield "the next run pinned no digest"
    left = [*project.folder.rglob("*.new"), *project.folder.rglob("*.part")]
    left += project.folder.rglob("*.journal")
    if left:
        yield f"left behind: {left}"
