"""A TCP proxy that limits each connection by a token bucket, in a process of its own.

    python -m bench.throttled --to PORT --rate BYTES [--latency MS] [--burst BYTES]

listens on a free port of 127.0.0.1, prints its number, and ends when its standard input does.

nginx's `limit_rate` lets the first second of each reply through at once. Here a connection begins
with an empty bucket: in no time span does it pass more than `rate x time + burst`, the first one
included. Only what the server sends is limited. Latency is a round trip: a new connection costs
one, and each request another. There is no slow start as in TCP over a real network.
"""

import argparse
import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from bench.measure import Failed

BURST_BYTES = 1 << 20
"""Large enough to make up for a proxy that wakes late, and small beside any file."""
PIECE_BYTES = 64 << 10
MOST_WAITING = 256
END_SECONDS = 10.0


class TokenBucket:
    """The bytes that one connection may pass; not safe to share between threads.

    Args:
        bytes_per_second: The rate at which it fills; it is empty at first.
        burst_bytes: What it holds at most.
        clock: Tells seconds.
    """

    def __init__(
        self,
        bytes_per_second: float,
        burst_bytes: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rate, self._burst, self._clock = bytes_per_second, burst_bytes, clock
        self._filled_at, self._tokens = clock(), 0.0

    @property
    def tokens(self) -> int:
        """How many bytes may pass now."""
        now = self._clock()
        self._tokens = min(self._tokens + (now - self._filled_at) * self._rate, self._burst)
        self._filled_at = now
        return int(self._tokens)

    def spend(self, count: int) -> None:
        """Note bytes that passed."""
        self._tokens -= count

    def seconds_until(self, count: int) -> float:
        """Return how long it takes until so many bytes may pass; 0 if they may now."""
        return max(min(count, self._burst) - self.tokens, 0) / self._rate


class Throttled:
    """A context manager around the proxy's process.

    Args:
        port: Of the server on 127.0.0.1.
        bytes_per_second: What each connection may give.
        latency_seconds: The round trip that it adds.
        burst_bytes: How much unused time a connection makes up for.
    """

    def __init__(
        self,
        port: int,
        bytes_per_second: float,
        latency_seconds: float = 0.0,
        burst_bytes: int = BURST_BYTES,
    ) -> None:
        self._words = [sys.executable, "-m", "bench.throttled", "--to", str(port)]
        self._words += ["--rate", str(bytes_per_second), "--burst", str(burst_bytes)]
        self._words += ["--latency", str(latency_seconds * 1000)]

    def __enter__(self) -> Self:
        """Start it.

        Raises:
            Failed: It does not start.
        """
        self._process = subprocess.Popen(
            self._words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[1],
            start_new_session=True,  # Ctrl-C is for us; we end it
        )
        assert self._process.stdout is not None
        said = self._process.stdout.readline()
        if not said.strip().isdigit():
            self.__exit__(None, None, None)
            raise Failed("the proxy that limits connections does not start")
        self._port = int(said)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            self._process.communicate(timeout=END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()

    def url(self, url: str) -> str:
        """Return an URL of the server as it is asked through the proxy."""
        return urlsplit(url)._replace(netloc=f"127.0.0.1:{self._port}").geturl()

    def cpu_seconds(self) -> float:
        """Return what it has spent so far, user and system; NaN where there is no /proc."""
        try:
            text = Path(f"/proc/{self._process.pid}/stat").read_text()
        except OSError:
            return float("nan")
        user, system = text.rpartition(")")[2].split()[11:13]  # proc(5): utime, stime
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


async def _pass_on(client: socket.socket, options: argparse.Namespace) -> None:
    """Connect to the server, and carry bytes both ways until one end closes."""
    loop = asyncio.get_running_loop()
    with client, socket.socket() as server:
        for each in client, server:
            each.settimeout(0)
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(OSError):
            await asyncio.sleep(options.latency / 1000)
            await loop.sock_connect(server, ("127.0.0.1", options.to))
            ways = [_carry_up(client, server, options), _carry_down(server, client, options)]
            tasks = [loop.create_task(each) for each in ways]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _carry_up(
    client: socket.socket, server: socket.socket, options: argparse.Namespace
) -> None:
    loop = asyncio.get_running_loop()
    while data := await loop.sock_recv(client, PIECE_BYTES):
        await asyncio.sleep(options.latency / 1000)
        await loop.sock_sendall(server, data)


async def _carry_down(
    server: socket.socket, client: socket.socket, options: argparse.Namespace
) -> None:
    loop, buffer = asyncio.get_running_loop(), memoryview(bytearray(PIECE_BYTES))
    bucket = TokenBucket(options.rate, options.burst)
    piece = min(PIECE_BYTES, options.burst)
    while True:
        while (seconds := bucket.seconds_until(piece)) > 0:  # noqa: ASYNC110 - for time alone
            await asyncio.sleep(seconds)
        count = await loop.sock_recv_into(server, buffer[:piece])
        if not count:
            return
        bucket.spend(count)
        await loop.sock_sendall(client, buffer[:count])


async def _serve(options: argparse.Namespace) -> None:
    loop = asyncio.get_running_loop()
    over, tasks = asyncio.Event(), set[asyncio.Task[None]]()
    loop.add_reader(sys.stdin.fileno(), over.set)  # nothing is written there: it can only end
    with socket.create_server(("127.0.0.1", 0), backlog=MOST_WAITING) as listening:
        listening.settimeout(0)
        print(listening.getsockname()[1], flush=True)
        accepting = loop.create_task(_accept(listening, options, tasks))
        await over.wait()
        for task in (accepting, *tasks):
            task.cancel()


async def _accept(
    listening: socket.socket, options: argparse.Namespace, tasks: set[asyncio.Task[None]]
) -> None:
    loop = asyncio.get_running_loop()
    while True:
        client, _ = await loop.sock_accept(listening)
        task = loop.create_task(_pass_on(client, options))
        tasks.add(task)
        task.add_done_callback(tasks.discard)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.throttled")
    parser.add_argument("--to", type=int, required=True, help="port of the server")
    parser.add_argument("--rate", type=float, required=True, help="bytes/s of each connection")
    parser.add_argument("--latency", type=float, default=0.0, help="round trip in ms")
    parser.add_argument("--burst", type=int, default=BURST_BYTES, help="bytes")
    return parser.parse_args()


if __name__ == "__main__":
    asyncio.run(_serve(_options()))
