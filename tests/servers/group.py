"""Several servers of one provider, started and ended together."""

from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from tests.servers.faulty import FaultyServer


class ServerGroup:
    """Starts its servers in their order; if one does not start, those before it are ended."""

    def servers(self) -> Sequence[FaultyServer]:
        """Return them."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        with ExitStack() as running:
            for server in self.servers():
                running.enter_context(server)
            self._running = running.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._running.__exit__(kind, error, at)
