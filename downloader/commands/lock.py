"""`doit lock`: models.lock brought up to date with models.yaml, or only looked at."""

from typing import Any

from downloader.commands.command import command, flag, session, wanted_models
from downloader.errors import ModelmakeError
from downloader.failing import failing
from downloader.runtime import current
from downloader.streams import say


def task_lock() -> dict[str, Any]:
    """Make the task that writes models.lock."""
    return command(
        lock,
        "bring models.lock up to date with models.yaml; moves no files; models may be named",
        flag("check", "write nothing, and fail when models.lock is stale"),
        flag("upgrade", "look also for newer checkpoints and changed files upstream"),
        flag("allow-downgrade", "with --upgrade: take also what is older than the lock"),
        flag(
            "pieces",
            "also note the pieces of large files that are here, so that they can be checked",
        ),
        takes_names=True,
    )


@failing
def lock(
    names: list[str], *, check: bool, upgrade: bool, allow_downgrade: bool, pieces: bool
) -> None:
    """Bring models.lock up to date, or only look whether it is."""
    from downloader.lock import lock_check, locking  # noqa: PLC0415 - imports requests
    from downloader.lock.relocking import Wish  # noqa: PLC0415

    if check and pieces:
        raise ModelmakeError(
            "--check writes nothing, and --pieces is there to write.",
            hint="Run `doit lock --check`, or `doit lock --pieces`.",
        )
    fills = not current().project.settings.is_offline
    wish = Wish(names=tuple(names), upgrade=upgrade, allow_downgrade=allow_downgrade, fills=fills)
    project = current().project
    try:
        if check:
            lock_check.check(project, wish.names)
        is_told = not check and locking.lock(project, session(), say, wish)
    except ModelmakeError:
        current().has_lock_failed = True
        raise
    if not is_told:
        about = f" for {', '.join(names)}" if names else ""
        say(f"{project.lock_path.name} is up to date{about}.")
    if pieces:
        from downloader.pieces.piecing import add_pieces  # noqa: PLC0415 - reads whole files

        add_pieces(project, wanted_models(names), say, current().stop)
