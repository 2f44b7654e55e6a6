"""The proxy of the throttled races: its bound holds from the first byte, and no byte changes."""

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.scratch import payload
from bench.shared import SharedRate
from bench.throttled import Throttled, TokenBucket

PIECE = 64 << 10


@given(
    rate=st.floats(1e3, 1e9),
    burst=st.integers(PIECE, 1 << 22),
    naps=st.lists(st.floats(0, 0.2), max_size=60),
)
def test_no_span_has_more_than_its_time_and_one_burst(
    rate: float, burst: int, naps: list[float]
) -> None:
    """However late and however often it is asked, also from the very first byte on."""
    now = 0.0
    bucket = TokenBucket(rate, burst, lambda: now)
    passed = [(now, 0)]
    for nap in naps:
        now += nap
        while bucket.tokens >= PIECE:
            bucket.spend(PIECE)
            passed.append((now, passed[-1][1] + PIECE))
    for index, (since, before) in enumerate(passed):
        for until, after in passed[index:]:
            assert after - before <= rate * (until - since) + burst + 1
        assert before <= rate * since + 1


def test_wait_ends_when_the_piece_may_pass() -> None:
    """A caller that sleeps as long as it is told may send then, and not before."""
    now = 0.0
    bucket = TokenBucket(1000, 500, lambda: now)
    assert bucket.seconds_until(200) == pytest.approx(0.2)
    now = 0.2
    assert bucket.seconds_until(200) == 0
    now = 100.0
    assert bucket.seconds_until(10_000) == 0, "more than a burst is never there"


def test_bytes_pass_unchanged(tmp_path: Path) -> None:
    """A client gets the whole file and a range of it, one connection after the other."""
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("curl is not installed")
    file = payload(tmp_path, "file.bin", 1_000_000)
    body = file.path.read_bytes()
    with SharedRate(tmp_path, 1e9) as server:
        port = int(server.url("").split(":")[2].strip("/"))
        with Throttled(port, 50e6, latency_seconds=0.001) as proxy:
            url = proxy.url(server.url("file.bin"))
            words = [curl, "-sS", "--noproxy", "*", url, url, "-r", "5-99"]
            done = subprocess.run(words, capture_output=True, timeout=30, check=True)
            whole = subprocess.run(words[:5], capture_output=True, timeout=30, check=True)
    assert done.stdout == body[5:100] * 2
    assert whole.stdout == body
