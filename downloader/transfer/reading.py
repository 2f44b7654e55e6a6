"""A reply's bytes off the socket: each wait is bounded by the patience of the call."""

import contextlib
import http.client
import io
import socket
import ssl
from typing import TYPE_CHECKING, Any

from downloader.transfer.call import Call, current_call

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

READ_BYTES = 64 << 10
"""A small file comes in one read, its head before it."""
FILL_BYTES = 256 << 10
"""How much of what is there already is read at once."""


class PatientReader(io.RawIOBase):
    """The bytes of a reply: each wait for them is bounded, and none is believed after a hang-up."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, call: Call) -> None:
        self.sock = sock
        self._raw, self._call = raw, call
        self._bound_seconds = -1.0

    def readable(self) -> bool:
        """Say that it is."""
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int | None:
        """Read what is there; 0 at the end.

        Raises:
            TimeoutError: The call's patience is at its end.
            ConnectionAbortedError: It was hung up.
        """
        patience = self._call.patience
        self._bound(patience.left)
        with patience.waiting():
            count = self._raw.readinto(buffer)
        if count and isinstance(self.sock, ssl.SSLSocket):
            count += self._further_records(memoryview(buffer)[count:FILL_BYTES])
        self._call.check()
        patience.got(count or 0)
        return count

    def _further_records(self, room: memoryview) -> int:
        """Read what is there already and wait for nothing: TLS gives 16 KiB at a time."""
        done = 0
        self.sock.settimeout(0)
        self._bound_seconds = -1.0
        with contextlib.suppress(OSError):  # no more is there; what is wrong is told next time
            while done < len(room) and (count := self.sock.recv_into(room[done:])):
                done += count
        return done

    def _bound(self, seconds: float) -> None:
        if not 0 <= self._bound_seconds - seconds < 0.02 * seconds:  # a call to the system
            self.sock.settimeout(seconds)
            self._bound_seconds = seconds

    def close(self) -> None:
        """Let go of the socket."""
        self._raw.close()
        super().close()


class PatientResponse(http.client.HTTPResponse):
    """The standard library's reply, read with the patience of the call that is being made."""

    def __init__(self, sock: socket.socket, *rest: Any, **named: Any) -> None:  # noqa: ANN401
        super().__init__(sock, *rest, **named)
        raw = self.fp.detach()
        self.fp = io.BufferedReader(PatientReader(raw, sock, current_call.get()), READ_BYTES)
