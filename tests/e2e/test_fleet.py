"""Machines that fill from each other, as processes on loopback, and what they open to whom."""

import importlib.util
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event

import pytest
import yaml

from downloader.fs.digests import dump_layer
from downloader.settings import VARIABLES
from downloader.tasks import task_serve
from downloader.transfer.swarm import node_name, peer_addresses
from tests.docs.documents import blocks, page
from tests.e2e.content import bytes_of, sha256
from tests.e2e.project import REPOSITORY, Project, finish
from tests.e2e.watching import wait_until
from tests.examples import GIVEN, IN_CI
from tests.servers.faults import ranges, timing
from tests.servers.faulty import FaultyServer
from tests.transfer.test_piece_verifier import layer_over

PIECE = 256 << 10
CONTENT = bytes_of("fleet", 20 << 20) + b"the last piece is short"
LAYER = layer_over(CONTENT, PIECE)
PATH = "/big.bin"
LISTENING = "0A"
"""The state of a socket that listens, in /proc/net/tcp (proc(5))."""

needs_libtorrent = pytest.mark.skipif(
    importlib.util.find_spec("libtorrent") is None and not GIVEN.get(IN_CI),
    reason="libtorrent is not installed: pip install 'modelmake[fleet]'",
)

needs_proc = pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="no /proc/net/tcp here")


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


class Fleet:
    """Projects of one lock, each with a store and an address of its own."""

    def __init__(self, folder: Path, server: FaultyServer, count: int, **keys: object) -> None:
        self.server = server
        server.put(PATH, CONTENT)
        self.addresses = [f"127.0.0.1:{free_port()}" for _ in range(count)]
        peers = folder / "nodes.txt"
        peers.write_text("# all nodes\n" + "\n".join(self.addresses))
        self.nodes = [
            Project(folder / f"node{number}", MODELMAKE_STORE="off", MODELMAKE_PEERS=str(peers))
            for number in range(count)
        ]
        file = {"url": server.url(PATH), "sha256": sha256(CONTENT)}
        first, *others = self.nodes
        first.declare({"m": {"source": "http", "files": [file], **keys}})
        assert first.doit("lock", MODELMAKE_PEERS="").status == 0
        text, pin = first.lock.read_text(), f'"sha256":"{sha256(CONTENT)}"'
        first.lock.write_text(text.replace(pin, f'{pin},"root":"{LAYER.root}"'))
        (first.folder / "models.pieces").write_bytes(dump_layer(LAYER))
        for node in others:
            for name in ("models.yaml", "models.lock", "models.pieces"):
                shutil.copy(first.folder / name, node.folder)

    def start(self, number: int, *words: str) -> "subprocess.Popen[str]":
        """Start a run that listens."""
        return self.nodes[number].start(*words, MODELMAKE_LISTEN=self.addresses[number])

    def target(self, number: int) -> Path:
        """Return where the file goes on a node."""
        return self.nodes[number].target("m", "big.bin")

    def fill(self, number: int) -> None:
        """Have a node get the file from the provider alone."""
        assert self.nodes[number].doit(MODELMAKE_PEERS="").status == 0

    @contextmanager
    def serving(self, number: int) -> Iterator["subprocess.Popen[str]"]:
        """Run `doit serve` on a node until the block ends."""
        process = self.nodes[number].start("serve", "--listen", self.addresses[number])
        try:
            assert process.stdout
            first = process.stdout.readline()
            assert first.startswith("ready: sharing 1 file (21.0 MB) at"), finish(process).text
            yield process
        finally:
            process.terminate()
            ended = finish(process)
        assert ended.status == 143, ended.text  # as docs/fleet.md says; libtorrent may abort it

    @property
    def sent(self) -> int:
        """How many bytes of the file the provider sent so far."""
        return sum(seen.body_bytes_sent for seen in self.server.requests if seen.path == PATH)


