"""A peer that has the right torrent and wrong bytes: libtorrent, told not to check what it has.

    python -m tests.servers.lying_peer LINE ROOT SIZE WRONG ADDRESS:PORT

LINE is a file with the line of models.pieces, WRONG a file of that size. It prints a line when it
listens, and ends when its standard input does.
"""

import sys
from pathlib import Path
from typing import Any

from downloader.fs.digests import load_layer
from downloader.transfer.swarm import peer_id_of, torrent_of


def main(line: str, root: str, size: str, wrong: str, address: str) -> None:
    """Send wrong bytes to whoever asks."""
    import libtorrent  # noqa: PLC0415 - an extra

    lt: Any = libtorrent
    layer = load_layer(Path(line).read_bytes(), root, int(size))
    assert layer
    session = lt.session(
        {
            "listen_interfaces": address,
            "peer_fingerprint": peer_id_of(address),
            "allow_multiple_connections_per_ip": True,
            "unchoke_slots_limit": -1,
            **dict.fromkeys(("enable_dht", "enable_lsd", "enable_upnp", "enable_natpmp"), False),
        }
    )
    wanted = lt.load_torrent_buffer(lt.bencode(torrent_of(layer)))
    wanted.save_path, wanted.renamed_files = str(Path(wrong).parent), {0: Path(wrong).name}
    wanted.have_pieces = [True] * layer.count
    wanted.flags = lt.torrent_flags.no_verify_files | lt.torrent_flags.upload_mode
    session.add_torrent(wanted)
    print("lies", flush=True)  # noqa: T201
    sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
