"""Share verified files with named peers, and take pieces from them, by BitTorrent v2 (BEP 52).

libtorrent does that, in one session for the process. It is imported only if MODELMAKE_PEERS or
`doit serve` names peers, and talks to nobody else: no DHT, no tracker, no local discovery, no port
mapping, no peer exchange, and an IP filter that lets in the peers' addresses only. It listens on
the one address that was named, or not at all. What a provider sends is fetched by our own engine
(_exchange.py says which pieces), and pieces from peers are hashed by our own verifier before they
count.

Every node makes the same torrent from the root and the piece layer that models.lock and
models.pieces have, so no torrent file is handed around. A file that is only shared is in
libtorrent's seed mode, in which it hashes each piece before it sends it for the first time, and in
upload mode, in which it never writes.
"""

import hashlib
import os
import secrets
import socket
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from downloader import __version__
from downloader.errors import ModelmakeError, SettingError, Stop, shown
from downloader.fs.digests import Layer
from downloader.fs.rooted_path import RootedPath
from downloader.progress.events import Observer
from downloader.progress.streams import tell
from downloader.settings import LISTEN, PEERS, Address, Settings, addresses_in
from downloader.transfer._exchange import Exchange, Torrent

if TYPE_CHECKING:
    from downloader.transfer._concurrency import Throttle
    from downloader.transfer.partial import Partial

TICK_SECONDS = 0.1
RESOLVE_SECONDS = 5.0
"""How often peers are looked up again: nodes that start late get their addresses late."""
DIAL_SECONDS = 1.0
MOST_DIALED = 25
"""Peers that a node calls for one file; as many again may call it. In a random graph of so many
edges each, every node of a thousand is three steps away at most."""
QUIET_SECONDS = 3.0
"""A run that is done and shares on waits no longer than that for peers that take nothing."""
LISTEN_SECONDS = 5.0

_ANY_IPV4 = "0.0.0.0", "255.255.255.255"  # noqa: S104 - ranges for the filters
_ANY_IPV6 = "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"

_FIXED = {
    "user_agent": f"modelmake/{__version__}",
    "enable_dht": False,
    "enable_lsd": False,
    "enable_upnp": False,
    "enable_natpmp": False,
    "enable_ip_notifier": False,
    "enable_incoming_utp": False,
    "enable_outgoing_utp": False,
    "listen_system_port_fallback": False,
    "max_retry_port_bind": 0,
    "in_enc_policy": 2,  # none: obfuscation is no secrecy (docs/fleet.md)
    "out_enc_policy": 2,
    "allow_multiple_connections_per_ip": True,  # several nodes on one machine
    "close_redundant_connections": False,
    "unchoke_slots_limit": -1,
    "connections_limit": 500,
    "connection_speed": 200,
    "min_reconnect_time": 1,
    "max_failcount": 1000,
    "peer_connect_timeout": 5,
    "request_timeout": 10,
    "piece_timeout": 10,
    "peer_timeout": 30,
    "aio_threads": 4,
    "suggest_mode": 0,
    "auto_sequential": False,
    "dont_count_slow_torrents": True,
    "alert_queue_size": 20000,
}