@needs_proc
@needs_libtorrent
def test_runs_that_start_at_once_take_little_more_than_one_copy(
    tmp_path: Path, server: FaultyServer
) -> None:
    """Each asks for some of it, and has the rest from the others."""
    fleet, are_there = Fleet(tmp_path, server, 3), Event()
    silent, slow = timing.stall_before_headers(are_there), timing.drip(64 << 10, 0.02)
    server.always(PATH, lambda seen, reply: slow(seen, silent(seen, reply)))
    started = [fleet.start(number) for number in range(3)]
    wait_until(lambda: all(map(listening, started)))
    are_there.set()  # else one that starts early may have all of it before another one is there
    runs = [finish(each) for each in started]
    assert [run.status for run in runs] == [0, 0, 0], runs
    assert all(fleet.target(number).read_bytes() == CONTENT for number in range(3))
    assert all("came from peers" in run.stderr for run in runs)
    assert fleet.sent < 2 * len(CONTENT)


@needs_libtorrent
def test_what_a_node_serves_is_not_asked_of_the_provider(
    tmp_path: Path, server: FaultyServer
) -> None:
    """A run that listens nowhere takes all of it, though the provider is down."""
    fleet = Fleet(tmp_path, server, 2)
    fleet.fill(0)
    server.always(PATH, timing.drop_before_status())
    with fleet.serving(0):
        run = fleet.nodes[1].doit()
    assert run.status == 0, run.text
    assert "m/big.bin: 21.0 MB of 21.0 MB came from peers" in run.stderr
    assert fleet.target(1).read_bytes() == CONTENT


@needs_libtorrent
def test_a_blob_of_the_store_is_served(tmp_path: Path, server: FaultyServer) -> None:
    """Although no target of the project is there."""
    fleet = Fleet(tmp_path, server, 2)
    fleet.nodes[0].variables["MODELMAKE_STORE"] = str(tmp_path / "store")
    fleet.fill(0)
    shutil.rmtree(fleet.nodes[0].folder / "models")
    server.always(PATH, timing.drop_before_status())
    with fleet.serving(0):
        assert fleet.nodes[1].doit().status == 0
    assert fleet.target(1).read_bytes() == CONTENT


@needs_libtorrent
def test_a_served_file_is_never_written(tmp_path: Path, server: FaultyServer) -> None:
    """One that was changed unnoticed is not sent, and not repaired from a peer either."""
    fleet = Fleet(tmp_path, server, 2)
    fleet.fill(0)
    target = fleet.target(0)
    status = target.stat()
    changed = bytearray(CONTENT)
    changed[5 * PIECE : 6 * PIECE] = bytes(PIECE)
    target.chmod(0o644)
    with target.open("r+b") as file:
        file.write(changed)
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
    with fleet.serving(0):
        assert finish(fleet.start(1)).status == 0
    assert fleet.target(1).read_bytes() == CONTENT
    assert target.read_bytes() == bytes(changed)


