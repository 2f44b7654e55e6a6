"""What the tests of the network get: those of the transfer have it."""

from tests.transfer.conftest import desk, elsewhere

__all__ = ["desk", "elsewhere"]
