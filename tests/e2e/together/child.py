"""A process of its own that syncs a project, and is killed at its n-th change to the disk.

python -m tests.e2e.together.child FOLDER N     ends with status 137 there; 0 when there are fewer
"""

import os
import sys
from pathlib import Path

from downloader.operations.sync import sync_models

KILLED_STATUS = 137
CHANGES = {"os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.truncate"}


def kill_at(number: int, folder: str) -> None:
    """End this process, without a word, before its n-th change below the models' folder."""
    left = number

    def look(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        is_write = event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_CREAT
        if (is_write or event in CHANGES) and str(arguments[0]).startswith(folder):
            left -= 1
            if left == 0:
                os._exit(KILLED_STATUS)

    sys.addaudithook(look)


if __name__ == "__main__":
    root = Path(sys.argv[1])
    kill_at(int(sys.argv[2]), str(root))
    sync_models(None, root)
