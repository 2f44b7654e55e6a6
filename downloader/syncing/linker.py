"""Targets made of files that are there: of a blob, or of what was found to be adopted.

The new name comes to be in the model's private folder, and is then renamed to the target.
"""

import contextlib
import os
import secrets
import threading
from pathlib import Path

from downloader.disk.durable import make_folder, naming
from downloader.disk.private_folder import private_folder
from downloader.errors import Interrupted
from downloader.finding import Found
from downloader.fs.rooted_path import READ, RootedPath
from downloader.project import Project
from downloader.store import WAYS, How, Made, link
from downloader.transfer.locked_file import is_alive, machine
from downloader.transfer.placing import Place

LINKING = "linking"


class Linker:
    """Makes targets of one project; safe to share between threads.

    Args:
        project: Whose targets.
        stop: Ends every copy.
    """

    def __init__(self, project: Project, stop: threading.Event) -> None:
        self._project, self._stop = project, stop
        self._swept = set[RootedPath]()

    def place(
        self,
        name: str,
        source: Path | RootedPath,
        target: RootedPath,
        sha256: str,
        found: Found | None = None,
    ) -> Made:
        """Put a file under the target's name that is made of another one.

        Args:
            name: The model.
            source: The file; it is not written to.
            target: The final name.
            sha256: What the bytes are.
            found: What is known of the source, where it was found to be adopted.

        Returns:
            Which way it was.

        Raises:
            SourceUnreadable: The source is gone, or cannot be read.
            StoreError: The disk refused, or the source was changed meanwhile.
            Interrupted: The run was stopped.
        """
        wish = self._project.named(name).entry.link
        ways = WAYS[way(wish, found) if found else wish]
        place = Place(target)
        workspace = private_folder(self._project.folder(name)) / LINKING
        make_folder(workspace)
        self._remove_abandoned(workspace)
        new = workspace / f"{machine()}-{os.getpid()}-{secrets.token_hex(4)}"
        with naming(target, "write"):
            made = link(source, new, ways, sha256, self._check_stop)
            try:
                if found:
                    found.check()
                _rename(new, place, sha256)
            finally:
                with contextlib.suppress(OSError):  # it is left where both names are one file
                    new.remove()
        return made

    def _remove_abandoned(self, workspace: RootedPath) -> None:
        """Remove what killed processes of this machine left half copied; once a run."""
        if workspace in self._swept:
            return
        self._swept.add(workspace)
        for name in workspace.names():
            if f"{machine()}-" not in name:  # or with a dot before it, half copied
                continue
            process = name.split("-")[1]
            if process.isdecimal() and not is_alive(int(process)):
                with contextlib.suppress(OSError):
                    (workspace / name).remove()

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise Interrupted("Interrupted while a file was copied.")


def _rename(new: RootedPath, place: Place, sha256: str) -> None:
    descriptor = new.open(READ)
    try:
        place.take(descriptor, new, sha256)
    finally:
        os.close(descriptor)


def way(wish: How, found: Found) -> How:
    """Return how a target is to be made of a file that was found.

    A file of the user's is shared only where that was asked for: by `link: hardlink` too.
    """
    return "reflink" if wish == "auto" and not found.may_share else wish
