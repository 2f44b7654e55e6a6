"""One connection: requests are read from it, replies are written to it step by step."""

import socket
import struct
from threading import Event
from urllib.parse import unquote

from tests.servers.body import pieces
from tests.servers.exchange import Headers, SeenRequest
from tests.servers.reply import Drop, Pause, Reply, Stall, Step, staged

LOOK_SECONDS = 0.02
"""How often a stalled reply looks whether the server closes."""
NO_LINGER = struct.pack("ii", 1, 0)


class Connection:
    """A connection a client has opened.

    Args:
        sock: The accepted socket; it belongs to this object from now on.
        closing: Set when the server ends: no wait goes on after that.
    """

    def __init__(self, sock: socket.socket, closing: Event) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock = sock
        self._lines = sock.makefile("rb")
        self._closing = closing

    def read_request(self) -> SeenRequest | None:
        """Return the next request; None when the client has closed, or does not speak HTTP/1.x.

        Raises:
            OSError: The connection broke.
        """
        words = self._lines.readline().decode("latin-1").split()
        if len(words) != 3:
            return None
        method, target, version = words
        fields = []
        while line := self._lines.readline().decode("latin-1").rstrip("\r\n"):
            name, _, value = line.partition(":")
            fields.append((name, value.strip()))
        headers = Headers(fields)
        body = self._lines.read(int(headers.get("Content-Length", "0")))
        path = unquote(target.partition("?")[0])
        return SeenRequest(
            method=method, target=target, path=path, version=version, headers=headers, body=body
        )

    def send(self, reply: Reply, seen: SeenRequest) -> bool:
        """Send a reply, noting in `seen` how far it came; return whether the connection goes on.

        Raises:
            OSError: The client has left.
        """
        for step in staged([reply.head()], reply.head_stages):
            if isinstance(step, bytes):
                seen.status = reply.status
                self._sock.sendall(step)
            elif not self._act(step):
                return False
        return (seen.method == "HEAD" or self._send_body(reply, seen)) and not reply.close

    def _send_body(self, reply: Reply, seen: SeenRequest) -> bool:
        for step in staged(pieces(reply.body), reply.body_stages):
            if isinstance(step, bytes):
                self._send_counted(step, seen)
            elif not self._act(step):
                return False
        return True

    def _send_counted(self, data: bytes, seen: SeenRequest) -> None:
        # Counted before they are sent: a client that has them all must not find the count behind.
        seen.body_bytes_sent += len(data)
        left = memoryview(data)
        try:
            while left:
                left = left[self._sock.send(left) :]
        finally:
            seen.body_bytes_sent -= len(left)

    def _act(self, step: Step) -> bool:
        """Do a step that sends nothing; return whether the reply goes on after it."""
        match step:
            case Pause(seconds):
                self._closing.wait(seconds)
            case Stall(until):
                while not (until.wait(LOOK_SECONDS) or self._closing.is_set()):
                    pass
            case Drop(reset):
                if reset:
                    self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
                return False
        return not self._closing.is_set()

    def interrupt(self) -> None:
        """Wake whoever reads or writes here, from another thread."""
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # it is closed already

    def close(self) -> None:
        """Close the socket: the kernel sends FIN, or RST after a Drop(reset=True)."""
        self._lines.close()
        self._sock.close()
