"""The live display in tmux: it wraps lines anew when a window becomes narrower, and has a shell."""

import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event

import pytest

from tests.e2e.project import REPOSITORY, Project
from tests.e2e.terminal import RUN_DOIT
from tests.e2e.test_screen import declare
from tests.servers.faults import timing
from tests.servers.faulty import FaultyServer

pytestmark = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")

PATIENCE_SECONDS = 40.0
SIZE = 3_000_000
EARLIER = [str(number) for number in range(1, 31)]
"""Lines from before. Where a window's first rows are ours, tmux moves them out of reach."""
DOIT = shlex.join([sys.executable, "-c", RUN_DOIT])
SHOWN = f"seq {len(EARLIER)}; {DOIT}; echo the end; cat"


class Tmux:
    """A window of tmux in which a command runs, on a server of its own.

    Args:
        project: Where it runs.
        socket: Where the server is reached.
        columns: The window's width.
        rows: Its height.
        command: What runs, by default `doit`.
    """

    def __init__(
        self, project: Project, socket: Path, columns: int, rows: int, command: str = SHOWN
    ) -> None:
        self._socket = socket
        variables = {**project.variables, "PYTHONPATH": str(REPOSITORY), "LANG": "C.UTF-8"}
        self._call(
            *("-f", "/dev/null", "new-session", "-d", "-x", str(columns), "-y", str(rows)),
            *("-c", str(project.folder)),
            *(f"-e{name}={value}" for name, value in variables.items()),
            command,
        )

    def type(self, *keys: str) -> None:
        """Press keys, in tmux's words."""
        self._call("send-keys", *keys)

    def resize(self, columns: int, rows: int) -> None:
        """Make the window wider or narrower."""
        self._call("resize-window", "-x", str(columns), "-y", str(rows))

    @property
    def lines(self) -> list[str]:
        """What stands in the window and in what was scrolled out of it, without empty rows."""
        text = self._call("capture-pane", "-p", "-S", "-")
        return [line.rstrip() for line in text.splitlines() if line.strip()]

    def wait_for(self, is_so: Callable[[list[str]], bool]) -> list[str]:
        """Look until the window is as it should be, and return its lines."""
        give_up = time.monotonic() + PATIENCE_SECONDS
        while not is_so(lines := self.lines):
            assert time.monotonic() < give_up, f"it did not come to pass: {lines}"
        return lines

    def end(self) -> None:
        """End the server, and what runs in it."""
        self._call("kill-server")

    def _call(self, *words: str) -> str:
        done = subprocess.run(
            ["tmux", "-S", str(self._socket), *words], check=True, capture_output=True, text=True
        )
        return done.stdout


@pytest.fixture
def go_on() -> Event:
    """Give what lets the files that stand still go on."""
    return Event()


@pytest.fixture
def stalled(
    project: Project,
    server: FaultyServer,
    tmp_path: Path,
    go_on: Event,
    request: pytest.FixtureRequest,
) -> Iterator[Tmux]:
    """Give a window of some size, in which so many files stand still at a half."""
    columns, rows, count = request.param
    names = declare(project, server, count)
    for name in names:
        server.always(f"/toy/{name}", timing.stall_after(SIZE // 2, go_on))
    window = Tmux(project, tmp_path / "socket", columns, rows)
    try:
        window.wait_for(lambda lines: percents(lines) > min(count, 5))
        yield window
    finally:
        window.end()


def percents(lines: list[str]) -> int:
    """Return how many lines say how far something is: those of files, and the total."""
    return sum("%" in line for line in lines)


@pytest.mark.sampled(keep=2)
@pytest.mark.parametrize(
    ("stalled", "sizes"),
    [
        ((80, 24, 12), [(40, 24)]),
        ((80, 24, 6), [(40, 24), (80, 24), (50, 24)]),
        ((200, 24, 12), [(80, 24), (40, 24)]),
        ((120, 24, 3), [(60, 12), (100, 30)]),
        ((80, 24, 12), [(width, 24) for width in range(79, 39, -3)]),
    ],
    indirect=["stalled"],
    ids=["narrower", "to and fro", "from 200 to 40", "lower", "dragged"],
)
def test_a_resized_window_keeps_nothing_of_the_display(
    stalled: Tmux, go_on: Event, sizes: list[tuple[int, int]]
) -> None:
    """Neither on the screen nor in what was scrolled out of it, while it runs and at the end."""
    shown = percents(stalled.lines)
    for columns, rows in sizes:
        stalled.resize(columns, rows)
    stalled.wait_for(lambda lines: percents(lines) == shown and "moving" not in lines[-1])
    go_on.set()
    lines = stalled.wait_for(lambda lines: lines[-1] == "the end")
    assert not [line for line in lines if "━" in line or "─" in line or "%" in line]
    assert lines[: len(EARLIER)] == EARLIER


def test_a_stopped_run_goes_on_in_the_foreground(
    project: Project, server: FaultyServer, tmp_path: Path, go_on: Event
) -> None:
    """After Ctrl-Z the shell's lines are not drawn over; `fg` shows the bars again."""
    (name,) = declare(project, server, 1)
    server.always(f"/toy/{name}", timing.stall_after(SIZE // 2, go_on))
    window = Tmux(project, tmp_path / "socket", 80, 24, "bash --norc --noprofile -i")
    try:
        window.type(f"PS1='$ '; {DOIT}; echo status $?", "Enter")
        window.wait_for(lambda lines: percents(lines) == 2)
        window.type("C-z")
        window.wait_for(lambda lines: any("Stopped" in line for line in lines))
        window.type("echo between", "Enter")
        stopped = window.wait_for(lambda lines: "between" in lines)
        window.type("fg", "Enter")
        window.wait_for(lambda lines: "%" in lines[-1])
        go_on.set()
        lines = window.wait_for(lambda lines: "1 fetched (3.0 MB)" in lines[-2])
        assert lines[: stopped.index("between")] == stopped[: stopped.index("between")]
        assert percents(lines) == percents(stopped)
    finally:
        window.end()
