"""The live display, looked at on a pseudo-terminal (rows D10, G7)."""

import os
import re
import signal
from collections.abc import Iterator
from threading import Event

import pytest

pytest.importorskip("pty")  # not on Windows

from tests.e2e.content import bytes_of, pinned_toy, toy
from tests.e2e.project import Project
from tests.e2e.terminal import Terminal
from tests.servers.faults import statuses, timing
from tests.servers.faulty import FaultyServer

SIZE = 3_000_000
HUGE = 1_500_000_000
"""Holes on the disk; long enough to read that a frame is drawn meanwhile."""
KEPT = (
    "Interrupted: 0 of 1 file done, 1 left, 1.5 MB of partial downloads kept. "
    "Run it again to resume."
)
TOTAL = re.compile(r"(\d+)%.* of \d+ files?")
PERCENT = re.compile(r"(\d+)%")
COLOUR = re.compile(rb"\x1b\[[0-9;]*m")
CONTROL = re.compile(rb"\x1b|\r(?!\n)")


def declare(project: Project, server: FaultyServer, count: int, *, size: int = SIZE) -> list[str]:
    """Declare a model of so many files that come slowly, lock it, and return their names."""
    names = [f"part-{number:05}-of-{count:05}.bin" for number in range(count)]
    entry = toy(server, names)
    for name in names:
        server.put(f"/toy/{name}", bytes_of(name, size))
    project.declare({"one": entry})
    assert project.doit("lock").status == 0
    for name in names:
        server.always(f"/toy/{name}", timing.drip(size // 10 + 1, 0.05))
    return names


def totals(terminal: Terminal) -> list[int]:
    """Return the percentages of the run that were shown, in order."""
    last = [lines[-1] for lines in terminal.frames if lines]
    return [int(found[1]) for found in map(TOTAL.search, last) if found]


@pytest.mark.sampled(keep=3)
@pytest.mark.parametrize("columns", [20, 40, 80, 200])
@pytest.mark.parametrize("count", [1, 7])
def test_it_shows_files_and_one_total_and_is_gone_at_the_end(
    project: Project, server: FaultyServer, columns: int, count: int
) -> None:
    """No line is wider than the terminal; in the end lines about files and the sum are left."""
    declare(project, server, count)
    with Terminal(project, columns=columns, rows=90) as terminal:
        terminal.wait_for(
            lambda lines: bool(lines) and bool(PERCENT.match(lines[-1].lstrip("━─ ")))
        )
        assert terminal.finish() == 0
        text = "".join(terminal.lines)
        assert "━" not in text
        assert "%" not in text
        assert f"{count} fetched" in text
        assert text.count("fetched models/one/") == count
        assert terminal.is_cursor_shown
        assert all(len(line) <= columns for lines in terminal.frames for line in lines)
        assert b"\x1b[?25l" not in terminal.raw, "a kill would leave it hidden"


def test_the_total_never_falls_and_never_passes_the_end(
    project: Project, server: FaultyServer
) -> None:
    """Also where a file breaks off and is begun anew; its bytes are known before the first came."""
    names = declare(project, server, 3)
    server.put(f"/toy/{names[0]}", bytes_of(names[0], SIZE), etag=None)
    server.script(f"/toy/{names[0]}", timing.drop_after(SIZE // 2), timing.drop_after(SIZE // 2))
    with Terminal(project, columns=120) as terminal:
        assert terminal.finish() == 0
        shown = totals(terminal)
        assert len(shown) > 3
        assert shown == sorted(shown)
        assert shown[-1] <= 100
        assert "of 9.0 MB" in terminal.raw.decode()


def test_resumed_bytes_are_a_start(project: Project, server: FaultyServer) -> None:
    """A run that goes on begins with what is there, and does not count it as speed."""
    (name,) = declare(project, server, 1, size=24_000_000)
    server.always(f"/toy/{name}", timing.stall_after(20_000_000))
    with Terminal(project, columns=120, MODELMAKE_CONNECTIONS="1") as terminal:
        terminal.wait_for(lambda lines: any("83%" in line for line in lines))
        terminal.send_signal(signal.SIGTERM)
        assert terminal.finish() == 143
    server.always(f"/toy/{name}", timing.drip(400_000, 0.1))
    with Terminal(project, columns=120, MODELMAKE_CONNECTIONS="1") as terminal:
        assert terminal.finish() == 0
        shown = totals(terminal)
        assert next(each for each in shown if each) >= 60
        rates = re.findall(r"([\d.]+) MB/s, \d+:\d+ left", terminal.raw.decode())
        assert rates
        assert max(map(float, rates)) < 15, "16 MB that were there would be more"


def test_of_many_files_the_rest_is_counted(project: Project, server: FaultyServer) -> None:
    """With 300 files the display fits in 24 rows, and leaves one line in the end."""
    declare(project, server, 300, size=20_000)
    with Terminal(project, columns=100) as terminal:
        assert terminal.finish() == 0
        assert any(re.search(r"… \d+ ", line) for lines in terminal.frames for line in lines)
        assert max(map(len, terminal.frames)) <= 24
        (line,) = terminal.lines
        assert line.startswith("300 fetched (6.0 MB) in ")


def test_a_retry_and_failures_are_named(project: Project, server: FaultyServer) -> None:
    """A file that waits says for what; failures are told together, after the display is gone."""
    names = declare(project, server, 7)
    server.always(f"/toy/{names[0]}", statuses.busy())
    server.always(f"/toy/{names[2]}", statuses.status(404))
    with Terminal(project, columns=120, rows=40, MODELMAKE_RETRIES="3") as terminal:
        terminal.wait_for(lambda lines: any(": 127.0.0.1:" in line for line in lines))
        terminal.wait_for(lambda lines: bool(lines) and "1 failed" in lines[-1])
        assert terminal.finish() == 1
        *_, what, hint, total = terminal.lines
        assert what.startswith("failed ") or hint.startswith("failed ")
        assert "5 fetched (15.0 MB), 2 failed in " in total
        assert sum(line.startswith("failed models/one/") for line in terminal.lines) >= 2


@pytest.mark.parametrize("widths", [(60, 30), (40, 120)], ids=["narrower", "wider"])
def test_the_terminal_is_resized(
    project: Project, server: FaultyServer, widths: tuple[int, int]
) -> None:
    """The next frames fit the new width, and nothing breaks."""
    go_on = Event()
    (name,) = declare(project, server, 1)
    server.always(f"/toy/{name}", timing.stall_after(SIZE // 2, go_on))
    with Terminal(project, columns=widths[0]) as terminal:
        terminal.wait_for(lambda lines: any("%" in line for line in lines))
        terminal.resize(widths[1], 24)
        seen = len(terminal.frames)
        terminal.wait_for(lambda _: len(terminal.frames) > seen + 2)
        go_on.set()
        assert terminal.finish() == 0
        assert "1 fetched (3.0 MB)" in "".join(terminal.lines)


@pytest.fixture
def stalled(project: Project, server: FaultyServer) -> Iterator[Terminal]:
    """Give a terminal on which a file stands still."""
    (name,) = declare(project, server, 1)
    server.always(f"/toy/{name}", timing.stall_after(SIZE // 2))
    with Terminal(project, columns=100, MODELMAKE_CONNECTIONS="1") as terminal:
        terminal.wait_for(lambda lines: any("49%" in line or "50%" in line for line in lines))
        yield terminal


def test_ctrl_c_leaves_one_line(stalled: Terminal) -> None:
    """The display is gone, the cursor is there, and nothing else was changed on the terminal."""
    stalled.send_signal(signal.SIGINT)
    assert stalled.finish() == 130
    assert stalled.lines == [KEPT]
    assert stalled.is_cursor_shown
    assert stalled.raw.endswith(b"\n")


def test_the_key_itself_leaves_no_trace(stalled: Terminal) -> None:
    """The terminal shows a ^C where the cursor is, below the display; it goes with that."""
    stalled.type(b"\x03")
    assert stalled.finish() == 130
    assert b"^C" in stalled.raw
    assert stalled.lines == [KEPT]


def test_no_colour(project: Project, server: FaultyServer) -> None:
    """NO_COLOR wins over FORCE_COLOR: no colour is asked for, the display is drawn."""
    declare(project, server, 1)
    with Terminal(project, NO_COLOR="1", FORCE_COLOR="1") as terminal:
        assert terminal.finish() == 0
        codes = b"".join(COLOUR.findall(terminal.raw))
        assert not re.search(rb"\x1b\[[0-9;]*3[0-7]", codes)
        assert b"\x1b[A" in terminal.raw


@pytest.mark.parametrize("word", ["dumb", "unknown", ""])
def test_a_terminal_that_cannot_draw(project: Project, server: FaultyServer, word: str) -> None:
    """It gets lines, without a control code."""
    declare(project, server, 1)
    with Terminal(project, TERM=word, FORCE_COLOR="1") as terminal:
        assert terminal.finish() == 0
        assert not CONTROL.search(terminal.raw)
        assert b"fetched models/one/" in terminal.raw


def test_nothing_to_do_is_one_line(project: Project, server: FaultyServer) -> None:
    """Also on a terminal; no display is begun."""
    project.declare({"one": toy(server, ["a.bin"])})
    assert project.doit().status == 0
    with Terminal(project) as terminal:
        assert terminal.finish() == 0
        assert terminal.raw == b"Nothing to do.\r\n"


def test_a_reading_is_one_line_that_is_gone_at_the_end(
    project: Project, server: FaultyServer
) -> None:
    """`verify` says how far it is; its results stand above that, and stay."""
    project.declare({"one": pinned_toy(server, ["a.bin"])})
    assert project.doit().status == 0
    text = project.lock.read_text()
    project.lock.write_text(text.replace('"size":1000', f'"size":{HUGE}'))
    os.truncate(project.target("one", "a.bin"), HUGE)
    with Terminal(project, "verify", columns=60) as terminal:
        terminal.wait_for(lambda lines: any("verifying: " in line for line in lines))
        terminal.finish()
        assert [line for line in terminal.lines if "verifying: " in line] == []
        assert "changed: one/a.bin" in "".join(terminal.lines)


ENSURE = """
from downloader import ensure

print("before")
folder = ensure("one", progress=True)
print("after", folder.is_absolute())
"""


def test_python_shows_the_same(project: Project, server: FaultyServer) -> None:
    """`ensure(progress=True)` draws what doit draws, and leaves the terminal as it was."""
    declare(project, server, 2)
    with Terminal(project, program=ENSURE, columns=100) as terminal:
        terminal.wait_for(lambda lines: bool(lines) and bool(TOTAL.search(lines[-1])))
        assert any("part-00000-of-00002.bin  ━" in line for line in terminal.lines)
        assert terminal.finish() == 0
        first, *fetched, total, last = terminal.lines
        assert (first, last) == ("before", "after True")
        assert all(line.startswith("fetched models/one/part-") for line in fetched)
        assert total.startswith("2 fetched (6.0 MB) in ")
        assert terminal.is_cursor_shown


def test_ctrl_c_in_python_takes_the_display_away(project: Project, server: FaultyServer) -> None:
    """The exception's own lines stand where the bars were."""
    (name,) = declare(project, server, 1)
    server.always(f"/toy/{name}", timing.stall_after(SIZE // 2))
    with Terminal(project, program=ENSURE, columns=100, rows=60) as terminal:
        terminal.wait_for(lambda lines: any("49%" in line or "50%" in line for line in lines))
        terminal.send_signal(signal.SIGINT)
        terminal.finish()
        assert terminal.lines[-1] == "KeyboardInterrupt"
        assert not any("━" in line for line in terminal.lines)


@pytest.mark.parametrize("variables", [{"LC_ALL": "C"}, {"PYTHONIOENCODING": "ascii"}])
def test_a_plain_locale_gets_plain_bars(
    project: Project, server: FaultyServer, variables: dict[str, str]
) -> None:
    """A terminal that may know no UTF-8 shows no letters that stand for others."""
    declare(project, server, 2)
    project.variables.update(variables)
    with Terminal(project, columns=100) as terminal:
        terminal.wait_for(lambda lines: any("#---" in line for line in lines))
        assert terminal.finish() == 0
        assert terminal.raw.isascii()
