"""`doit prune`: blobs that no lock names removed, and what runs left behind."""

import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from downloader.commands.command import command, flag, option
from downloader.errors import ModelmakeError, SettingError
from downloader.failing import failing
from downloader.progress import bytes_text, counted
from downloader.runtime import current
from downloader.streams import say, tell

if TYPE_CHECKING:
    from downloader.pruning import Prunable
    from downloader.waste import Waste

DAYS = 7.0
"""How long partials and quarantined files are kept where nothing else is asked for."""


def task_prune() -> dict[str, Any]:
    """Make the task that removes what nobody needs."""
    dry_run = {
        **flag("dry_run", "say what would be removed, and remove nothing"),
        "long": "dry-run",
    }
    older_than = option(
        "older_than", f"age of partials and quarantined files in days, {DAYS:.0f} if not given"
    )
    return command(
        prune,
        "remove stored files that no models.lock names, old partials and quarantined files",
        dry_run,
        {**older_than, "long": "older-than"},
    )


@failing
def prune(*, dry_run: bool = False, older_than: str = "") -> None:
    """Find what nobody needs, in the store and in all its projects, and remove it or name it.

    Raises:
        SettingError: The age is none.
        ModelmakeError: Something could not be told, or not be removed; all else was.
    """
    from downloader.pruning import Pruner  # noqa: PLC0415 - the no-op run has no use
    from downloader.waste import DAY_SECONDS, Ages  # noqa: PLC0415

    ages = Ages(time.time(), _days(older_than) * DAY_SECONDS)
    pruner = Pruner(current().project, ages, tell)
    found = pruner.find()
    _tell(found, dry_run=dry_run)
    removed = found.waste if dry_run else list(pruner.remove(found))
    say(_summary(removed, dry_run=dry_run))
    _check(found.hindrances)


def _days(text: str) -> float:
    try:
        days = float(text or DAYS)
    except ValueError:
        days = -1.0
    if not 0 <= days < 10**6:
        raise SettingError(
            f"--older-than is {text!r}, and a number of days is wanted.",
            hint="0 means: however old.",
        )
    return days


def _tell(found: "Prunable", *, dry_run: bool) -> None:
    if dry_run:
        for each in found.waste:
            say(f"would remove {each.path} ({bytes_text(each.frees_bytes)}): {each.why}")
    for project in found.forgotten:
        verb = "would forget" if dry_run else "forgotten"
        say(f"{verb}: {project.lock}, which is not there any more")


def _summary(removed: Iterable["Waste"], *, dry_run: bool) -> str:
    from downloader.waste import KINDS  # noqa: PLC0415

    sizes: dict[str, list[int]] = {kind: [] for kind in KINDS}
    for each in removed:
        sizes[each.kind].append(each.frees_bytes)
    if not any(sizes.values()):
        return "Nothing to prune."
    parts = [f"{counted(len(s), kind)} ({bytes_text(sum(s))})" for kind, s in sizes.items() if s]
    verb, freed = ("would remove", "would free") if dry_run else ("removed", "freed")
    total = sum(map(sum, sizes.values()))
    return f"{verb} {', '.join(parts)}; {freed} {bytes_text(total)}"


def _check(hindrances: Sequence[ModelmakeError]) -> None:
    for each in hindrances[:-1]:
        tell(each.report())
    if hindrances:
        raise hindrances[-1]
