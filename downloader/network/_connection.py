"""Open connections that another thread can end at any moment, with a limit on every wait.

urllib3's own dialling looks names up and connects without a limit on the whole, and shows its
socket to nobody before the head of the reply is there. Here every wait is limited by the request's
`Deadline`, every address is checked before connecting, and the `Request` holds the socket
throughout. Closing a socket wakes nobody who waits for it; shutting it down does. The number of a
socket may be another's by then, so each request holds a duplicate of its own.

`Deadline` limits every silence and sets a least speed. Only the time spent waiting for the socket
counts, on the monotonic clock: neither our own throttle, nor a slow disk, nor a clock that is set
meanwhile makes a server slow (rows C3, C14).
"""

import contextlib
import email.parser
import errno
import http.client
import io
import math
import operator
import os
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from contextvars import ContextVar
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

from requests import PreparedRequest
from requests.adapters import HTTPAdapter
from requests.exceptions import InvalidProxyURL, InvalidURL
from requests.utils import select_proxy
from urllib3 import PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.response import HTTPResponse
from urllib3.util import wait_for_write

from downloader.fs.run_token import BODY, REPLY, begin_wait, end_wait, released
from downloader.urls import is_address, is_loopback, is_public_address

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

    from downloader.errors import BadResponse


LEAST_BYTES_A_SECOND = 1024
"""Less, over a whole window, is a server that drips (curl's --speed-limit is the same idea)."""


def least_bytes(seconds: float) -> int:
    """Return how many bytes so much waiting must bring."""
    return math.ceil(LEAST_BYTES_A_SECOND * seconds)


class TooSlow(TimeoutError):  # noqa: N818 - as TimedOut
    """Bytes came, and too few of them."""


class Deadline:
    """The waiting time that is left for the present step of one request; a context manager.

    A step is one of: dialling, with all handshakes; waiting for the head; a window of the body,
    which ends when enough bytes have come, so that a steady flow never runs out of time. Only a
    block that runs under it counts: `with deadline:`. Such a block that times out after bytes had
    come in this step raises TooSlow.

    Args:
        seconds: For each step (MODELMAKE_TIMEOUT).
        sharers: Returns how many requests share the network now: they share the least speed too.
    """

    def __init__(self, seconds: float, sharers: Callable[[], int] = lambda: 1) -> None:
        self.seconds, self._sharers = seconds, sharers
        self._is_body = False
        self.begin_step()

    def begin_step(self, *, is_body: bool = False) -> None:
        """Begin with the whole time again; bytes of a body earn time."""
        self._left, self._received = self.seconds, 0
        self._is_body |= is_body

    @property
    def left(self) -> float:
        """Seconds that the next wait may take.

        Raises:
            TooSlow: The time is used up, though something came.
            TimeoutError: It is used up, and nothing came.
        """
        if self._left > 0:
            return self._left
        raise self._expired()

    def __enter__(self) -> None:
        self._begun = begin_wait(BODY if self._is_body else REPLY)

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        self._left -= end_wait(BODY if self._is_body else REPLY, self._begun)
        if isinstance(error, TimeoutError):
            raise self._expired() from None

    def received(self, count: int) -> None:
        """Note bytes that came."""
        self._received += count
        if self._is_body and self._received >= least_bytes(self.seconds / max(self._sharers(), 1)):
            self.begin_step()

    def _expired(self) -> TimeoutError:
        return TooSlow("too slow") if self._received else TimeoutError("nothing came")


class CancelScope:
    """A scope that is cancelled as a whole: a run, an attempt, a request. Safe between threads.

    Args:
        parents: Scopes whose cancelling cancels this one too.

    Attributes:
        is_cancelled: Whether it was.
    """

    def __init__(self, *parents: "CancelScope") -> None:
        self._changing = threading.RLock()  # a signal may come while it is held
        self._parents, self._children = parents, set[CancelScope]()
        self.is_cancelled = False
        for parent in parents:
            parent.add(self)

    def __len__(self) -> int:
        return len(self._children)

    def add(self, child: "CancelScope") -> None:
        """Take one in; it is cancelled at once if this was before."""
        with self._changing:
            self._children.add(child)
        if self.is_cancelled:
            child.cancel()

    def discard(self, child: "CancelScope") -> None:
        """Forget one that has ended."""
        with self._changing:
            self._children.discard(child)

    def cancel(self) -> None:
        """End every request within, now and to come; each fails in its own thread."""
        with self._changing:
            self.is_cancelled = True
            children = tuple(self._children)
        for child in children:
            child.cancel()

    def close(self) -> None:
        """Leave the parents: their cancelling does nothing here any longer."""
        for parent in self._parents:
            parent.discard(self)


