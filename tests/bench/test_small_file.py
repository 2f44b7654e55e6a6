"""What a small file costs does not creep up: each count is held against bench/small_file.json."""

import json
import platform
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from bench.scratch import Payload
from bench.small_file import PYTHON_CALLS, RECORD, counted, futexes_with_threads, payloads
from tests.servers.faulty import FaultyServer

MOST_GROWTH = 1.1
ROUNDING = 0.2
"""Of a count that is next to none."""
MOST_FUTEXES = 300
"""With threads: 30 to 150 where one of them runs at a time, and more than 500 where all do."""


Served = tuple[Sequence[Payload], Callable[[str], str]]
"""Small files, and what gives their URLs."""


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Served]:
    """Serve the files that are counted."""
    served = tmp_path / "served"
    served.mkdir()
    files = payloads(served)
    with FaultyServer() as server:
        for each in files:
            server.put(f"/{each.name}", each.path.read_bytes())
        yield files, lambda name: server.url(f"/{name}")


@pytest.mark.usefixtures("strace")
def test_a_small_file_costs_no_more_than_is_written_down(tmp_path: Path, small: Served) -> None:
    """A tenth more is a fault; who needs it says why, and runs `bench.small_file --write`."""
    found = counted(tmp_path, *small)
    record = json.loads(RECORD.read_text())
    allowed = {name: count * MOST_GROWTH + ROUNDING for name, count in record["a_file"].items()}
    if platform.python_version_tuple()[:2] != tuple(record["python"].split(".")):
        del allowed[PYTHON_CALLS]  # the standard library is part of it
    assert {name: found[name] for name, most in allowed.items() if found[name] > most} == {}
    assert found[PYTHON_CALLS] > 0
    assert found["fsyncs"] >= 2


@pytest.mark.usefixtures("strace")
def test_threads_do_not_take_the_interpreter_from_each_other(tmp_path: Path, small: Served) -> None:
    """The count varies, and tells one thread at a time from all of them (fs/run_token.py)."""
    assert 0 < futexes_with_threads(tmp_path, *small) < MOST_FUTEXES
