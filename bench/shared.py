"""A small server whose connections share one rate, as a provider limits a client or a household.

nginx limits each connection by itself. This one answers GET with Content-Length, ETag and a single
range, and sends from a file; a bucket of tokens, filled evenly, is drawn on by all connections.
"""

import os
import re
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import unquote

PIECE_BYTES = 64 << 10
BURST_SECONDS = 0.05


class Bucket:
    """Tokens for bytes; safe to share between threads."""

    def __init__(self, bytes_per_second: float) -> None:
        self._rate = bytes_per_second
        self._free_at = time.monotonic()
        self._drawing = threading.Lock()

    def draw(self, count: int) -> None:
        """Wait until so many bytes may pass."""
        with self._drawing:
            now = time.monotonic()
            self._free_at = max(self._free_at, now - BURST_SECONDS) + count / self._rate
            delay = self._free_at - now
        if delay > 0:
            time.sleep(delay)


class SharedRate:
    """A context manager around the server.

    Args:
        root: The folder it serves.
        bytes_per_second: What all its connections together may give.
    """

    def __init__(self, root: Path, bytes_per_second: float) -> None:
        bucket = Bucket(bytes_per_second)

        class Handler(_Handler):
            pass

        Handler.root, Handler.bucket = root, bucket
        self._server = _Quiet(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def url(self, name: str) -> str:
        """Return the URL of a file."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/{name}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Quiet(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Say nothing: who hangs up has what it wants."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    root: Path
    bucket: Bucket

    def do_GET(self) -> None:
        """Answer one request."""
        with (self.root / unquote(self.path.lstrip("/"))).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            start = int(found[1]) if found else 0
            stop = min(int(found[2]) + 1, size) if found and found[2] else size
            self.send_response(HTTPStatus.PARTIAL_CONTENT if found else HTTPStatus.OK)
            if found:
                self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
            self.send_header("Content-Length", str(stop - start))
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("ETag", f'"{size}"')
            self.end_headers()
            self._send(file.fileno(), start, stop)

    def _send(self, descriptor: int, start: int, stop: int) -> None:
        try:
            while start < stop:
                piece = os.pread(descriptor, min(PIECE_BYTES, stop - start), start)
                self.bucket.draw(len(piece))
                self.wfile.write(piece)
                start += len(piece)
        except OSError:  # the client needs no more
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """Say nothing."""
