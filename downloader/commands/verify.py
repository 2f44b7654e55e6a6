"""`doit verify`: every file read again and compared with models.lock."""

from typing import TYPE_CHECKING, Any

from downloader.commands.command import command, flag, wanted_models
from downloader.errors import LockError, ModelmakeError
from downloader.failing import failing
from downloader.progress import counted
from downloader.runtime import current
from downloader.streams import say, tell

if TYPE_CHECKING:
    from downloader.verify import Verdict


def task_verify() -> dict[str, Any]:
    """Make the task that reads every file again."""
    return command(
        verify,
        "read every file again and compare it with models.lock; models may be named",
        flag("repair", "fetch again what is bad"),
        takes_names=True,
    )


@failing
def verify(names: list[str], *, repair: bool = False) -> None:
    """Hash every file of the named models, or of all that are here, and tell what is bad."""
    from downloader.verify import verify as judged  # noqa: PLC0415 - the no-op run has no use

    good, bad = 0, []
    for verdict in judged(wanted_models(names)):
        good += not verdict.is_bad
        if verdict.is_bad:
            bad.append(verdict)
            say(f"{verdict.state}: {verdict.model}/{verdict.path}")
    repaired = sum(map(_is_repaired, bad)) if repair else 0
    say(_verified(good, len(bad), repaired))
    if len(bad) > repaired:
        raise LockError(
            f"What models.lock says is not here: {len(bad) - repaired} of {good + len(bad)}.",
            hint="" if repair else "Run `doit verify --repair`, or `doit`, to fetch them again.",
        )


def _verified(good: int, bad: int, repaired: int) -> str:
    return f"verified {counted(good + bad, 'file')}: {good} right, {bad} not, {repaired} repaired"


def _is_repaired(bad: "Verdict") -> bool:
    """Fetch what is bad, and return whether that went well; one failure stops no other."""
    try:
        current().syncer.repair(bad.model, bad.path)
    except ModelmakeError as error:
        tell(f"not repaired: {bad.model}/{bad.path}: {error.report()}")
        return False
    return True
