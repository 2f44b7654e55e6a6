"""The order of a real run's system calls, which is what a power cut sees (row D4)."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.e2e.content import bytes_of, toy
from tests.e2e.project import Project
from tests.servers.faulty import FaultyServer
from tests.servers.process import NotInstalled

CALLS = "pwrite64,write,fsync,fdatasync,rename,renameat,renameat2"
CALL = re.compile(r"^\d+ +(?P<name>\w+)\((?P<rest>.*)$")


@pytest.fixture
def strace(tmp_path: Path) -> list[str]:
    """Give the command that traces; its output goes to `trace` in the test's folder."""
    found = shutil.which("strace")
    if found is None:
        raise NotInstalled("strace is not installed")
    if subprocess.run([found, "-o", "/dev/null", "true"], check=False).returncode:
        raise NotInstalled("strace may not trace here (ptrace)")
    output = str(tmp_path / "trace")
    return [found, "-f", "-y", "-s", "256", "-o", output, "-e", f"trace={CALLS}"]


def acts(trace: Path) -> list[tuple[str, str]]:
    """Return each call's name and arguments, in the order in which they began."""
    found = map(CALL.match, trace.read_text(errors="replace").splitlines())
    return [(each["name"], each["rest"]) for each in found if each]


def at(trace: list[tuple[str, str]], names: str, *parts: str) -> list[int]:
    """Return when a call of one of the names had all the parts among its arguments."""
    return [
        when
        for when, (name, rest) in enumerate(trace)
        if name in names.split() and all(part in rest for part in parts)
    ]


RENAMES = "rename renameat renameat2"


@pytest.mark.parametrize("path", ["large.bin", "small.bin"])
def test_each_step_is_on_disk_before_the_next(
    project: Project, server: FaultyServer, strace: list[str], tmp_path: Path, path: str
) -> None:
    """Bytes < fsync(file) < rename < fsync(folder) < receipt < models.lock."""
    project.declare({"one": toy(server, ["large.bin", "small.bin"])})
    server.put("/toy/large.bin", bytes_of("large", 3 << 20))
    assert project.doit("lock").status == 0
    project.before = strace
    run = project.doit()
    assert run.status == 0, run.text
    trace = acts(tmp_path / "trace")
    (renamed,) = at(trace, RENAMES, f"{path}-", ".part", f'"{path}"')
    written = at(trace, "pwrite64 write", f"partials/{path}-", ".part")
    synced = at(trace, "fsync", f"partials/{path}-", ".part")
    folder = [when for when in at(trace, "fsync", "models/one>") if when > renamed]
    noted = at(trace, "write", ".modelmake/receipts>", f'\\"path\\":\\"{path}\\"')
    locked = at(trace, RENAMES, "models.lock")
    assert written
    assert written[-1] < synced[-1] < renamed < folder[0] < noted[0] < locked[-1]
    assert len(noted) == 1


def test_a_journal_names_only_what_was_synced(
    project: Project, server: FaultyServer, strace: list[str], tmp_path: Path
) -> None:
    """Before each line of the journal the partial is synced, after the last bytes it names."""
    project.declare({"one": toy(server, ["large.bin"])})
    server.put("/toy/large.bin", bytes_of("large", 3 << 20))
    project.before = strace
    assert project.doit(MODELMAKE_CONNECTIONS="1").status == 0
    trace = acts(tmp_path / "trace")
    lines = at(trace, "write", ".journal>")
    assert len(lines) >= 2
    for line in lines:
        before = trace[:line]
        synced = at(before, "fdatasync", "large.bin-", ".part")
        written = at(before, "pwrite64", "large.bin-", ".part")
        assert written[-1] < synced[-1]
