"""Who is fetching which bytes just now: one of all threads and processes; the others wait for it.

So the same bytes are fetched once, under whatever names and for whatever projects. A claim is a
locked file that says where its holder's partial is, whose growth shows that it is at work. Where
locks are of no use, each fetches for itself.
"""

import contextlib
import os
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from downloader.durable import make_folder, naming
from downloader.transfer.locked_file import open_locked
from downloader.transfer.turn import Turn


class Claims:
    """The claims of one store.

    Args:
        folder: Where they are.
        stop: Ends every wait.
    """

    def __init__(self, folder: Path, stop: threading.Event) -> None:
        self._folder, self._stop = folder, stop
        self._claiming = threading.Lock()
        self._ours: dict[str, threading.Lock] = defaultdict(threading.Lock)

    @contextmanager
    def claimed(self, sha256: str, partial: Path, notice: Callable[[str], None]) -> Iterator[None]:
        """Keep everybody else from fetching these bytes, after those who do now.

        Args:
            sha256: Which bytes.
            partial: Where they will grow.
            notice: Takes one line for the user, about a long wait.

        Raises:
            StoreError: The disk refused.
            Interrupted: The run was stopped while others had the claim.
        """
        with self._claiming:
            ours = self._ours[sha256]
        with ours:
            make_folder(self._folder)
            name = self._folder / f"{sha256}.lock"
            with naming(name, "lock"):
                descriptor, path = open_locked(name, _Watching(self._stop, notice))
            try:
                os.write(descriptor, os.fsencode(partial))
                yield
            finally:
                with contextlib.suppress(OSError):  # Windows removes no open file; it may stay
                    path.unlink()
                os.close(descriptor)


class _Watching(Turn):
    """A turn that looks at the holder's partial, not at the claim, which never grows."""

    def wait(self, path: Path) -> bool:
        """See Turn."""
        with contextlib.suppress(OSError, ValueError):
            if named := path.read_bytes():
                return super().wait(Path(os.fsdecode(named)))
        return super().wait(path)
