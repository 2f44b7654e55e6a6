"""Race nodes that fill from each other against as many plain runs: `python -m bench.fleet --help`.

Every node is a network namespace on one bridge, and a process of its own. The origin is nginx in
another namespace, whose interface a token bucket (tc-tbf(8)) bounds. Needs root, iproute2 and
nginx; all that it makes has names of its own, and goes at the end.
"""

import argparse
import contextlib
import hashlib
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from downloader.fs.digests import (
    PIECE_BYTES,
    dump_layer,
    layer_of,
)
from downloader.fs.merkle import BLOCK_BYTES, merkle_leaves, merkle_node

PORT = 7000
NAME = "model.bin"


def sh(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)


@dataclass
class File:
    """The file that is fetched, with what the lock says about it."""

    path: Path
    size: int
    sha256: str
    root: str
    line: bytes

    @classmethod
    def make(cls, path: Path, size: int) -> "File":
        """Write a file, always the same one."""
        digest, nodes, chance = hashlib.sha256(), [], random.Random(16)
        with path.open("wb") as file:
            for start in range(0, size, PIECE_BYTES):
                piece = chance.randbytes(min(PIECE_BYTES, size - start))
                file.write(piece)
                digest.update(piece)
                leaves = merkle_leaves(memoryview(piece))
                nodes.append(merkle_node(leaves, PIECE_BYTES // BLOCK_BYTES))
        layer = layer_of(b"".join(nodes), size)
        return cls(path, size, digest.hexdigest(), layer.root, dump_layer(layer))


@dataclass
class Network:
    """Namespaces on one bridge.

    Attributes:
        prefix: Of the names of all namespaces.
        made: The namespaces so far.
    """

    prefix: str = field(default_factory=lambda: f"mm{os.getpid()}")
    made: list[str] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._add("hub")
        self.run_in("hub", "ip", "link", "add", "bridge", "type", "bridge")
        self.run_in("hub", "ip", "link", "set", "bridge", "up")
        return self

    def __exit__(self, *_: object) -> None:
        for name in self.made:
            subprocess.run(["ip", "netns", "del", self.full(name)], check=False)

    def full(self, name: str) -> str:
        """Return the name of a namespace."""
        return f"{self.prefix}-{name}"

    def inside(self, name: str) -> list[str]:
        """Return what stands before a command that runs there."""
        return ["ip", "netns", "exec", self.full(name)]

    def run_in(self, name: str, *words: str) -> None:
        """Run a command there."""
        sh(*self.inside(name), *words)

    def add(self, name: str, number: int) -> str:
        """Add a namespace, and return its address."""
        self._add(name)
        far = f"v{number}"
        sh(
            *("ip", "link", "add", "eth", "netns", self.full(name), "type", "veth", "peer", "name"),
            *(far, "netns", self.full("hub")),
        )
        self.run_in("hub", "ip", "link", "set", far, "master", "bridge", "up")
        self.run_in(name, "ip", "address", "add", f"10.99.0.{number}/24", "dev", "eth")
        self.run_in(name, "ip", "link", "set", "eth", "up")
        self.run_in(name, "ip", "link", "set", "lo", "up")
        return f"10.99.0.{number}"

    def _add(self, name: str) -> None:
        sh("ip", "netns", "add", self.full(name))
        self.made.append(name)


@contextlib.contextmanager
def origin(network: Network, folder: Path, rate: int) -> Iterator[str]:
    """Serve a folder at so many megabytes per second in all."""
    address = network.add("origin", 250)
    network.run_in(
        "origin",
        "tc",
        "qdisc",
        "add",
        "dev",
        "eth",
        "root",
        "tbf",
        *("rate", f"{8 * rate}mbit", "burst", "1mb", "latency", "200ms"),
    )
    config = folder / "nginx.conf"
    temporary = " ".join(
        f"{each}_temp_path {folder};"
        for each in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    log = f"access_log {folder}/access.log ours;"
    config.write_text(
        f"user root; daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log;"
        "events { worker_connections 1024; }"
        "http { log_format ours '$remote_addr $body_bytes_sent $http_range $msec'; sendfile on;"
        f"{log} {temporary} server {{ listen {address}:80; root {folder}; }} }}"
    )
    server = subprocess.Popen([*network.inside("origin"), "nginx", "-c", str(config)])
    try:
        while not (folder / "nginx.pid").exists():
            time.sleep(0.05)
        yield f"http://{address}/{NAME}"
    finally:
        server.terminate()
        server.wait()


def sent(folder: Path) -> int:
    """Return how many bytes of bodies the origin has sent, by its own log."""
    lines = (folder / "access.log").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines)


@dataclass
class Node:
    """One node: its project and its process."""

    name: str
    folder: Path
    address: str
    process: subprocess.Popen[bytes] | None = None
    began: float = 0.0
    seconds: float | None = None
    is_killed: bool = False

    @classmethod
    def add(cls, network: Network, work: Path, number: int) -> "Node":
        """Add a node with a namespace of its own."""
        name = f"n{number}"
        return cls(name, work / name, network.add(name, number))

    def look(self, now: float) -> None:
        """Note when its file is in place."""
        if self.process and self.seconds is None:
            if (self.folder / "models" / "big" / NAME).exists():
                self.seconds = now - self.began
            elif self.process.poll() not in (None, 0) and not self.is_killed:
                raise SystemExit((self.folder / "log").read_text())

    def start(self, network: Network, peers: Sequence[str]) -> None:
        """Begin its run."""
        env = dict(os.environ, MODELMAKE_STORE="off", MODELMAKE_LOCKED="1")
        if peers:
            env |= {
                "MODELMAKE_LISTEN": f"{self.address}:{PORT}",
                "MODELMAKE_PEERS": ",".join(peers),
            }
        with (self.folder / "log").open("wb") as log:
            words = [*network.inside(self.name), "modelmake"]
            self.began = time.monotonic()
            self.process = subprocess.Popen(words, cwd=self.folder, env=env, stdout=log, stderr=log)

    def is_right(self, file: File) -> bool:
        """Whether it has the right bytes."""
        path = self.folder / "models" / "big" / NAME
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest() == file.sha256


def project(folder: Path, file: File, url: str) -> None:
    folder.mkdir(parents=True)
    (folder / "models.yaml").write_text(
        f"models:\n  big:\n    source: http\n    files:\n      - url: {url}\n"
        f"        sha256: {file.sha256}\n"
    )
    (folder / "models.pieces").write_bytes(file.line)
    env = dict(os.environ, MODELMAKE_STORE="off", MODELMAKE_OFFLINE="1")
    words = ["modelmake", "lock"]
    subprocess.run(words, cwd=folder, env=env, check=False, capture_output=True)


def locked(folder: Path, file: File, url: str) -> None:
    """Make a project whose lock has the file's root; the file itself is at the origin only."""
    project(folder, file, url)
    lock = folder / "models.lock"
    text = lock.read_text()
    found = f'"sha256":"{file.sha256}"'
    sized = f'"size":{file.size},' if '"size"' not in text else ""
    lock.write_text(text.replace(found, f'{sized}{found},"root":"{file.root}"'))


@dataclass
class Result:
    """What a race gave."""

    copies: float
    seconds: list[float]
    cpu_seconds: float
    are_right: bool


@contextlib.contextmanager
def liar(network: Network, file: File, work: Path, peers: list[str]) -> Iterator[None]:
    """Add a peer that sends wrong bytes."""
    peers.append(f"{network.add('liar', 200)}:{PORT}")
    line, wrong = work / "line", work / "wrong"
    line.write_bytes(file.line)
    with wrong.open("wb") as stream:
        stream.truncate(file.size)
    words = [*network.inside("liar"), sys.executable, "-m", "tests.servers.lying_peer", str(line)]
    words += [file.root, str(file.size), str(wrong), peers[-1]]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout
        process.stdout.readline()
        yield
    finally:
        process.communicate()


def run(
    nodes: Sequence[Node], network: Network, peers: Sequence[str], plan: dict[str, float]
) -> None:
    """Have nodes fetch the file, and wait for all.

    Args:
        nodes: All of them.
        network: Where they are.
        peers: Whom they know.
        plan: When the node of a name is killed, or, as a negative number, begins.
    """
    start = time.monotonic()
    while any(node.seconds is None and not node.is_killed for node in nodes):
        now = time.monotonic()
        for node in nodes:
            after = plan.get(node.name, 0.0)
            if node.process is None and now - start >= -after:
                node.start(network, peers)
            elif node.process and 0 < after < now - start and not node.is_killed:
                node.process.send_signal(signal.SIGKILL)
                node.process.wait()
                node.is_killed = True
            node.look(now)
        time.sleep(0.02)
    for node in nodes:
        assert node.process
        node.process.wait()


def race(args: argparse.Namespace, file: File, folder: Path, count: int, *, fleet: bool) -> Result:
    """Have nodes fetch the file at once."""
    chance, work = random.Random(args.seed), Path(tempfile.mkdtemp(dir=folder))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with contextlib.ExitStack() as closing:
        network = closing.enter_context(Network())
        url = closing.enter_context(origin(network, folder, args.rate))
        nodes = [Node.add(network, work, number) for number in range(1, count + 1)]
        for node in nodes:
            locked(node.folder, file, url)
        peers = [f"{node.address}:{PORT}" for node in nodes] if fleet else []
        if args.liar and fleet:
            closing.enter_context(liar(network, file, work, peers))
        alone = file.size / args.rate / 1e6
        late = nodes[-1:] if args.late and fleet else []
        killed = chance.sample(nodes[: count - len(late)], args.kill if fleet else 0)
        plan = {node.name: chance.uniform(0.3, 0.9) * alone for node in killed}
        plan |= {node.name: -alone / 2 for node in late}
        run(nodes, network, peers, plan)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    left = [node for node in nodes if not node.is_killed]
    result = Result(
        copies=sent(folder) / file.size,
        seconds=sorted(node.seconds or 0.0 for node in left),
        cpu_seconds=after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        are_right=all(node.is_right(file) for node in left),
    )
    for node in nodes if args.logs else []:
        print(f"--- {node.name}\n{(node.folder / 'log').read_text()}")
    if args.requests:
        print((folder / "access.log").read_text())
    (folder / "access.log").unlink()
    shutil.rmtree(work)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--mib", type=int, default=512, help="size of the file")
    parser.add_argument("--rate", type=int, default=50, help="of the origin, in MB/s")
    parser.add_argument("--liar", action="store_true", help="one peer more sends wrong bytes")
    parser.add_argument("--kill", type=int, default=0, help="so many nodes are killed")
    parser.add_argument("--late", action="store_true", help="one node begins at half time")
    parser.add_argument("--plain", action="store_true", help="also as many runs without peers")
    parser.add_argument("--logs", action="store_true", help="print what each node said")
    parser.add_argument("--requests", action="store_true", help="print the origin's log")
    parser.add_argument("--seed", type=int, default=16)
    parser.add_argument("--folder", type=Path, default=None)
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything is cleaned up
    with tempfile.TemporaryDirectory(dir=args.folder, prefix="fleet-") as name:
        folder = Path(name)
        file = File.make(folder / NAME, args.mib << 20)
        print(
            f"{args.mib} MiB, origin {args.rate} MB/s: {file.size / args.rate / 1e6:.1f} s a copy"
        )
        for count in args.nodes:
            for is_fleet in [True, False] if args.plain else [True]:
                found = race(args, file, folder, count, fleet=is_fleet)
                print(
                    f"{'fleet' if is_fleet else 'plain'} {count} nodes:"
                    f" origin sent {found.copies:.3f} copies, first {found.seconds[0]:.1f} s,"
                    f" last {found.seconds[-1]:.1f} s, CPU {found.cpu_seconds:.1f} s,"
                    f" {'all right' if found.are_right else 'WRONG BYTES'}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