def node_name(address: Address) -> str:
    """Return what all nodes call the node at an address."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def peer_id_of(name: str) -> bytes:
    """Return the peer id (BEP 20) of a node, from which the others know it."""
    return b"-MM0100-" + hashlib.sha256(name.encode()).hexdigest()[:12].encode()


def torrent_of(layer: Layer) -> dict[bytes, Any]:
    """Return the torrent of one file: v2 only, private, named by its root."""
    root = bytes.fromhex(layer.root)
    name = layer.root.encode()
    info = {
        b"file tree": {name: {b"": {b"length": layer.size, b"pieces root": root}}},
        b"meta version": 2,
        b"name": name,
        b"piece length": layer.piece_bytes,
        b"private": 1,
    }
    return {b"info": info, b"piece layers": {root: layer.nodes}}


def open_swarm(settings: Settings, stop: Stop) -> "Swarm | None":
    """Return the swarm that the environment asks for; None if it names no peers.

    Raises:
        SettingError: libtorrent is not installed, or an address cannot be used.
    """
    if settings.listen and not settings.peers:
        raise SettingError(
            f"{LISTEN} is set and {PEERS} is not: only peers that are named may connect.",
            hint=f"Set {PEERS} to their addresses, such as 10.0.0.1:7000,10.0.0.2:7000.",
        )
    if not settings.peers or settings.is_offline:
        return None
    return Swarm(settings, stop)


def _libtorrent(peers_name: str) -> Any:  # noqa: ANN401 - a module that need not be there
    try:
        import libtorrent  # noqa: PLC0415 - an extra, and only if peers are named
    except ImportError as error:
        unset = f", or unset {PEERS} and {LISTEN}" * (peers_name == PEERS)
        raise SettingError(
            f"Sharing with peers needs libtorrent, which cannot be imported: {error}.",
            hint=f"Run `pip install 'modelmake[fleet]'`{unset}.",
        ) from None
    return libtorrent


class Swarm:
    """This process among its peers; safe to share between threads.

    Args:
        settings: Who the peers are, where to listen, and how fast to send.
        stop: Ends every wait.
        listen_name: What said where to listen, for messages.
        peers_name: What named the peers, for messages.

    Attributes:
        me: This node's name; one of its own if it does not listen.
        overwriting: How pieces are handed to libtorrent.

    Raises:
        SettingError: libtorrent is missing, or the address cannot be listened on.
    """

    def __init__(
        self,
        settings: Settings,
        stop: Stop,
        *,
        listen_name: str = LISTEN,
        peers_name: str = PEERS,
    ) -> None:
        self._lt, self._settings, self._stop = _libtorrent(peers_name), settings, stop
        self._peers_name = peers_name
        self.overwriting = self._lt.add_piece_flags_t.overwrite_existing
        self._own = _own_address(settings.listen, listen_name) if settings.listen else None
        self.me = node_name(self._own) if self._own else f"guest-{secrets.token_hex(6)}"
        self._addresses: frozenset[Address] = frozenset()
        self._by_id: dict[bytes, str] = {}
        self._exchanges: dict[str, Exchange] = {}
        self._shared: dict[str, Torrent] = {}
        self._blamed: set[str] = set()
        self._changing = threading.RLock()
        self._is_closed, self._closing = threading.Event(), threading.Lock()
        self._listening = threading.Event()
        self._refusal = ""
        self._resolve()
        self._session = self._opened()
        self._threads = [
            threading.Thread(target=act, name=name, daemon=True)
            for act, name in ((self._run, "modelmake-peers"), (self._look_up, "modelmake-names"))
        ]
        for thread in self._threads:
            thread.start()
        if self._own:
            self._await_listening()

    @property
    def nodes(self) -> list[str]:
        """The names of all nodes, this one included if it listens."""
        own = {self._own} if self._own else set()
        return sorted(map(node_name, self._addresses | own))

    def join(
        self, partial: "Partial", layer: Layer, observer: Observer, throttle: "Throttle"
    ) -> Exchange | None:
        """Begin to exchange pieces of a file that is being fetched; None if it is shared already.

        Raises:
            StoreError: What an earlier run left cannot be read.
            Interrupted: The user stopped the run.
        """
        with self._changing:
            if layer.root in self._exchanges or layer.root in self._shared:
                return None
        exchange = Exchange(partial, layer, observer, throttle, self)
        exchange.prepare()
        with self._changing:
            torrent = self._added(layer, partial.path, exchange.have_flags())
            if torrent is None:
                return None
            self._exchanges[layer.root] = exchange
            exchange.begin(torrent, self.nodes)
        self._dial(torrent)
        return exchange

    def share(self, path: Path | RootedPath, layer: Layer) -> bool:
        """Send a verified file to peers that ask for it; returns whether it was not shared yet."""
        with self._changing:
            if layer.root in self._exchanges or layer.root in self._shared:
                return False
            torrent = self._added(layer, path, None)
            if torrent is None:
                return False
            self._shared[layer.root] = torrent
        return True

    def moved(self, exchange: Exchange, target: RootedPath) -> None:
        """Go on sharing a file that was put in place."""
        lacking = exchange.lacking()
        exchange.leave()
        with self._changing:
            self._exchanges.pop(exchange.root, None)
        if self.share(target, exchange.layer):
            torrent = self._shared[exchange.root]
            torrent.await_again(lacking)
            self._dial(torrent)

    def left(self, exchange: Exchange) -> None:
        """Take no further part in the exchange of a file."""
        exchange.leave()
        with self._changing:
            self._exchanges.pop(exchange.root, None)

    def remove(self, torrent: Torrent) -> None:
        """End a torrent."""
        self._session.remove_torrent(torrent.handle)

    def name_of(self, peer_id: bytes) -> str:
        """Return the name of a node by its peer id; a guest is called by that."""
        return self._by_id.get(peer_id) or peer_id.hex()

    def linger(self, most_seconds: float) -> None:
        """Wait until connected peers have among them what this node has, and no longer than useful.

        Raises:
            Interrupted: The user stopped the run.
        """
        until, is_told = time.monotonic() + most_seconds, False
        sent, changed = -1, time.monotonic()
        while (now := time.monotonic()) < until:
            needing = sum(torrent.needing_peers() for torrent in list(self._shared.values()))
            if not needing:
                return
            total = sum(torrent.sent_bytes() for torrent in list(self._shared.values()))
            if total != sent:
                sent, changed = total, now
            if now - changed > QUIET_SECONDS:
                return
            if not is_told:
                tell("Sharing until the peers have what only this node has; Ctrl-C ends that.")
                is_told = True
            self._stop.wait(TICK_SECONDS * 2)

    def close(self) -> None:
        """End all sharing."""
        self._is_closed.set()
        with self._closing:
            if self._session is not None:
                self._threads[0].join()
                self._session.pause()
                self._session = None

    def _opened(self) -> Any:  # noqa: ANN401 - of libtorrent, which has no types here
        lt, settings = self._lt, self._settings
        wishes: dict[str, Any] = dict(_FIXED)
        wishes["listen_interfaces"] = node_name(self._own) if self._own else ""
        wishes["peer_fingerprint"] = peer_id_of(self.me)
        wishes["upload_rate_limit"] = settings.upload_rate or 0
        wishes["download_rate_limit"] = settings.limit_rate or 0
        kinds = lt.alert_category
        wishes["alert_mask"] = (
            kinds.error | kinds.status | kinds.storage | kinds.piece_progress | kinds.peer
        )
        session = lt.session(wishes)
        session.set_ip_filter(self._filter())
        everybody = lt.ip_filter()  # peers in the local network obey the limits too
        group = 1 << session.global_peer_class_id
        everybody.add_rule(*_ANY_IPV4, group)
        everybody.add_rule(*_ANY_IPV6, group)
        session.set_peer_class_filter(everybody)
        return session

    def _filter(self) -> Any:  # noqa: ANN401
        rules = self._lt.ip_filter()
        rules.add_rule(*_ANY_IPV4, 1)
        rules.add_rule(*_ANY_IPV6, 1)
        for host in {host for host, _ in self._addresses}:
            rules.add_rule(host, host, 0)
        return rules

    def _added(
        self, layer: Layer, path: Path | RootedPath, have: list[bool] | None
    ) -> Torrent | None:
        """Add a torrent of a file that grows, or, if all of it is there, of one to send only."""
        lt, flags = self._lt, self._lt.torrent_flags
        wanted = lt.load_torrent_buffer(lt.bencode(torrent_of(layer)))
        place = Path(str(path)).absolute()
        wanted.save_path, wanted.renamed_files = str(place.parent), {0: place.name}
        off = flags.auto_managed | flags.paused
        on = flags.disable_dht | flags.disable_lsd | flags.disable_pex | flags.apply_ip_filter
        if have is None:
            on |= flags.seed_mode | flags.upload_mode | flags.default_dont_download
        else:
            on |= flags.no_verify_files
            wanted.have_pieces = have
        wanted.flags = (wanted.flags | on) & ~off
        try:
            handle = self._session.add_torrent(wanted)
        except RuntimeError as error:
            tell(f"{place.name} is not shared with peers: {error}")
            return None
        handle.set_max_connections(2 * MOST_DIALED + 10)
        return Torrent(handle, self, layer)

    def _await_listening(self) -> None:
        self._listening.wait(LISTEN_SECONDS)
        if self._refusal:
            self.close()
            raise SettingError(
                f"Cannot listen on {self.me}: {self._refusal}.",
                hint="Name an address of this machine and a port that nobody else has.",
            )

    def _look_up(self) -> None:
        """Look up the peers from time to time, which may take long."""
        while not self._is_closed.wait(RESOLVE_SECONDS):
            before = self._addresses
            try:
                self._resolve()
            except ModelmakeError:  # a file that is just being written; the first reading counted
                continue
            if self._addresses == before:
                continue
            with self._closing:
                if self._session is None:  # the look-up took so long
                    return
                self._session.set_ip_filter(self._filter())
            with self._changing:
                for exchange in self._exchanges.values():
                    exchange.set_nodes(self.nodes)

    def _resolve(self) -> None:
        found = set(peer_addresses(self._settings.peers, self._peers_name))
        found.discard(self._own or ("", 0))
        self._addresses = frozenset(found)
        self._by_id = {peer_id_of(node_name(peer)): node_name(peer) for peer in found}

    def _run(self) -> None:
        """Follow libtorrent's alerts, and hand verified pieces to it."""
        dialed = 0.0
        while not self._is_closed.is_set():
            self._session.wait_for_alert(int(TICK_SECONDS * 1000))
            for alert in self._session.pop_alerts():
                self._heed(alert)
            with self._changing:
                exchanges = list(self._exchanges.values())
            for exchange in exchanges:
                exchange.tick()
            if (now := time.monotonic()) - dialed > DIAL_SECONDS:
                dialed = now
                for exchange in exchanges:
                    if torrent := exchange.torrent:
                        self._dial(torrent)

    def _dial(self, torrent: Torrent) -> None:
        """Call peers that are not connected, each node others, if there are very many."""
        connected = torrent.connected()
        passed_over = connected | self._blamed
        away = [address for address in self._addresses if node_name(address) not in passed_over]
        away.sort(key=lambda address: peer_id_of(self.me + node_name(address)))
        for address in away[: max(MOST_DIALED - len(connected), 0)]:
            torrent.dial(address)

    def _heed(self, alert: Any) -> None:  # noqa: ANN401 - of libtorrent
        kind = type(alert).__name__
        if kind == "listen_succeeded_alert":
            self._listening.set()
        elif kind == "listen_failed_alert":
            self._refusal = str(alert.error.message())
            self._listening.set()
        exchange = self._exchanges.get(getattr(alert, "torrent_name", ""))
        if kind == "peer_ban_alert":
            self._blame(alert, exchange)
        elif exchange is None:
            return
        elif kind == "piece_finished_alert":
            exchange.finished(alert.piece_index)
        elif kind == "cache_flushed_alert":
            exchange.flushed()
        elif kind == "peer_disconnected_alert" and alert.op == self._lt.operation_t.connect:
            exchange.met(node_name(alert.endpoint))
        elif kind == "torrent_paused_alert":
            exchange.paused()
        elif kind in ("file_error_alert", "torrent_error_alert"):
            exchange.failed(str(alert.message()))

    def _blame(self, alert: Any, exchange: Exchange | None) -> None:  # noqa: ANN401
        """Name a peer that sent wrong bytes, and have nothing more to do with it.

        If several peers sent blocks of a wrong piece, libtorrent cannot always tell whose was
        wrong: an honest one that takes part too often is left too.
        """
        name = self._by_id.get(alert.pid.to_bytes()) or node_name(alert.endpoint)
        if name not in self._blamed:
            self._blamed.add(name)
            say = exchange.observer.notice if exchange else tell
            say(f"left the peer {name}, because pieces that it took part in were wrong")
        if exchange:
            exchange.lost(name)


