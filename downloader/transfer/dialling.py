"""Connections as urllib3 makes them, except that each can be hung up from its first moment on.

urllib3's own dialling looks names up and connects without a bound on the whole, and shows its
socket to nobody before the head of the reply is there. Here every wait is bounded by the call's
patience, every address is judged before it is dialled, and the call holds the socket throughout.
"""

import errno
import os
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, cast

from requests.adapters import HTTPAdapter
from urllib3 import PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.response import HTTPResponse
from urllib3.util import wait_for_write

from downloader.transfer.call import Call, current_call
from downloader.transfer.reading import PatientResponse
from downloader.urls import is_address

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