@needs_libtorrent
def test_a_peer_with_wrong_bytes_is_named_and_left(tmp_path: Path, server: FaultyServer) -> None:
    """The file is right, and the peer's name is told once."""
    fleet = Fleet(tmp_path, server, 2)
    line, wrong = tmp_path / "line", tmp_path / "wrong"
    line.write_bytes(dump_layer(LAYER))
    wrong.write_bytes(bytes(len(CONTENT)))
    liar = subprocess.Popen(
        [
            *(sys.executable, "-m", "tests.servers.lying_peer", str(line), LAYER.root),
            *(str(len(CONTENT)), str(wrong), fleet.addresses[1]),
        ],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert liar.stdout
        assert liar.stdout.readline() == "lies\n"
        run = finish(fleet.start(0))
    finally:
        liar.communicate()
    assert run.status == 0, run.text
    assert fleet.target(0).read_bytes() == CONTENT
    told = [each for each in run.stderr.splitlines() if "left the peer" in each]
    why = "because pieces that it took part in were wrong"
    assert told == [f"m/big.bin: left the peer {fleet.addresses[1]}, {why}"]


@needs_libtorrent
def test_a_peer_that_is_killed_changes_nothing(tmp_path: Path, server: FaultyServer) -> None:
    """Its part comes from the provider, as does all that it had."""
    fleet = Fleet(tmp_path, server, 2)
    server.always(PATH, timing.drip(64 << 10, 0.02))
    other = fleet.start(0)
    left = fleet.start(1)
    wait_until(lambda: any(seen.body_bytes_sent > PIECE for seen in server.requests))
    other.send_signal(signal.SIGKILL)
    other.communicate()
    run = finish(left)
    assert run.status == 0, run.text
    assert fleet.target(1).read_bytes() == CONTENT
    assert fleet.nodes[0].doit(MODELMAKE_PEERS="").status == 0
    assert fleet.target(0).read_bytes() == CONTENT


@needs_libtorrent
def test_with_no_peer_there_all_comes_from_the_provider(
    tmp_path: Path, server: FaultyServer
) -> None:
    """As one copy, and without a word."""
    fleet = Fleet(tmp_path, server, 3)
    run = finish(fleet.start(0))
    assert run.status == 0, run.text
    assert fleet.target(0).read_bytes() == CONTENT
    assert fleet.sent < 1.5 * len(CONTENT)
    assert "peer" not in run.text


@needs_libtorrent
def test_a_server_without_ranges_gives_the_whole(tmp_path: Path, server: FaultyServer) -> None:
    """The exchange ends, and the file comes as usual."""
    fleet = Fleet(tmp_path, server, 2)
    server.always(PATH, ranges.ignored)
    run = finish(fleet.start(0))
    assert run.status == 0, run.text
    assert fleet.target(0).read_bytes() == CONTENT


@needs_libtorrent
def test_a_file_without_a_root_says_why_it_is_not_shared(
    tmp_path: Path, server: FaultyServer
) -> None:
    """And what to do about it."""
    fleet = Fleet(tmp_path, server, 2)
    node = fleet.nodes[0]
    node.lock.write_text(node.lock.read_text().replace(f',"root":"{LAYER.root}"', ""))
    run = finish(fleet.start(0))
    assert run.status == 0
    why = "models.lock has no root of this file; `doit lock --pieces` writes it where the file is"
    assert f"not shared with peers: {why}" in run.stderr


@needs_libtorrent
@pytest.mark.parametrize("is_allowed", [False, True])
def test_a_gated_model_is_shared_only_if_that_is_said(
    tmp_path: Path, server: FaultyServer, is_allowed: bool
) -> None:
    """What the lock marks is neither served nor taken without `share: true`."""
    fleet = Fleet(tmp_path, server, 2, share=is_allowed)
    for node in fleet.nodes:
        text = node.lock.read_text()
        node.lock.write_text(text.replace('"source": "http",', '"source": "http", "gated": true,'))
    fleet.fill(0)
    if is_allowed:
        with fleet.serving(0):
            run = fleet.nodes[1].doit()
        assert "21.0 MB came from peers" in run.stderr, run.text
        return
    served = fleet.nodes[0].doit("serve", "--listen", fleet.addresses[0])
    assert served.status == 1
    assert "m is gated or private; `share: true` in models.yaml allows it" in served.stderr
    assert "not shared with peers: m is gated" in fleet.nodes[1].doit().stderr


def listening(process: "subprocess.Popen[str]") -> set[str]:
    """Return where a process listens for TCP, as /proc/net/tcp has it."""
    own = set()
    for descriptor in Path(f"/proc/{process.pid}/fd").iterdir():
        link = str(descriptor.readlink()) if descriptor.is_symlink() else ""
        own |= {link.removeprefix("socket:[").removesuffix("]")} if "socket:" in link else set()
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{process.pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == LISTENING and fields[9] in own:
                found.add(fields[1])
    return found


@needs_proc
@needs_libtorrent
@pytest.mark.parametrize("has_peers", [False, True])
def test_nothing_listens_unless_it_is_asked_to(
    tmp_path: Path, server: FaultyServer, has_peers: bool
) -> None:
    """Neither a plain run nor one that has peers."""
    fleet = Fleet(tmp_path, server, 2)
    server.always(PATH, timing.drip(64 << 10, 0.05))
    node = fleet.nodes[0]
    process = node.start() if has_peers else node.start(MODELMAKE_PEERS="")
    try:
        wait_until(lambda: any(seen.body_bytes_sent for seen in server.requests))
        assert listening(process) == set()
    finally:
        process.kill()
        process.communicate()


@needs_proc
@needs_libtorrent
def test_it_listens_on_the_named_address_alone(tmp_path: Path, server: FaultyServer) -> None:
    """One socket, at 127.0.0.1 and the port."""
    fleet = Fleet(tmp_path, server, 2)
    fleet.fill(0)
    with fleet.serving(0) as process:
        assert listening(process) == {f"0100007F:{int(fleet.addresses[0].split(':')[1]):04X}"}


@needs_libtorrent
def test_who_is_not_listed_is_not_let_in(tmp_path: Path, server: FaultyServer) -> None:
    """A node whose address is not in the list gets nothing."""
    fleet = Fleet(tmp_path, server, 2)
    fleet.fill(0)
    (tmp_path / "nodes.txt").write_text("192.0.2.1:7000")
    with fleet.serving(0):
        run = fleet.nodes[1].doit(MODELMAKE_PEERS=fleet.addresses[0])
    assert run.status == 0
    assert "came from peers" not in run.stderr
    assert fleet.target(1).read_bytes() == CONTENT


@needs_libtorrent
@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"MODELMAKE_LISTEN": "0.0.0.0:7000"}, "which is every address of this machine"),
        ({"MODELMAKE_LISTEN": "127.0.0.1:7000", "MODELMAKE_PEERS": ""}, "MODELMAKE_PEERS is not"),
        ({"MODELMAKE_LISTEN": "127.0.0.1"}, "which is not HOST:PORT"),
        ({"MODELMAKE_LISTEN": "192.0.2.1:7000"}, "Cannot listen on 192.0.2.1:7000"),
        ({"MODELMAKE_PEERS": "no/nodes.txt"}, "which is neither a file nor HOST:PORT"),
        ({"MODELMAKE_PEERS": "a:0"}, "which is not HOST:PORT"),
        ({"MODELMAKE_PEERS": "127.0.0.1:0000080000"}, "which is not HOST:PORT"),
        ({"MODELMAKE_PEERS": "fd00::1:7000"}, "which is not HOST:PORT"),
        ({"MODELMAKE_LISTEN": ","}, "MODELMAKE_LISTEN names no address"),
        ({"MODELMAKE_LISTEN": "127.0.0.1:7000,127.0.0.1:7001"}, "MODELMAKE_LISTEN has several"),
        ({"MODELMAKE_PEERS": " ,"}, "MODELMAKE_PEERS names no address"),
        ({"MODELMAKE_PEERS": "none.txt"}, "MODELMAKE_PEERS: none.txt names no address"),
    ],
)
def test_a_wrong_address_is_told(
    tmp_path: Path, server: FaultyServer, variables: dict[str, str], told: str
) -> None:
    """With what to write; nothing is downloaded."""
    node = Fleet(tmp_path, server, 1).nodes[0]
    (node.folder / "none.txt").write_text("# nobody yet\n")
    run = node.doit(**variables)
    assert run.status == 2
    assert told in run.stderr, run.text
    assert "Traceback" not in run.text


