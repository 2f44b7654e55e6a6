"""What all transfers of a run share: connections, their budget, a rate, and the end of it all."""

import threading

from downloader.transfer.pool import Pool
from downloader.transfer.throttle import Throttle
from downloader.transfer.transport import Transport


class Line:
    """One run's way to the network.

    Attributes:
        stop: Set when every transfer is to end.
    """

    def __init__(
        self, transport: Transport, pool: Pool, throttle: Throttle, stop: threading.Event
    ) -> None:
        self.transport, self.pool, self.throttle, self.stop = transport, pool, throttle, stop

    def interrupt(self) -> None:
        """Stop every transfer now; each keeps what it has."""
        self.stop.set()
        self.transport.interrupt()