def _own_address(address: Address, what: str) -> Address:
    """Return the numeric form of the address to listen on.

    Raises:
        SettingError: It has no address, or stands for every address of this machine.
    """
    host, port = address
    found = _looked_up(host, port)
    if not found:
        raise SettingError(f"{what} names {shown(repr(host))}, which has no address.")
    own = found[0]
    if own[0] in (_ANY_IPV4[0], _ANY_IPV6[0]):
        raise SettingError(
            f"{what} is {shown(repr(host))}, which is every address of this machine.",
            hint="Name the one address on which your nodes reach each other, such as 10.0.0.1.",
        )
    return own


def peer_addresses(text: str, what: str) -> list[Address]:
    """Return the addresses of the peers that a text names; a name may have many, or none yet.

    Args:
        text: HOST:PORT,…, or the path of a file with one or several of these on a line.
        what: What messages call it.

    Raises:
        SettingError: It is neither, or names nobody.
    """
    try:
        if os.path.isfile(text):  # noqa: PTH113 - Path's raises if a list is too long for a name
            lines = Path(text).read_text(encoding="utf-8").splitlines()
            what = f"{what}: {shown(text)}"
            text = ",".join(line.partition("#")[0] for line in lines)
        elif text.strip(" ,") and ":" not in text:
            raise SettingError(
                f"{what} has {shown(repr(text))}, which is neither a file nor HOST:PORT.",
                hint="Name a file that exists, or write addresses like 10.0.0.1:7000,node1:7000.",
            )
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(f"Cannot read the peers in {shown(text)}: {error}.") from None
    return [found for host, port in addresses_in(text, what) for found in _looked_up(host, port)]


def _looked_up(host: str, port: int) -> list[Address]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return list(dict.fromkeys((str(each[4][0]), int(each[4][1])) for each in found))