@needs_libtorrent
@pytest.mark.parametrize(
    ("listen", "peers", "told"),
    [
        ("127.0.0.1", "a:1", "--listen has '127.0.0.1'"),
        (",", "a:1", "--listen names no address"),
        ("127.0.0.1:7000,127.0.0.1:7001", "a:1", "--listen has several addresses"),
        ("0.0.0.0:7000", "a:1", "--listen is '0.0.0.0'"),
        ("no-such-host.invalid:7000", "a:1", "--listen names 'no-such-host.invalid'"),
        ("127.0.0.1:7000", ",", "--peers names no address"),
        ("127.0.0.1:7000", " ", "--peers names no address"),
        ("127.0.0.1:7000", "none.txt", "--peers: none.txt names no address"),
        ("127.0.0.1:7000", "nonsense", "--peers has 'nonsense'"),
        ("127.0.0.1:7000", "a:0", "--peers has 'a:0'"),
    ],
)
def test_a_wrong_option_is_named_as_it_was_typed(
    tmp_path: Path, server: FaultyServer, listen: str, peers: str, told: str
) -> None:
    """Not as the variable that means the same."""
    node = Fleet(tmp_path, server, 1).nodes[0]
    (node.folder / "none.txt").write_text("\n# nobody yet\n")
    run = node.doit("serve", f"--listen={listen}", f"--peers={peers}")
    assert run.status == 2, run.text
    assert told in run.stderr, run.text
    assert "MODELMAKE_" not in run.text
    assert "ready:" not in run.text


