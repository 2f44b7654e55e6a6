"""The faulty server as curl sees it: its exit statuses, its ranges, its way to resume."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.servers.exchange import Fault
from tests.servers.faults import (
    chunks,
    framing,
    heads,
    ranges,
    statuses,
    timing,
)
from tests.servers.faulty import FaultyServer

BODY = bytes(range(256)) * 1000
PATH = "/model.bin"
Curl = Callable[..., tuple[int, bytes]]
CURL_EXITS: dict[str, tuple[Fault, set[int]]] = {
    "short": (framing.short(1), {18}),
    "no last chunk": (chunks.ends_before_last(), {18, 56}),
    "ends at boundary": (chunks.ends_at_boundary(), {18, 56}),
    "ends in chunk": (chunks.ends_in_chunk(), {18, 56}),
    "bad chunk size": (chunks.bad_size(), {56}),
    "overflowing chunk size": (chunks.overflowing_size(), {56}),
    "not a length": (framing.content_length("abc"), {8}),
    "negative length": (framing.content_length("-1"), {8}),
    "dropped": (timing.drop_before_status(), {52}),
    "reset": (timing.drop_before_status(reset=True), {56}),
    "reset in body": (timing.drop_after(1000, reset=True), {18, 56}),
    "stalled": (timing.stall_after(1000), {28}),
    "HTTP/0.9": (heads.headless, {1}),
    "redirect loop": (statuses.redirect_to_itself(), {47}),
    "br nobody asked for": (framing.content_encoding("br"), {0}),
    "chunked": (chunks.chunked(), {0}),
    "closed at the end": (framing.unsized, {0}),
    "interim replies": (heads.interim(100, 103), {0}),
    "equal lengths": (framing.content_length("{n}", "{n}"), {0}),
}


@pytest.fixture
def run_curl(curl: str, server: FaultyServer) -> Curl:
    """Give a function that runs curl on the path and returns exit status and standard output."""
    server.put(PATH, BODY)

    def run(*options: str) -> tuple[int, bytes]:
        command = [curl, "-q", "-s", "-L", "--max-redirs", "3", "--max-time", "2", *options]
        done = subprocess.run([*command, server.url(PATH)], capture_output=True, check=False)
        return done.returncode, done.stdout

    return run


@pytest.mark.parametrize("name", CURL_EXITS)
def test_curl_exits_as_its_manual_says(run_curl: Curl, server: FaultyServer, name: str) -> None:
    """Curl gives the exit status it has for each fault, and the whole body where there is none."""
    fault, exits = CURL_EXITS[name]
    server.always(PATH, fault)
    status, output = run_curl()
    assert status in exits
    assert (output == BODY) or status != 0


def test_curl_refuses_to_resume_where_ranges_are_ignored(
    run_curl: Curl, server: FaultyServer
) -> None:
    """Curl ends with 33 when 200 answers its range."""
    server.script(PATH, ranges.ignored)
    assert run_curl("-C", "1000")[0] == 33


def test_curl_resumes_a_cut_file(run_curl: Curl, server: FaultyServer, tmp_path: Path) -> None:
    """A body cut short (18) is completed by `curl -C -` with the missing bytes only."""
    server.script(PATH, timing.drop_after(100_000))
    part = tmp_path / "part"
    assert run_curl("-o", str(part))[0] == 18
    assert run_curl("-C", "-", "-o", str(part))[0] == 0
    assert part.read_bytes() == BODY
    assert server.requests[-1].headers["Range"] == "bytes=100000-"


def test_curl_reads_ranges_and_heads(run_curl: Curl) -> None:
    """`curl -r` gives the bytes of a range, `curl -I` the headers alone."""
    assert run_curl("-r", "10-19") == (0, BODY[10:20])
    status, output = run_curl("-I")
    assert status == 0
    assert b"Content-Length: 256000" in output
