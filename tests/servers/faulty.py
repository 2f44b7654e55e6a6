"""A scripted HTTP/1.1 server on raw sockets: honest by default, wrong where a test asks for it.

with FaultyServer() as server:
    server.put("/model.bin", b"weights")
    server.script("/model.bin", framing.short(3), ranges.ignored)
    fetch(server.url("/model.bin"))
    assert [seen.status for seen in server.requests] == [200, 200, 206]
"""

import hashlib
import socket
import ssl
from collections import deque
from collections.abc import Mapping
from threading import Event, Lock, Thread
from types import TracebackType
from typing import Self
from urllib.parse import quote

from tests.servers import honest
from tests.servers.body import Body, BytesBody, as_body
from tests.servers.exchange import Answer, Exchange, Fault, Resource, SeenRequest
from tests.servers.reply import Reply
from tests.servers.wire import Connection

HOST = "127.0.0.1"
AUTO = "<of the body>"
END_SECONDS = 10.0


class FaultyServer:
    """The server, one thread a connection; a context manager that leaves no thread and no socket.

    Args:
        answer: The dialect spoken where no fault is scripted.
        tls: Speak it over TLS, with the certificate that this context has.
    """

    def __init__(
        self, answer: Answer = honest.answer, *, tls: ssl.SSLContext | None = None
    ) -> None:
        self._answer, self._tls = answer, tls
        self._lock = Lock()
        self._closing = Event()
        self._resources: dict[str, Resource] = {}
        self._scripts: dict[str, deque[Fault]] = {}
        self._always: dict[str, Fault] = {}
        self._seen: list[SeenRequest] = []
        self._open: set[Connection] = set()
        self._threads: list[Thread] = []
        self._bugs: list[Exception] = []
        self._accepted = 0

    def __enter__(self) -> Self:
        self._listener = socket.create_server((HOST, 0), backlog=256)
        self.port: int = self._listener.getsockname()[1]
        self._start(Thread(target=self._accept, name="faulty-server", daemon=True))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._closing.set()
        socket.create_connection((HOST, self.port)).close()  # wakes accept, on every system
        self._end(self._threads[0])
        self._listener.close()
        with self._lock:
            for connection in self._open:
                connection.interrupt()
        for thread in self._threads[1:]:
            self._end(thread)
        if self._bugs and error is None:
            raise self._bugs[0]

    def url(self, path: str) -> str:
        """Return the URL of a path; a query may follow it."""
        scheme = "https" if self._tls else "http"
        return f"{scheme}://{HOST}:{self.port}{quote(path, safe='/%?&=+:~')}"

    def put(
        self,
        path: str,
        body: bytes | Body,
        *,
        etag: str | None = AUTO,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Put a resource at a path, in place of what was there.

        Args:
            path: Decoded, beginning with a slash.
            body: What it holds.
            etag: The whole field value; by default a strong one of the body. None: it has none.
            headers: Further headers of every 200, 206 and 304, or others for the usual ones.
        """
        content = as_body(body)
        tag = strong_etag(content) if etag == AUTO else etag
        resource = Resource(body=content, etag=tag, headers=dict(headers or {}))
        with self._lock:
            self._resources[path] = resource

    def script(self, path: str, *faults: Fault) -> None:
        """Use one fault for each coming request to a path, in order; then behave."""
        with self._lock:
            self._scripts.setdefault(path, deque()).extend(faults)

    def always(self, path: str, fault: Fault) -> None:
        """Use a fault for every request to a path that has no scripted one left."""
        with self._lock:
            self._always[path] = fault

    @property
    def requests(self) -> list[SeenRequest]:
        """Every request so far, in the order they came."""
        with self._lock:
            return list(self._seen)

    @property
    def connections(self) -> int:
        """How many connections were accepted."""
        with self._lock:
            return self._accepted

    def _start(self, thread: Thread) -> None:
        self._threads.append(thread)
        thread.start()

    def _end(self, thread: Thread) -> None:
        thread.join(END_SECONDS)
        if thread.is_alive():
            raise RuntimeError(f"{thread.name} did not end in {END_SECONDS} s")

    def _accept(self) -> None:
        while True:
            sock, _ = self._listener.accept()
            if self._closing.is_set():
                sock.close()
                return
            if self._tls:  # the handshake comes with the first read, in the connection's thread
                sock = self._tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
            connection = Connection(sock, self._closing)
            with self._lock:
                self._accepted += 1
                self._open.add(connection)
            name = f"faulty-server-{self._accepted}"
            self._start(Thread(target=self._serve, args=(connection,), name=name, daemon=True))

    def _serve(self, connection: Connection) -> None:
        try:
            while self._serve_one(connection):
                pass
        except OSError:
            pass  # the client has left: its right at any time
        except Exception as bug:  # noqa: BLE001 - raised again at exit, where the test sees it
            self._bugs.append(bug)
        finally:
            with self._lock:
                self._open.discard(connection)
            connection.close()

    def _serve_one(self, connection: Connection) -> bool:
        """Answer one request; return whether the connection goes on."""
        request = connection.read_request()
        if request is None:
            return False
        with self._lock:
            self._seen.append(request)
            resource = self._resources.get(request.path)
            fault = self._next_fault(request.path)
        exchange = Exchange(request=request, resource=resource, answer=self._answer)
        reply = self._answer(exchange)
        sent = fault(exchange, reply) if fault else reply
        return connection.send(closed_if_asked(sent, request), request) and not request.wants_close

    def _next_fault(self, path: str) -> Fault | None:
        scripted = self._scripts.get(path)
        return scripted.popleft() if scripted else self._always.get(path)


def closed_if_asked(reply: Reply, request: SeenRequest) -> Reply:
    """Return the reply, saying that the connection ends when the client asked for that."""
    return reply.with_header("Connection", "close") if request.wants_close else reply


def strong_etag(body: Body) -> str:
    """Return a quoted entity tag that is another for another body."""
    known = body.data if isinstance(body, BytesBody) else repr(body).encode()
    return f'"{hashlib.sha256(known).hexdigest()[:16]}"'
