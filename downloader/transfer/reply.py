"""One reply: its head, and its body as it comes over the wire."""

import contextlib
import http.client
import socket
import ssl
from collections.abc import Callable
from http import HTTPStatus
from types import TracebackType
from typing import Self

from urllib3.response import HTTPResponse
from urllib3.util import wait_for_read

from downloader.artifact import Location
from downloader.errors import LinkExpired, ModelmakeError, TransferError
from downloader.transfer.body import Body, Stream, body_of
from downloader.transfer.call import Call
from downloader.transfer.head import Head
from downloader.transfer.reading import FILL_BYTES
from downloader.transfer.refusals import is_expired, refusal
from downloader.transfer.wire_errors import translated
from downloader.urls import has_same_origin, redact

REFUSAL_BYTES = 4096
"""How much of an error's body is read for its cause."""


class Reply:
    """The head of the final reply and its body; a context manager that gives the connection back.

    A connection whose body was not read to its end is closed: the next file must not begin with
    this one's tail (curl test 1479).
    """

    def __init__(
        self, url: str, response: HTTPResponse, call: Call, *, is_redirected: bool
    ) -> None:
        self.url = url
        self._raw = response
        self._call, self._is_redirected = call, is_redirected
        self._is_complete = False
        self.head = Head(
            status=response.status, place=redact(url), values=self._raw.headers.getlist
        )
        self._body: Body | None = None
        self._on_close: list[Callable[[], None]] = []

    def readinto(self, buffer: memoryview) -> int:
        """Read body bytes as they came over the wire, never decoded; 0 at the complete end.

        Raises:
            ConnectionLost: The body ended before it was complete.
            TimedOut: No byte, or too few, came for the patience set.
            BadResponse: The framing is broken.
        """
        with translated(self.url, self._call.patience.seconds):
            if self._body is None:
                self._body = body_of(self.head, self._stream())
            count = self._body.readinto(buffer)
        # After an interim status, which http.client takes for the last, the real reply follows.
        self._is_complete = count == 0 and self.head.status >= HTTPStatus.OK
        return count

    def fill(self, buffer: memoryview) -> int:
        """Read as readinto, and more while it is there already: chunks may be short.

        Raises:
            TransferError: As readinto, when there was nothing before.
        """
        count = self.readinto(buffer)
        with contextlib.suppress(TransferError):  # it comes again when nothing is left to lose
            while 0 < count < min(len(buffer), FILL_BYTES) and self._has_more_now():
                more = self.readinto(buffer[count:])
                if not more:
                    break
                count += more
        return count

    def _has_more_now(self) -> bool:
        sock = self._socket()
        if sock is None:
            return False
        is_decrypted = isinstance(sock, ssl.SSLSocket) and sock.pending() > 0
        return is_decrypted or wait_for_read(sock, timeout=0)

    def read_some(self, least_bytes: int, most_bytes: int = 0) -> bytes:
        """Return the first bytes of the body: all of one shorter than `least_bytes`.

        Args:
            least_bytes: So many are waited for.
            most_bytes: So many are taken when they come along with them.

        Raises:
            TransferError: As readinto.
        """
        buffer = memoryview(bytearray(max(least_bytes, most_bytes)))
        filled = 0
        while filled < least_bytes and (count := self.readinto(buffer[filled:])):
            filled += count
        return bytes(buffer[:filled])

    def refusal(self, location: Location) -> ModelmakeError:
        """Return the error for a reply that is no file; its body's start may say why.

        Args:
            location: What was asked; its hint is for a refusal by its own origin.
        """
        start = self._read_start()
        if self._is_redirected and is_expired(self.head.status, start):
            return LinkExpired(f"{self.head.place} says that its signed URL has expired.")
        hint = location.credential_hint if has_same_origin(self.url, location.url) else ""
        return refusal(self.head, start, hint)

    @property
    def peer(self) -> str:
        """The address that was dialled; empty where a proxy dialled."""
        return self._call.peer

    def _read_start(self) -> bytes:
        with contextlib.suppress(ModelmakeError):  # it breaks off, and is not wanted anyway
            return self.read_some(REFUSAL_BYTES)
        return b""

    def _stream(self) -> Stream:
        response = self._raw._fp  # noqa: SLF001 - urllib3 offers no read without a copy
        if not isinstance(response, http.client.HTTPResponse):
            raise TransferError(
                "urllib3 was replaced by another package in this environment.",
                hint="Uninstall niquests and urllib3-future, then `pip install urllib3`.",
            )
        return response.fp

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def when_closed(self, call: Callable[[], None]) -> None:
        """Have something called once, when the reply is closed."""
        self._on_close.append(call)

    def close(self) -> None:
        """Give the connection back when the body was read to its end, else close it."""
        calls, self._on_close = self._on_close, []
        for call in calls:
            call()
        if self._is_complete and self._raw._fp is not None:  # noqa: SLF001
            self._raw._fp.close()  # noqa: SLF001 - tells http.client that the reply is read
            self._raw.release_conn()
        else:
            self._raw.close()
        self._call.end()

    def _socket(self) -> socket.socket | None:
        """Return the socket itself; http.client lets go of it where the server will close."""
        stream = getattr(self._raw._fp, "fp", None)  # noqa: SLF001
        found = getattr(getattr(stream, "raw", None), "sock", None)
        return found if isinstance(found, socket.socket) else None