class Request(CancelScope):
    """One request in flight: its deadline, where it may go, and the socket that a cancel wakes.

    Args:
        target: What its request line is to say.
        deadline: For each of its waits.
        refusal: What to raise if the way leads to a private address; None if it may.
        parents: As in CancelScope.

    Attributes:
        deadline: As above.
        peer: The address of the connection; empty before, and if a proxy connects further.
    """

    def __init__(
        self,
        target: str,
        deadline: Deadline,
        refusal: "BadResponse | None",
        *parents: CancelScope,
    ) -> None:
        self._target, self.deadline, self._refusal = target, deadline, refusal
        self.peer = ""
        self._socket: socket.socket | None = None
        super().__init__(*parents)

    def line_for(self, url: str) -> str:
        """Return what to ask for, given what urllib3 would: it normalises escapes of the path.

        Args:
            url: A path, or a whole URL for a proxy.
        """
        if url.startswith("/"):
            return self._target
        return "/".join(url.split("/", 3)[:3]) + self._target

    def hold(self, sock: socket.socket) -> None:
        """Take the socket that the request goes over from now on.

        Raises:
            ConnectionAbortedError: The request was cancelled before.
        """
        duplicate = socket.fromfd(sock.fileno(), sock.family, sock.type)
        with self._changing:
            before, self._socket = self._socket, duplicate
        if before is not None:
            before.close()
        self.check()

    def check_address(self, name: str, *addresses: str) -> None:
        """Check the address before connecting: exactly the checked address is used.

        Raises:
            BadResponse: It may not go to a private address, and one of the name is private.
        """
        is_private = is_loopback(name) or not all(map(is_public_address, addresses))
        if self._refusal is not None and is_private:
            raise self._refusal

    def check(self) -> None:
        """Refuse what came since the request was cancelled.

        Raises:
            ConnectionAbortedError: It was cancelled.
        """
        if self.is_cancelled:
            raise ConnectionAbortedError("cancelled")

    def cancel(self) -> None:
        """Wake the request's thread, whatever it waits for; it fails there."""
        with self._changing:
            self.is_cancelled = True
            if self._socket is not None:
                with contextlib.suppress(OSError):  # not connected yet, or no longer
                    self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go of the socket; its connection may be used again."""
        super().close()
        with self._changing:
            held, self._socket = self._socket, None
        if held is not None:
            held.close()


current_request: ContextVar[Request] = ContextVar("current_request")
"""The request that this thread is making: urllib3 hands nothing of ours down to its connections."""

READ_BYTES = 64 << 10
"""A small file comes in one read, its head before it."""
FILL_BYTES = 256 << 10
"""How much of what is there already is read at once."""


class DeadlineReader(io.RawIOBase):
    """The bytes of a reply: each wait for them is bounded, and none is believed after a cancel."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, request: Request) -> None:
        self.sock = sock
        self._raw, self._request = raw, request
        self._bound_seconds = sock.gettimeout() or -1.0

    def readable(self) -> bool:
        """Say that it is."""
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int | None:
        """Read what is there; 0 at the end.

        Raises:
            TimeoutError: The request's time is over.
            ConnectionAbortedError: It was cancelled.
        """
        deadline = self._request.deadline
        self._bound(deadline.left)
        with deadline:
            count = self._raw.readinto(buffer)
        if count and isinstance(self.sock, ssl.SSLSocket):
            count += self._further_records(memoryview(buffer)[count:FILL_BYTES])
        self._request.check()
        deadline.received(count or 0)
        return count

    def _further_records(self, room: memoryview) -> int:
        """Read what is there already and wait for nothing: TLS gives 16 KiB at a time."""
        done = 0
        self.sock.settimeout(0)
        self._bound_seconds = -1.0
        with contextlib.suppress(OSError):  # nothing more there; the next call reports it
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


class DeadlineResponse(http.client.HTTPResponse):
    """The standard library's reply, read within the deadline of the request that is made."""

    def __init__(self, sock: socket.socket, *rest: Any, **named: Any) -> None:  # noqa: ANN401
        super().__init__(sock, *rest, **named)
        raw = self.fp.detach()
        self.fp = io.BufferedReader(DeadlineReader(raw, sock, current_request.get()), READ_BYTES)

    def begin(self) -> None:
        """Read the head as http.client does, with a tenth of the calls if its lines are plain.

        http.client passes every head to the parser of e-mails. That still reads what could mean
        something else: folded lines, bare line ends, lines that are no fields. `body_of` says how
        the body is framed, so this notes only what urllib3 asks for.

        Raises:
            HTTPException: It is no head, or too long a one.
        """
        status = HTTPStatus.CONTINUE
        while status == HTTPStatus.CONTINUE:
            version, status, reason = self._read_status()  # type: ignore[attr-defined]
            lines = _read_headers(self.fp)
        if version not in VERSIONS and not version.startswith("HTTP/1."):
            raise http.client.UnknownProtocol(version)
        self.code = self.status = status
        self.reason, self.version = reason.strip(), VERSIONS.get(version, 11)
        self.headers = self.msg = fields_of(lines)
        self.length, self.chunked, self.chunk_left = None, False, None
        has_end = self.headers.get("Content-Length") or self.headers.get("Transfer-Encoding")
        self.will_close = self._check_close() or not has_end  # type: ignore[attr-defined]


