"""Open connections that another thread can end at any moment, with a limit on every wait.

urllib3's own dialling looks names up and connects without a limit on the whole, and shows its
socket to nobody before the head of the reply is there. Here every wait is limited by the request's
`Patience`, every address is checked before it is dialled, and the `Call` holds the socket
throughout. Closing a socket wakes nobody who waits for it; shutting it down does. The number of a
socket may be another's by then, so each call holds a duplicate of its own.

`Patience` limits every silence and sets a least speed. Only the time spent waiting for the socket
counts, on the monotonic clock: neither our own throttle, nor a slow disk, nor a clock that is set
meanwhile makes a server slow (rows C3, C14).
"""

import contextlib
import errno
import http.client
import io
import math
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, cast

from requests.adapters import HTTPAdapter
from urllib3 import PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.response import HTTPResponse
from urllib3.util import wait_for_write

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


class Patience:
    """The waiting time that is left for the present step of one request.

    A step is one of: dialling, with all handshakes; waiting for the head; a window of the body,
    which ends when enough bytes have come, so that a steady flow never runs out of time.

    Args:
        seconds: For each step (MODELMAKE_TIMEOUT).
        sharers: Returns how many requests share the network now: they share the least speed too.
    """

    def __init__(self, seconds: float, sharers: Callable[[], int] = lambda: 1) -> None:
        self.seconds, self._sharers = seconds, sharers
        self._is_body = False
        self.begin_step()

    def begin_step(self) -> None:
        """Begin with the whole time again."""
        self._left, self._got = self.seconds, 0

    def begin_body(self) -> None:
        """From now on, bytes earn time."""
        self._is_body = True
        self.begin_step()

    @property
    def left(self) -> float:
        """Seconds that the next wait may take.

        Raises:
            TooSlow: The time is used up, though something came.
            TimeoutError: It is used up, and nothing came.
        """
        if self._left > 0:
            return self._left
        raise self._over()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Count the block as waiting.

        Raises:
            TooSlow: The block timed out, and bytes had come in this step.
        """
        began = time.monotonic()
        try:
            yield
        except TimeoutError:
            raise self._over() from None
        finally:
            self._left -= time.monotonic() - began

    def got(self, count: int) -> None:
        """Note bytes that came."""
        self._got += count
        if self._is_body and self._got >= self._enough_bytes:
            self.begin_step()

    @property
    def _enough_bytes(self) -> int:
        return least_bytes(self.seconds / max(self._sharers(), 1))

    def _over(self) -> TimeoutError:
        return TooSlow("too slow") if self._got else TimeoutError("nothing came")


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


LOOK_SECONDS = 0.1
"""How often a call that is not yet connected looks whether it was hung up."""
NEXT_ADDRESS_SECONDS = 5.0
"""How long an address may keep silent when the name has others."""
UNDERWAY = (0, errno.EINPROGRESS, errno.EWOULDBLOCK)

Address = tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[Any, ...]]


class HeldAdapter(HTTPAdapter):
    """The adapter of requests, with connections that a call can hold."""

    def sent(self, *arguments: Any, **named: Any) -> HTTPResponse:  # noqa: ANN401
        """Send a request as requests does, and return the reply below its own.

        Raises:
            RequestException: As `requests.adapters.HTTPAdapter.send`.
        """
        return cast("HTTPResponse", self.send(*arguments, **named))

    def build_response(self, _req: Any, resp: Any) -> Any:  # noqa: ANN401
        """Return the reply as it is: nobody asks for cookies, a history or an encoding."""
        return resp

    def init_poolmanager(self, *arguments: Any, **named: Any) -> None:  # noqa: ANN401
        """Make the pools of direct connections."""
        super().init_poolmanager(*arguments, **named)
        _use_held(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **named: Any) -> Any:  # noqa: ANN401
        """Make the pools of one proxy's connections; those of a SOCKS proxy are not held."""
        manager = super().proxy_manager_for(proxy, **named)
        if not proxy.lower().startswith("socks"):
            _use_held(manager)
        return manager


def _use_held(manager: PoolManager) -> None:
    manager.pool_classes_by_scheme = {"http": HeldHttpPool, "https": HeldHttpsPool}


