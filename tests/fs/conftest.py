"""What the tests of fs get: those of the transfer have it."""

from tests.transfer.conftest import desk

__all__ = ["desk"]