VERSIONS = {"HTTP/1.1": 11, "HTTP/1.0": 10, "HTTP/0.9": 10}
_read_headers: Callable[[io.BufferedIOBase], list[bytes]] = vars(http.client)["_read_headers"]
PLAIN_FIELDS = re.compile(r"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\0\r\n]*\r\n)*\r\n")
"""Lines of which no parser can make anything else than fields (RFC 9112 §5)."""


_PARTED = operator.methodcaller("partition", ":")


class PlainFields(http.client.HTTPMessage):
    """The fields of a head, whose values need none of the care that those of an e-mail do.

    Args:
        lines: The head's text, as PLAIN_FIELDS describes it.
    """

    def __init__(self, lines: str) -> None:
        super().__init__()
        named = map(_PARTED, lines.split("\r\n")[:-2])
        self._headers = [(name, value.lstrip(" \t")) for name, _, value in named]

    def items(self) -> list[tuple[str, str]]:
        """Return names and values in their order."""
        return self._headers

    def get(self, name: str, failobj: Any = None) -> Any:  # noqa: ANN401 - as the class above
        """Return the first value of a field."""
        wanted = name.lower()
        return next((value for key, value in self._headers if key.lower() == wanted), failobj)


def fields_of(lines: Iterable[bytes]) -> http.client.HTTPMessage:
    """Return the fields that these lines are, the last one empty."""
    text = b"".join(lines).decode("iso-8859-1")
    if PLAIN_FIELDS.fullmatch(text):
        return PlainFields(text)
    return email.parser.Parser(_class=http.client.HTTPMessage).parsestr(text)


MOST_POOLS = 32
"""Number of pools that are kept; urllib3 keeps no more open either."""
LOOK_SECONDS = 0.1
"""Seconds between checks for a cancel while a request connects."""
NEXT_ADDRESS_SECONDS = 5.0
"""Seconds that an address may be silent if the name has others."""
UNDERWAY = (0, errno.EINPROGRESS, errno.EWOULDBLOCK)

Address = tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[Any, ...]]


class CancellableAdapter(HTTPAdapter):
    """The adapter of requests, with connections that a request can hold."""

    def sent(
        self,
        request: PreparedRequest,
        proxies: Mapping[str, str],
        **named: Any,  # noqa: ANN401
    ) -> HTTPResponse:
        """Send a request as requests does, and return the reply below its own.

        Raises:
            RequestException: As `requests.adapters.HTTPAdapter.send`.
        """
        try:
            return cast("HTTPResponse", self.send(request, stream=True, proxies=proxies, **named))
        except InvalidURL as error:
            if select_proxy(str(request.url), proxies):  # its URL it is: ours could be prepared
                raise InvalidProxyURL from error
            raise

    def get_connection_with_tls_context(
        self,
        request: PreparedRequest,
        verify: Any,  # noqa: ANN401
        proxies: Any = None,  # noqa: ANN401
        cert: Any = None,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        """Return the pool of a request's host, which is looked up once for all its requests."""
        place = str(request.url).split("/", 3)[:3]
        key = (*place, verify, cert, *(proxies or {}).items())
        pool = self._pools.get(key)
        if pool is None:
            pool = super().get_connection_with_tls_context(request, verify, proxies, cert)
            if len(self._pools) >= MOST_POOLS:
                self._pools.clear()
            self._pools[key] = pool
        return pool

    def close(self) -> None:
        """Close every pool."""
        self._pools.clear()
        super().close()

    def request_url(self, request: PreparedRequest, proxies: Any) -> str:  # noqa: ANN401
        """Return what stands in the request line."""
        return super().request_url(request, proxies) if proxies else request.path_url

    def build_response(self, _req: Any, resp: Any) -> Any:  # noqa: ANN401
        """Return the reply as it is: nobody asks for cookies, a history or an encoding."""
        return resp

    def init_poolmanager(self, *arguments: Any, **named: Any) -> None:  # noqa: ANN401
        """Make the pools of direct connections."""
        self._pools: dict[tuple[object, ...], Any] = {}
        super().init_poolmanager(*arguments, **named)
        _use_cancellable(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **named: Any) -> Any:  # noqa: ANN401
        """Make the pools of one proxy's connections; those of a SOCKS proxy are urllib3's own."""
        manager = super().proxy_manager_for(proxy, **named)
        if not proxy.lower().startswith("socks"):
            _use_cancellable(manager)
        return manager


def _use_cancellable(manager: PoolManager) -> None:
    manager.pool_classes_by_scheme = {"http": CancellablePool, "https": CancellableTlsPool}


class CancellableConnection(HTTPConnection):
    """A connection that shows its socket to the request, new or used again."""

    response_class = DeadlineResponse
    peer = ""
    """The address of the connection; empty if a proxy connects further."""

    def _new_conn(self) -> socket.socket:
        request = current_request.get()
        try:
            if self.proxy is None:
                request.check_address(self.host)
            addresses = _looked_up(self._dns_host.strip("[]"), self.port, request)
            if self.proxy is None:
                request.check_address(self.host, *(str(one[4][0]) for one in addresses))
            return self._dialled(addresses, request)
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        except UnicodeError as error:  # a name that IDNA cannot write
            raise NewConnectionError(self, "no such name") from error
        except TimeoutError as error:
            raise ConnectTimeoutError(self, "not connected in time") from error
        except OSError as error:
            raise NewConnectionError(self, "not connected") from error

    def _dialled(self, addresses: list[Address], request: Request) -> socket.socket:
        """Return a socket that is connected to the first address that answers."""
        failure: OSError = OSError(errno.ENOENT, "The name has no address")
        for index, address in enumerate(addresses):
            is_last = index == len(addresses) - 1
            seconds = request.deadline.left
            try:
                sock = _connected(
                    address, request, seconds if is_last else min(seconds / 2, NEXT_ADDRESS_SECONDS)
                )
            except OSError as error:
                request.check()
                failure = error
                continue
            try:
                for option in self.socket_options or ():
                    sock.setsockopt(*option)
                sock.settimeout(request.deadline.left)
            except BaseException:
                sock.close()
                raise
            self.peer = "" if self.proxy else str(address[4][0])
            request.peer = self.peer
            return sock
        raise failure

    def request(self, method: str, url: str, *arguments: Any, **named: Any) -> None:  # noqa: ANN401
        """Send a request, over the socket that is there or a new one."""
        request = current_request.get()
        if self.sock is not None:
            request.hold(self.sock)
            if self.peer:
                request.check_address(self.host, self.peer)
                request.peer = self.peer
        super().request(method, request.line_for(url), *arguments, **named)

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]
        """Wait for the reply's head."""
        current_request.get().deadline.begin_step()
        return super().getresponse()


