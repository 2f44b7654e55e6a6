"""What the tests of the transfer get."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.faulty import FaultyServer
from tests.transfer.desk import BODY, PATH, Desk


@pytest.fixture
def desk(server: FaultyServer, tmp_path: Path) -> Desk:
    """Give a desk whose server holds BODY at PATH."""
    server.put(PATH, BODY)
    return Desk(server, tmp_path)


@pytest.fixture
def elsewhere() -> Iterator[FaultyServer]:
    """Give a second server, which holds BODY at PATH."""
    with FaultyServer() as running:
        running.put(PATH, BODY)
        yield running
