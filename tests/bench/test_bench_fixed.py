"""The benchmark with a fixed number of connections keeps up with what the engine takes."""

import os
import subprocess
import sys
from pathlib import Path

from tests.e2e.project import REPOSITORY, Project
from tests.servers.faulty import FaultyServer


def test_a_fixed_number_runs_as_doit_does(tmp_path: Path, server: FaultyServer) -> None:
    """`python -m bench.fixed COUNT` is `doit`, but for the number."""
    project = Project(tmp_path)
    server.put("/a.bin", b"bytes")
    project.declare({"m": {"source": "http", "files": [{"url": server.url("/a.bin")}]}})
    done = subprocess.run(
        [sys.executable, "-m", "bench.fixed", "4"],
        cwd=project.folder,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert project.target("m", "a.bin").read_bytes() == b"bytes"
