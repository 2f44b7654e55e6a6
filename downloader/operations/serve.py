"""Share the store's and the project's verified files with named peers until the run is stopped."""

import atexit
import collections
from collections.abc import Callable

from msgspec import structs

from downloader.artifact import Artifact, bytes_text, counted
from downloader.errors import LockError, SettingError, Stop
from downloader.project.project import Project
from downloader.settings import LISTEN, PEERS, address_in
from downloader.targets.engine import PeerSharing
from downloader.transfer.swarm import Swarm

LOOK_SECONDS = 5.0
"""How often files are looked for that came meanwhile."""
MOST_LINES = 20
"""About files that are not shared."""


class Server:
    """Shares what one project has.

    Args:
        project: Whose files.
        sharing: Says which they are.
        listen: The ADDRESS:PORT to listen on; that of MODELMAKE_LISTEN if empty.
        peers: Who may connect, HOST:PORT,… or a file; those of MODELMAKE_PEERS if empty.
        stop: Ends it.

    Raises:
        SettingError: An address is missing or cannot be used, or libtorrent is not installed.
    """

    def __init__(
        self, project: Project, sharing: PeerSharing, listen: str, peers: str, stop: Stop
    ) -> None:
        settings = project.settings
        own = address_in(listen, "--listen") if listen else settings.listen
        if own is None:
            raise SettingError(
                "--listen is required: nothing listens without being told where.",
                hint=f"Write `doit serve --listen ADDRESS:PORT`, or set {LISTEN}.",
            )
        if not (peers or settings.peers):
            raise SettingError(
                "--peers is required: only peers that are named may connect.",
                hint=f"Write `--peers HOST:PORT,…` or the name of a file, or set {PEERS}.",
            )
        self._sharing, self._stop = sharing, stop
        self._swarm = Swarm(
            structs.replace(settings, listen=own, peers=peers or settings.peers),
            stop,
            listen_name="--listen" if listen else LISTEN,
            peers_name="--peers" if peers else PEERS,
        )
        atexit.register(self._swarm.close)  # libtorrent aborts a process that ends before it
        self._shared: list[tuple[str, Artifact]] = []

    def serve(self, say: Callable[[str], None], tell: Callable[[str], None]) -> None:
        """Share until the run is stopped.

        Args:
            say: Takes the lines about what is shared; the first says that peers may connect.
            tell: Takes a line about each file that is not shared.

        Raises:
            LockError: There is nothing to share.
            Interrupted: The user stopped the run.
        """
        try:
            unshared = list(self._sharing.share(self._swarm, self._shared))
            if self._shared:
                self._say_ready(say)
            for file in unshared[:MOST_LINES]:
                tell(f"not shared: {file.model}/{file.path}: {file.why}")
            if not self._shared:
                raise _nothing(has_reasons=bool(unshared))
            while True:
                self._stop.wait(LOOK_SECONDS)
                before = len(self._shared)
                collections.deque(self._sharing.share(self._swarm, self._shared), maxlen=0)
                if len(self._shared) > before:
                    say(f"now sharing {counted(len(self._shared), 'file')}")
        finally:
            self._swarm.close()

    def _say_ready(self, say: Callable[[str], None]) -> None:
        size = bytes_text(sum(artifact.size or 0 for _, artifact in self._shared))
        say(f"ready: sharing {counted(len(self._shared), 'file')} ({size}) at {self._swarm.me}")
        for name, count in sorted(collections.Counter(name for name, _ in self._shared).items()):
            say(f"  {name}: {counted(count, 'file')}")


def _nothing(*, has_reasons: bool) -> LockError:
    """Return the error that there is nothing to share."""
    if has_reasons:
        return LockError(
            "There is nothing to share; the lines above say why.",
            hint="Do what they say, then run the same command again.",
        )
    return LockError(
        "There is nothing to share: no file over 16 MiB is here, verified and with its pieces.",
        hint="Run `doit`, then `doit lock --pieces`, then the same command again.",
    )