def test_a_list_of_peers_may_be_longer_than_the_name_of_a_file() -> None:
    """Forty nodes, each by its address."""
    wanted = [(f"127.0.0.{number}", 7000) for number in range(40)]
    assert peer_addresses(",".join(map(node_name, wanted)), "MODELMAKE_PEERS") == wanted


CLOSED_BY_ITSELF = """
import atexit, sys, threading, types
atexit.register(lambda: print(*(each.name for each in threading.enumerate())))  # runs last
from downloader.errors import Stop
from downloader.operations.serve import Server
from downloader.settings import Settings
project = types.SimpleNamespace(settings=Settings())
server = Server(project, None, sys.argv[1], "127.0.0.1:1", Stop())
print(*(each.name for each in threading.enumerate()))
"""


@needs_libtorrent
def test_a_process_does_not_end_before_libtorrent_does(tmp_path: Path) -> None:
    """Else it may be aborted: Ctrl-C ends `doit serve` while one of its threads closes."""
    run = subprocess.run(
        [sys.executable, "-c", CLOSED_BY_ITSELF, f"127.0.0.1:{free_port()}"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=True,
    )
    before, after = run.stdout.splitlines()
    assert "modelmake-peers" in before
    assert "modelmake-peers" not in after


@needs_libtorrent
def test_a_file_of_peers_is_found_from_where_it_was_typed(
    tmp_path: Path, server: FaultyServer
) -> None:
    """`modelmake` runs in any folder of the project."""
    node = Fleet(tmp_path, server, 1).nodes[0]
    node.cwd = node.folder / "scripts"
    node.cwd.mkdir()
    (node.cwd / "none.txt").write_text("# nobody yet")
    run = node.modelmake("serve", "--listen=127.0.0.1:7000", "--peers=none.txt")
    assert run.status == 2
    assert "none.txt names no address" in run.stderr, run.text


def test_a_missing_extra_is_one_line(tmp_path: Path, server: FaultyServer) -> None:
    """It says what to install."""
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "libtorrent.py").write_text("raise ImportError('no libtorrent')")
    node = Fleet(tmp_path, server, 1).nodes[0]
    run = node.doit(PYTHONPATH=str(broken))
    assert run.status == 2
    assert "pip install 'modelmake[fleet]'`, or unset" in run.stderr, run.text
    typed = ("serve", "--listen=127.0.0.1:7000", "--peers=127.0.0.1:7001")
    run = node.doit(*typed, MODELMAKE_PEERS="", PYTHONPATH=str(broken))
    assert run.status == 2
    assert "pip install 'modelmake[fleet]'`." in run.stderr, run.text
    assert set(VARIABLES) >= {"MODELMAKE_LISTEN", "MODELMAKE_PEERS", "MODELMAKE_UPLOAD_RATE"}


@pytest.mark.parametrize("words", [("serve",), ("serve", "--listen", "127.0.0.1:7000")])
def test_serve_says_what_it_needs(
    tmp_path: Path, server: FaultyServer, words: tuple[str, ...]
) -> None:
    """An address to listen on, and peers."""
    run = Fleet(tmp_path, server, 1).nodes[0].doit(*words, MODELMAKE_PEERS="")
    assert run.status == 2
    assert f"{'--peers' if len(words) > 1 else '--listen'} is required" in run.stderr


