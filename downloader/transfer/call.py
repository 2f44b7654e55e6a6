"""One request in flight, from the look-up of the name to its last byte: another thread can end it.

Closing a socket wakes nobody who waits for it; shutting it down does. The number of a socket may
be another's by then, so each call holds a duplicate of its own.
"""

import contextlib
import socket
import threading
from contextvars import ContextVar
from typing import TYPE_CHECKING

from downloader.transfer.patience import Patience
from downloader.urls import is_loopback, is_public_address

if TYPE_CHECKING:
    from downloader.errors import BadResponse


class Calls:
    """The calls of a file, or of a run, to be ended together; safe to share between threads.

    Attributes:
        is_over: Whether they were ended.
    """

    def __init__(self) -> None:
        self._changing = threading.RLock()  # a signal may come while it is held
        self._live: set[Call] = set()
        self.is_over = False

    def __len__(self) -> int:
        return len(self._live)

    def add(self, call: "Call") -> None:
        """Take one in; it ends at once where all others were ended before."""
        with self._changing:
            self._live.add(call)
            is_over = self.is_over
        if is_over:
            call.hang_up()

    def discard(self, call: "Call") -> None:
        """Forget one that has ended."""
        with self._changing:
            self._live.discard(call)

    def hang_up(self) -> None:
        """End every call, now and to come; each fails in its own thread."""
        with self._changing:
            self.is_over = True
            live = tuple(self._live)
        for call in live:
            call.hang_up()


class Call:
    """One request in flight.

    Args:
        patience: The time it may take.
        groups: What it is ended with.

    Attributes:
        patience: As above.
        inside: What is raised where the way leads to a private address; None where it may.
        peer: The address that was dialled; empty before, and where a proxy dials further.
    """

    def __init__(self, patience: Patience, *groups: Calls) -> None:
        self.patience, self._groups = patience, groups
        self.inside: BadResponse | None = None
        self.peer = ""
        self._changing = threading.RLock()  # a signal may come while it is held
        self._handle: socket.socket | None = None
        self._is_over = False
        for group in groups:
            group.add(self)

    def hold(self, sock: socket.socket) -> None:
        """Take the socket that the call goes over from now on.

        Raises:
            ConnectionAbortedError: The call was hung up before.
        """
        handle = socket.fromfd(sock.fileno(), sock.family, sock.type)
        with self._changing:
            before, self._handle = self._handle, handle
        if before is not None:
            before.close()
        self.check()

    def reach(self, name: str, *addresses: str) -> None:
        """Judge where the call goes, before it is dialled: what is judged is what is dialled.

        Raises:
            BadResponse: It may not go inside, and an address of the name is private.
        """
        is_inside = is_loopback(name) or not all(map(is_public_address, addresses))
        if self.inside is not None and is_inside:
            raise self.inside

    def check(self) -> None:
        """Stop where the call was hung up: what came since then is not believed.

        Raises:
            ConnectionAbortedError: It was.
        """
        if self._is_over:
            raise ConnectionAbortedError("hung up")

    def hang_up(self) -> None:
        """Wake the call's thread, whatever it waits for; it fails there."""
        with self._changing:
            self._is_over = True
            if self._handle is not None:
                with contextlib.suppress(OSError):  # not connected yet, or no more
                    self._handle.shutdown(socket.SHUT_RDWR)

    def end(self) -> None:
        """Let go of the socket; its connection may be used again."""
        for group in self._groups:
            group.discard(self)
        with self._changing:
            handle, self._handle = self._handle, None
        if handle is not None:
            handle.close()


current_call: ContextVar[Call] = ContextVar("current_call")
"""The call that this thread is making: urllib3 hands nothing of ours down to its connections."""
