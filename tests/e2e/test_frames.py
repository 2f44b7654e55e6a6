"""How deep the code is: what one download passes from doit's action to the socket, measured."""

import json
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

import downloader
from tests.e2e.content import bytes_of
from tests.e2e.project import REPOSITORY, Project
from tests.e2e.watching import injected
from tests.servers.faulty import FaultyServer

PACKAGE = Path(downloader.__file__).parent
BODY = bytes_of("frames", 3_000_000)
MOST_FRAMES, MOST_BELOW_FETCH = 14, 8
MOST_STEPS_BACK = 3
ACTION = "tasks/_runtime.py:failing.<locals>.wrapped"
FETCH = "transfer/fetch.py:Fetcher.fetch"

RECORDING = """
    import atexit, json, socket, sys, threading
    package, into = {package!r}, {into!r}
    stacks, calls = set(), set()
    plain = socket.socket.recv_into

    def ours(frame):
        while frame is not None:
            code = frame.f_code
            if code.co_filename.startswith(package):
                yield code.co_filename[len(package) + 1:] + ":" + code.co_qualname
            elif "urllib3" in code.co_filename:
                yield "urllib3"
            frame = frame.f_back

    def recv_into(*arguments):
        stacks.add(tuple(ours(sys._getframe(1)))[::-1])
        return plain(*arguments)

    def called(frame, event, _argument):
        if event == "call" and frame.f_code.co_filename.startswith(package):
            stack = tuple(ours(frame))
            if {fetch!r} in stack[1:]:
                calls.add(tuple(name for name in stack if name != "urllib3")[:2])

    def write():
        sys.setprofile(None)
        with open(into, "w") as file:
            json.dump([list(stacks), list(calls)], file)

    socket.socket.recv_into = recv_into
    sys.setprofile(called)
    threading.setprofile(called)
    atexit.register(write)
"""


@dataclass(frozen=True)
class Way:
    """The way of one download through our code.

    Attributes:
        stacks: Our frames at each read of a body, the outermost first.
        calls: Callee and caller of each call below `Fetcher.fetch`.
    """

    stacks: list[list[str]]
    calls: list[tuple[str, str]]


@pytest.fixture
def way(project: Project, server: FaultyServer, tmp_path: Path) -> Way:
    """Give the way of a file that a doit action fetches in its own process."""
    server.put("/a.bin", BODY)
    entry = {"source": "http", "files": [{"url": server.url("/a.bin")}]}
    project.declare({"toy": entry})
    into = tmp_path / "way"
    code = RECORDING.format(package=str(PACKAGE), into=str(into), fetch=FETCH)
    run = project.doit("-n", "0", "fetch:toy", **injected(tmp_path / "watch", code))
    assert run.status == 0, run.text
    stacks, calls = json.loads(into.read_text())
    bodies = [stack for stack in stacks if "urllib3" not in stack and FETCH in stack]
    assert bodies
    return Way(bodies, [(callee, caller) for callee, caller in calls])


def test_from_the_action_to_the_socket_there_are_few_frames(way: Way) -> None:
    """A newcomer can hold all of them in their head (docs/decisions/0022)."""
    for stack in way.stacks:
        below = stack[stack.index(FETCH) + 1 :]
        assert below[-1].startswith("network/")
        assert len(below) <= MOST_BELOW_FETCH, below
        way_down = stack[stack.index(ACTION) :]  # what started doit stands before it
        assert len(way_down) <= MOST_FRAMES, way_down


def test_a_download_seldom_steps_back_up(way: Way) -> None:
    """Rooms call those below them; what they call above is a few callbacks, each with a reason."""
    above = sorted({callee for callee, caller in way.calls if floor(callee) > floor(caller)})
    assert len(above) <= MOST_STEPS_BACK, above


def test_the_frames_at_the_socket_only_go_down(way: Way) -> None:
    """On the stack itself there is no step back at all."""
    for stack in way.stacks:
        floors = [floor(frame) for frame in stack]
        assert floors == sorted(floors, reverse=True), stack


def floor(frame: str) -> int:
    """Return the floor of a frame's room, as the contract in pyproject.toml has it."""
    room = frame.partition(":")[0].partition("/")[0].removesuffix(".py")
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    layers = project["tool"]["importlinter"]["contracts"][0]["layers"]
    floors = [layer.split(" | ") for layer in reversed(layers)]
    return next(n for n, rooms in enumerate(floors) if f"downloader.{room}" in rooms)
