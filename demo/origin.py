"""A small honest file origin on loopback: HTTP/1.1, keep-alive, ranges, validators.

It runs inside the demonstration's own process, so nothing is left behind when that ends. Errors
look like Azure Blob Storage's, since that is where GPT-2 comes from.
"""

import os
import socket
import sys
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from threading import Lock, Thread
from types import TracebackType
from typing import ClassVar, Self
from urllib.parse import unquote, urlsplit

from answers import Answer, Resource, answer

Request = socket.socket | tuple[bytes, socket.socket]  # as socketserver is typed
LOOPBACK = "127.0.0.1"
ERROR_CODES = {
    HTTPStatus.NOT_FOUND: "BlobNotFound",
    HTTPStatus.PRECONDITION_FAILED: "ConditionNotMet",
    HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE: "InvalidRange",
}


class Handler(BaseHTTPRequestHandler):
    """One connection's requests."""

    server: "Origin"
    connection: socket.socket
    protocol_version = "HTTP/1.1"
    server_version = "modelmake-demo"
    sys_version = ""
    disable_nagle_algorithm: ClassVar[bool] = True

    def do_GET(self) -> None:
        """Send a resource, a part of it, or an error."""
        self.server.count(requests=1)
        resource = self.server.routes.get(unquote(urlsplit(self.path).path))
        if resource is None:
            self._refuse(HTTPStatus.NOT_FOUND, {})
            return
        reply = answer(resource, self.command, self.headers)
        if reply.status in ERROR_CODES:
            self._refuse(reply.status, _headers(resource, reply))
            return
        self._head(reply.status, _headers(resource, reply))
        if self.command == "GET":
            self._send(resource, reply)

    do_HEAD = do_GET  # noqa: N815 - as above

    def _head(self, status: HTTPStatus, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _refuse(self, status: HTTPStatus, headers: Mapping[str, str]) -> None:
        """Answer with Azure's XML error."""
        code = ERROR_CODES[status]
        body = (
            '<?xml version="1.0" encoding="utf-8"?>'
            f"<Error><Code>{code}</Code><Message>{status.description}.</Message></Error>"
        ).encode()
        about_body = {"Content-Type": "application/xml", "Content-Length": str(len(body))}
        self._head(status, {**headers, **about_body, "x-ms-error-code": code})
        if self.command == "GET":
            self.server.count(body_bytes=len(body))
            self.wfile.write(body)

    def _send(self, resource: Resource, part: Answer) -> None:
        """Send the bytes of a range; a file's go from the page cache to the socket by sendfile.

        They are counted first: who has read the last byte may look at the count at once.
        """
        length = part.stop - part.start
        self.server.count(body_bytes=length)
        if isinstance(resource.body, bytes):
            self.wfile.write(resource.body[part.start : part.stop])
        elif length:
            with resource.body.open("rb") as file:
                try:
                    self.connection.sendfile(file, part.start, length)
                except OSError:  # sendfile leaves the position behind what it did send
                    self.server.count(body_bytes=max(0, file.tell() - part.start) - length)
                    raise

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Keep quiet: what happened is counted."""


def _headers(resource: Resource, reply: Answer) -> dict[str, str]:
    """Return the headers of an answer about an existing resource, errors included."""
    headers = resource.headers()
    if reply.status is HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        return {**headers, "Content-Range": f"bytes */{resource.size_bytes}"}
    if reply.status not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
        return headers
    headers |= resource.azure_headers(reply.status)
    headers["Content-Type"] = "application/octet-stream"
    headers["Content-Length"] = str(reply.stop - reply.start)
    if reply.status is HTTPStatus.PARTIAL_CONTENT:
        span = f"{reply.start}-{reply.stop - 1}/{resource.size_bytes}"
        headers["Content-Range"] = f"bytes {span}"
    return headers


class Origin(ThreadingHTTPServer):
    """The server; as a context manager it is closed, with all its connections, at the end.

    Args:
        routes: What each URL path, unquoted, stands for.
        port: The port on 127.0.0.1; 0 takes any free one.

    Raises:
        OSError: The port cannot be had.
    """

    request_queue_size = 128
    # Windows would let two servers share one port.
    allow_reuse_address = os.name == "posix"
    # The interpreter waits for other threads before it calls exit hooks; a client's idle connection
    # would hold it up for ever. close joins these, once their connections are shut.
    daemon_threads = True

    def __init__(self, routes: Mapping[str, Resource], port: int = 0) -> None:
        self.routes = routes
        self.requests = 0
        self.body_bytes = 0
        self._counting = Lock()
        self._open: set[socket.socket] = set()
        self._handlers: list[Thread] = []
        super().__init__((LOOPBACK, port), Handler)
        self._thread = Thread(target=self.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """The URL without a path."""
        return f"http://{LOOPBACK}:{self.server_port}"

    def count(self, requests: int = 0, body_bytes: int = 0) -> None:
        """Add to what was served so far; called from every connection's thread."""
        with self._counting:
            self.requests += requests
            self.body_bytes += body_bytes

    def close(self) -> None:
        """Stop listening, end every connection and wait for their threads; twice does no harm."""
        self.shutdown()
        self._thread.join()
        with self._counting:
            for connection in self._open:
                _end(connection)
        for handler in self._handlers:
            handler.join()
        self.server_close()

    def server_bind(self) -> None:
        """Bind without asking DNS for our own name, which may take seconds with no network."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = LOOPBACK, self.socket.getsockname()[1]

    def process_request(self, request: Request, client_address: tuple[str, int]) -> None:
        """Remember a new connection, so that close can end it."""
        assert isinstance(request, socket.socket)
        with self._counting:
            self._open.add(request)
        target, arguments = self.process_request_thread, (request, client_address)
        self._handlers.append(Thread(target=target, args=arguments, daemon=True))
        self._handlers[-1].start()

    def shutdown_request(self, request: Request) -> None:
        """Forget a connection that is over."""
        assert isinstance(request, socket.socket)
        with self._counting:
            self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Request, client_address: tuple[str, int]) -> None:
        """Let a client that hung up go without a word; say everything else."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _end(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # the client was faster
