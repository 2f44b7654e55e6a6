"""What the tests of syncing share."""

import pytest

from tests.servers.faulty import FaultyServer
from tests.targets.one_model import BYTES


@pytest.fixture
def url(server: FaultyServer) -> str:
    """Give the URL of a.bin, which is there."""
    server.put("/a.bin", BYTES)
    return server.url("/a.bin")