@needs_libtorrent
def test_if_there_is_nothing_to_share_it_says_why(tmp_path: Path, server: FaultyServer) -> None:
    """What is here and why it is not shared, or that nothing is here."""
    fleet = Fleet(tmp_path, server, 1)
    words = ("serve", "--listen", fleet.addresses[0])
    run = fleet.nodes[0].doit(*words)
    assert run.status == 1
    assert "no file over 16 MiB is here" in run.stderr
    fleet.fill(0)
    (fleet.nodes[0].folder / "models.pieces").unlink()
    run = fleet.nodes[0].doit(*words)
    assert run.status == 1
    assert run.error_lines == [
        (
            "not shared: m/big.bin: models.pieces has no layer of this file; `doit lock --pieces` "
            "writes it where the file is"
        ),
        "failed serve: There is nothing to share; the lines above say why.",
        "  Do what they say, then run the same command again.",
    ]


SHELL = blocks(page("fleet.md"), "sh")
TEXT = blocks(page("fleet.md"), "text")
YAML = blocks(page("fleet.md"), "yaml")
SSH = """#!/bin/sh
# Stands for ssh: machine and command, with a folder for each address.
port=${3##*LISTEN=127.0.0.1:}
cd "$MACHINES/${port%% *}" && exec sh -c "$3"
"""


def scripts(folder: Path, **texts: str) -> dict[str, str]:
    """Write scripts, and return the variables that have them found first, and doit."""
    folder.mkdir()
    texts["doit"] = f'#!/bin/sh\nexec {sys.executable} -m doit "$@"\n'
    for name, text in texts.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}


@needs_libtorrent
def test_the_loop_of_the_page_fills_all_machines(tmp_path: Path, server: FaultyServer) -> None:
    """docs/fleet.md has it; ssh is a script that goes into another folder."""
    fleet = Fleet(tmp_path, server, 2)
    server.always(PATH, timing.drip(64 << 10, 0.02))
    for node, address in zip(fleet.nodes, fleet.addresses, strict=True):
        machine = tmp_path / "machines" / address.rpartition(":")[2]
        machine.mkdir(parents=True)
        (machine / "project").symlink_to(node.folder)
        shutil.copy(tmp_path / "nodes.txt", node.folder)
    nodes = tmp_path / "list" / "nodes.txt"
    nodes.parent.mkdir()
    nodes.write_text("".join(f"{address}\n" for address in fleet.addresses))
    own = {**scripts(tmp_path / "bin", ssh=SSH), "MACHINES": str(tmp_path / "machines")}
    shell = subprocess.run(
        ["sh", "-ec", SHELL[1]],
        cwd=nodes.parent,
        env=fleet.nodes[0].environment(own),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert shell.returncode == 0, shell.stderr
    assert all(fleet.target(number).read_bytes() == CONTENT for number in range(2)), shell.stderr
    assert "came from peers" in shell.stderr


@needs_libtorrent
def test_the_first_commands_of_the_page_work(tmp_path: Path, server: FaultyServer) -> None:
    """But for the installation; the addresses are those of this machine."""
    fleet = Fleet(tmp_path, server, 2)
    fleet.fill(0)
    text = SHELL[0].replace("node1:7000,node2:7000", ",".join(fleet.addresses))
    text = text.replace("10.0.0.1:7000", fleet.addresses[0])
    own = scripts(tmp_path / "bin", pip="#!/bin/sh\n")
    shell = subprocess.run(
        ["sh", "-ec", text],
        cwd=fleet.nodes[0].folder,
        env=fleet.nodes[0].environment(own),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert shell.returncode == 0, shell.stderr
    assert "1 large file has its pieces in models.pieces" in shell.stdout


def test_the_page_names_options_and_variables_that_exist() -> None:
    """In the blocks that need a cluster, or run until they are stopped."""
    words = shlex.split(TEXT[0])
    assert words[:2] == ["doit", "serve"]
    options = {each["long"] for each in task_serve().params}
    assert {word.removeprefix("--") for word in words if word.startswith("--")} == options
    for text in (TEXT[1], YAML[0]):
        assert set(re.findall(r"MODELMAKE_\w+", text)) == {"MODELMAKE_LISTEN", "MODELMAKE_PEERS"}
    service, daemons = yaml.safe_load_all(YAML[0])
    assert service["spec"]["selector"] == daemons["spec"]["selector"]["matchLabels"]
