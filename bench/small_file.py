"""Count what a small file costs us: calls, which are the same on every machine, and no seconds.

    python -m bench.small_file            counts, and prints old and new
    python -m bench.small_file --write    counts, and writes small_file.json

A run of MANY files less one of FEW leaves what a file costs: what a run costs once falls out. Each
file is fetched for the first time and goes into the store. `doit -n 0` has no threads, so its
counts repeat; with them, only the calls of futex change, and are told beside.

tests/bench/test_small_file.py fails when one of the counts grows by more than a tenth.
"""

import json
import os
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType

from bench.measure import Command, Failed, run
from bench.origin import Origin
from bench.projects import Project
from bench.scratch import Payload, payload, scratch_folder

FEW, MANY = 20, 120
FILE_BYTES = 20_000
RECORD = Path(__file__).with_suffix(".json")
FAMILIES = {
    "stats": ("stat", "lstat", "fstat", "newfstatat", "statx"),
    "opens": ("open", "openat"),
    "fsyncs": ("fsync", "fdatasync"),
    "renames": ("rename", "renameat", "renameat2"),
    "futexes": ("futex",),
}
"""System calls that are told as one; those of a kind differ between machines."""
PYTHON_CALLS = "python_calls"
NO_THREADS = ("-n", "0")

Counts = dict[str, float]


def payloads(served: Path) -> list[Payload]:
    """Make the files that are fetched."""
    return [payload(served, f"{number}.bin", FILE_BYTES) for number in range(MANY)]


def counted(scratch: Path, files: Sequence[Payload], url: Callable[[str], str]) -> Counts:
    """Return what one file costs, by what is counted.

    Args:
        scratch: What the project is made in.
        files: MANY of them.
        url: Gives a file's URL by its name.

    Raises:
        Failed: A run did, or strace is not there.
    """
    many, few = (_of_run(Project(scratch, files[:count], url)) for count in (MANY, FEW))
    return {name: round((many[name] - few[name]) / (MANY - FEW), 2) for name in many}


def futexes_with_threads(
    scratch: Path, files: Sequence[Payload], url: Callable[[str], str]
) -> float:
    """Return how often a file calls futex as users run doit; it varies."""
    return _system_calls(Project(scratch, files, url), ())["futexes"] / len(files)


def _of_run(project: Project) -> Counts:
    return {PYTHON_CALLS: _python_calls(project), **_system_calls(project, NO_THREADS)}


def _python_calls(project: Project) -> int:
    report = project.folder / "calls.txt"
    project.forget()
    command = project.command()
    run(replace(command, words=[sys.executable, "-m", "bench.small_file", str(report)]))
    return int(report.read_text())


def _system_calls(project: Project, arguments: Sequence[str]) -> dict[str, int]:
    log = project.folder / "strace.txt"
    project.forget()
    command = project.command(*arguments)
    run(_traced(command, log))
    found = _table(log.read_text())
    return {name: sum(found.get(each, 0) for each in calls) for name, calls in FAMILIES.items()}


def _traced(command: Command, log: Path) -> Command:
    """Return the command with its system calls counted; Python's bytecode is there already."""
    return replace(command, words=["strace", "-f", "-c", "-o", str(log), *command.words])


def _table(text: str) -> Mapping[str, int]:
    """Return the calls by their names from what `strace -c` writes."""
    rows = (line.split() for line in text.splitlines())
    return {row[-1]: int(row[3]) for row in rows if len(row) >= 5 and row[3].isdigit()}  # noqa: PLR2004


def _run_counted(report: Path) -> None:
    """Run `doit -n 0` in this process, and write how many Python functions it called."""
    from doit.doit_cmd import DoitMain  # noqa: PLC0415 - here alone

    count = 0

    def note(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(note)
    try:
        status = DoitMain().run([*NO_THREADS])
    finally:
        sys.setprofile(None)
    report.write_text(str(count))
    sys.exit(status)


def main() -> None:
    """Count, and print or write it."""
    before = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    with scratch_folder(MANY * FILE_BYTES * 4) as scratch, Origin(scratch / "origin") as origin:
        files = payloads(origin.root)
        found = counted(scratch, files, origin.url)
        threaded = round(futexes_with_threads(scratch, files, origin.url))
    now = {"python": ".".join(platform.python_version_tuple()[:2]), "a_file": found}
    for name, count in found.items():
        print(f"{name:14}{before.get('a_file', {}).get(name, '-'):>10}{count:>10}")
    print(f"futexes, with threads (varies): {threaded} on {os.cpu_count()} cores")
    if "--write" in sys.argv[1:]:
        RECORD.write_text(json.dumps(now, indent=2) + "\n")


if __name__ == "__main__":
    if sys.argv[1:] in ([], ["--write"]):
        try:
            main()
        except Failed as error:
            sys.exit(f"ERROR: {error}")
    else:
        _run_counted(Path(sys.argv[1]))