class CancellableTlsConnection(CancellableConnection, HTTPSConnection):
    """The same with TLS; its handshakes are bounded as a whole by the socket's timeout."""

    def connect(self) -> None:
        """Connect, with all handshakes; small files wait for that side by side."""
        with released(is_urgent=True):
            super().connect()


class CancellablePool(HTTPConnectionPool):
    """Connections to one host."""

    ConnectionCls = CancellableConnection


class CancellableTlsPool(HTTPSConnectionPool):
    """Connections to one host, with TLS."""

    ConnectionCls = CancellableTlsConnection


def _looked_up(host: str, port: int, request: Request) -> list[Address]:
    """Return the host's addresses; the system's resolver knows neither bound nor cancel."""
    answer: Future[list[Any]] = Future()

    def ask() -> None:
        try:
            answer.set_result(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except Exception as error:  # noqa: BLE001 - reported by the waiting thread
            answer.set_exception(error)

    if is_address(host):  # nobody has to be asked
        ask()
        return answer.result()
    thread = threading.Thread(target=ask, name="modelmake-name", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # the system has no thread left: better without a bound than not at all
        ask()
        return answer.result()

    def is_there(seconds: float) -> bool:
        thread.join(seconds)
        return not thread.is_alive()

    _wait(request, is_there, request.deadline.left)
    return answer.result()


def _connected(address: Address, request: Request, seconds: float) -> socket.socket:
    family, kind, protocol, _, place = address
    sock = socket.socket(family, kind, protocol)
    try:
        sock.settimeout(0)
        _connect(sock, place, request, seconds)
    except BaseException:
        sock.close()
        raise
    return sock


def _connect(sock: socket.socket, place: tuple[Any, ...], request: Request, seconds: float) -> None:
    number = sock.connect_ex(place)
    request.hold(sock)
    if number in UNDERWAY:
        _wait(request, lambda look: wait_for_write(sock, timeout=look), seconds)
        number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if number:
        raise OSError(number, os.strerror(number))
    request.check()


def _wait(request: Request, is_done: Callable[[float], bool], seconds: float) -> None:
    """Wait until it is done, looking often whether the request was cancelled.

    Raises:
        TimeoutError: It took too long.
        ConnectionAbortedError: The request was cancelled.
    """
    give_up = time.monotonic() + seconds
    with request.deadline:
        while not is_done(LOOK_SECONDS):
            request.check()
            if time.monotonic() >= give_up:
                raise TimeoutError
