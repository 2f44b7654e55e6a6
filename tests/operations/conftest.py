"""What the tests of the operations get: those of the targets have it."""

from tests.targets.conftest import url

__all__ = ["url"]
