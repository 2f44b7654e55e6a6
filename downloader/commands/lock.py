"""`doit lock`: models.lock brought up to date with models.yaml, or only looked at."""

from typing import Any

from downloader.commands.command import command, flag, session
from downloader.errors import ModelmakeError
from downloader.failing import failing
from downloader.runtime import current
from downloader.streams import say


def task_lock() -> dict[str, Any]:
    """Make the task that writes models.lock."""
    return command(
        lock,
        "bring models.lock up to date with models.yaml; moves no files",
        flag("check", "write nothing, and fail when models.lock is stale"),
        flag("upgrade", "ask again for what was pinned on first use"),
    )


@failing
def lock(*, check: bool = False, upgrade: bool = False) -> None:
    """Bring models.lock up to date, or only look whether it is."""
    try:
        is_told = _lock(check=check, upgrade=upgrade)
    except ModelmakeError:
        current().has_lock_failed = True
        raise
    if not is_told:
        say("models.lock is up to date.")


def _lock(*, check: bool, upgrade: bool) -> bool:
    from downloader import locking  # noqa: PLC0415 - imports requests

    project = current().project
    if check:
        locking.check(project)
        return False
    return locking.lock(project, session(), say, upgrade=upgrade)