class HeldConnection(HTTPConnection):
    """A connection that shows its socket to the call, new or used again."""

    response_class = PatientResponse
    peer = ""
    """The address that was dialled; empty where a proxy dials further."""

    def _new_conn(self) -> socket.socket:
        call = current_call.get()
        try:
            if self.proxy is None:
                call.reach(self.host)
            addresses = _looked_up(self._dns_host.strip("[]"), self.port, call)
            if self.proxy is None:
                call.reach(self.host, *(str(one[4][0]) for one in addresses))
            sock = self._dialled(addresses, call)
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        except UnicodeError as error:  # a name that IDNA cannot write
            raise NewConnectionError(self, "no such name") from error
        except TimeoutError as error:
            raise ConnectTimeoutError(self, "not connected in time") from error
        except OSError as error:
            raise NewConnectionError(self, "not connected") from error
        sock.settimeout(call.patience.left)
        return sock

    def _dialled(self, addresses: list[Address], call: Call) -> socket.socket:
        """Return a socket that is connected to the first address that answers."""
        failure: OSError = OSError(errno.ENOENT, "The name has no address")
        for index, address in enumerate(addresses):
            is_last = index == len(addresses) - 1
            seconds = call.patience.left
            try:
                sock = _connected(
                    address, call, seconds if is_last else min(seconds / 2, NEXT_ADDRESS_SECONDS)
                )
            except OSError as error:
                call.check()
                failure = error
                continue
            for option in self.socket_options or ():
                sock.setsockopt(*option)
            self.peer = "" if self.proxy else str(address[4][0])
            call.peer = self.peer
            return sock
        raise failure

    def request(self, *arguments: Any, **named: Any) -> None:  # noqa: ANN401
        """Send a request, over the socket that is there or a new one."""
        if self.sock is not None:
            call = current_call.get()
            call.hold(self.sock)
            if self.peer:
                call.reach(self.host, self.peer)
                call.peer = self.peer
        super().request(*arguments, **named)

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]
        """Wait for the reply's head."""
        current_call.get().patience.begin_step()
        return super().getresponse()


class HeldTlsConnection(HeldConnection, HTTPSConnection):
    """The same with TLS; its handshakes are bounded as a whole by the socket's timeout."""


class HeldHttpPool(HTTPConnectionPool):
    """Connections to one host."""

    ConnectionCls = HeldConnection


class HeldHttpsPool(HTTPSConnectionPool):
    """Connections to one host, with TLS."""

    ConnectionCls = HeldTlsConnection


def _looked_up(host: str, port: int, call: Call) -> list[Address]:
    """Return the host's addresses; the system's resolver knows neither bound nor hang-up."""
    answer: Future[list[Any]] = Future()

    def ask() -> None:
        try:
            answer.set_result(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except Exception as error:  # noqa: BLE001 - told by the thread that waits
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

    _wait(call, is_there, call.patience.left)
    return answer.result()


def _connected(address: Address, call: Call, seconds: float) -> socket.socket:
    family, kind, protocol, _, place = address
    sock = socket.socket(family, kind, protocol)
    try:
        sock.settimeout(0)
        _connect(sock, place, call, seconds)
    except BaseException:
        sock.close()
        raise
    return sock


def _connect(sock: socket.socket, place: tuple[Any, ...], call: Call, seconds: float) -> None:
    number = sock.connect_ex(place)
    call.hold(sock)
    if number in UNDERWAY:
        _wait(call, lambda look: wait_for_write(sock, timeout=look), seconds)
        number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if number:
        raise OSError(number, os.strerror(number))
    call.check()


def _wait(call: Call, is_done: Callable[[float], bool], seconds: float) -> None:
    """Wait until it is done, looking often whether the call was hung up.

    Raises:
        TimeoutError: It took too long.
        ConnectionAbortedError: The call was hung up.
    """
    give_up = time.monotonic() + seconds
    with call.patience.waiting():
        while not is_done(LOOK_SECONDS):
            call.check()
            if time.monotonic() >= give_up:
                raise TimeoutError
