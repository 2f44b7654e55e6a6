"""docs/pieces.md is held against the code: its commands, and the format of models.pieces."""

import json
import re
import shlex
from pathlib import Path

from downloader.fs import digests
from downloader.fs.merkle import BLOCK_BYTES
from downloader.transfer._attempt import TRIES
from downloader.transfer._verifier import OTHER_FILE_PIECES
from tests.docs.documents import blocks, first_cells, page
from tests.e2e.content import bytes_of, sha256
from tests.e2e.project import Project
from tests.fs.test_merkle import content, of
from tests.servers.faulty import FaultyServer

PAGE = page("pieces.md")
CONTENT = bytes_of("page", digests.MOST_PIECE_BYTES + 1)


def test_its_commands_work(tmp_path: Path, server: FaultyServer) -> None:
    """One after the other, in a project with a large file that is fetched, they end well."""
    project = Project(tmp_path / "project")
    server.put("/big.bin", CONTENT)
    files = [{"url": server.url("/big.bin"), "sha256": sha256(CONTENT)}]
    project.declare({"m": {"source": "http", "files": files}})
    assert project.doit().status == 0
    (commands,) = blocks(PAGE, "sh")
    for line in commands.splitlines():
        run = project.doit(*shlex.split(line, comments=True)[1:])
        assert run.status == 0, run.text
    assert (project.folder / "models.pieces").exists()


def test_the_example_begins_a_line() -> None:
    """Fields, root and the first nodes are those of a real layer, in the order of the page."""
    layer = of(content(100_000), BLOCK_BYTES)
    written = digests.dump_layer(layer).decode()
    (example,) = blocks(PAGE, "json")
    assert written.startswith(example.partition("…")[0])
    told = {cell.strip("`") for cell in first_cells(PAGE)}
    assert set(json.loads(written)) <= told


def test_its_numbers_are_those_of_the_code() -> None:
    """Length of a piece, how often it is asked for, and when another file is suspected."""
    mebi = 1 << 20
    assert f"written are pieces of {digests.PIECE_BYTES // mebi} MiB" in PAGE
    assert f"from {BLOCK_BYTES >> 10} KiB to {digests.MOST_PIECE_BYTES // mebi} MiB" in PAGE
    assert f"found after {OTHER_FILE_PIECES} pieces" in PAGE
    assert re.search(r"fetched again, at most twice", PAGE)
    assert TRIES == 3
