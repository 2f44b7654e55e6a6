"""What a small file costs does not creep up: each count is held against bench/small_file.json."""

import json
import platform
from pathlib import Path

import pytest

from bench.small_file import PYTHON_CALLS, RECORD, counted, payloads
from tests.servers.faulty import FaultyServer

MOST_GROWTH = 1.1
ROUNDING = 0.2
"""Of a count that is next to none."""


@pytest.mark.usefixtures("strace")
def test_a_small_file_costs_no_more_than_is_written_down(tmp_path: Path) -> None:
    """A tenth more is a fault; who needs it says why, and runs `bench.small_file --write`."""
    served = tmp_path / "served"
    served.mkdir()
    files = payloads(served)
    with FaultyServer() as server:
        for each in files:
            server.put(f"/{each.name}", each.path.read_bytes())
        found = counted(tmp_path, files, lambda name: server.url(f"/{name}"))
    record = json.loads(RECORD.read_text())
    allowed = {name: count * MOST_GROWTH + ROUNDING for name, count in record["a_file"].items()}
    if platform.python_version_tuple()[:2] != tuple(record["python"].split(".")):
        del allowed[PYTHON_CALLS]  # the standard library is part of it
    assert {name: found[name] for name, most in allowed.items() if found[name] > most} == {}
    assert found[PYTHON_CALLS] > 0
    assert found["fsyncs"] >= 2
