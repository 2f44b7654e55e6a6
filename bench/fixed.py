"""Ours with a fixed number of connections from the first byte on: what the free choice races with.

    python -m bench.fixed COUNT ARGUMENT...

is `doit ARGUMENT...`, and no setting of the program: a user has none to choose.
"""

import runpy
import sys

from downloader.transfer import _concurrency
from downloader.transfer._concurrency import ConcurrencyController, Sample


class Fixed(ConcurrencyController):
    """A climb that stays where it begins; only a server that refuses lowers it."""

    def __post_init__(self) -> None:
        """Begin at the number that is wanted, whatever MODELMAKE_CONNECTIONS bounds."""
        self.level = self.highest

    def measured(self, seen: Sample, now: float) -> None:
        """Stay."""


if __name__ == "__main__":
    COUNT = int(sys.argv[1])
    setattr(  # noqa: B010
        _concurrency,
        "ConcurrencyController",
        lambda highest, enough: Fixed(highest=min(COUNT, highest), enough=enough),
    )
    sys.argv[:2] = ["doit"]
    runpy.run_module("doit", run_name="__main__", alter_sys=True)
