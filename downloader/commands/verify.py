"""`doit verify`: every file read again and compared with models.lock."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from downloader.commands.command import command, flag, wanted_models
from downloader.errors import IntegrityError, LockError, ModelmakeError
from downloader.failing import failing
from downloader.progress import bytes_text, counted
from downloader.runtime import current
from downloader.settings import FILES_AT_ONCE
from downloader.streams import say, tell

if TYPE_CHECKING:
    from downloader.model import Model
    from downloader.verdict import Verdict

SHOWN_EXTRA_FILES = 20


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
    from downloader.leftovers import extra  # noqa: PLC0415 - the no-op run has no use for it
    from downloader.meter import Meter  # noqa: PLC0415
    from downloader.pieces.known_layers import KnownLayers  # noqa: PLC0415
    from downloader.verify import verify as judged  # noqa: PLC0415

    models = wanted_models(names)
    known = _locked(models)
    meter = Meter("verifying")
    verdicts = judged(known, meter, current().stop, KnownLayers(current().project, tell).find)
    verdicts += extra(known, current().project.models())
    _tell(verdicts)
    bad = [each for each in verdicts if each.is_bad]
    repaired = _repaired(bad) if repair and bad else 0
    say(_summary(verdicts, repaired, meter.summary))
    _check(bad, repaired, is_repair=repair)
    _check_locked(models)


def _locked(models: Sequence["Model"]) -> list["Model"]:
    """Return those of the models that models.lock knows as models.yaml asks for them.

    Raises:
        LockError: There is no lock at all.
    """
    project = current().project
    if not project.lockfile.models:
        raise LockError(
            f"There is no {project.lock_path.name}, so nothing says which bytes are right.",
            hint="Run `doit` to lock and fetch, or `doit lock` to lock only.",
        )
    return [each for each in models if not each.is_stale]


def _tell(verdicts: Iterable["Verdict"]) -> None:
    """Say what is not right, a state after the other; of extra files only so many."""
    from downloader.verdict import EXTRA, STATES  # noqa: PLC0415

    for state in STATES:
        found = [each for each in verdicts if each.state == state]
        shown = found[:SHOWN_EXTRA_FILES] if state == EXTRA else found
        for each in shown:
            say(each.line)
        if len(found) > len(shown):
            say(f"{state}: and {len(found) - len(shown):,} more")


def _summary(verdicts: Sequence["Verdict"], repaired: int, read: str) -> str:
    from downloader.verdict import EXTRA, OK, STATES  # noqa: PLC0415

    counts = Counter(each.state for each in verdicts)
    parts = [f"{counts[OK]:,} right"]
    parts += [f"{counts[state]:,} {state}" for state in STATES if counts[state]]
    parts += [f"{repaired:,} repaired"] * bool(repaired)
    return f"verified {counted(len(verdicts) - counts[EXTRA], 'file')}: {', '.join(parts)}; {read}"


def _check(bad: Sequence["Verdict"], repaired: int, *, is_repair: bool) -> None:
    if left := len(bad) - repaired:
        raise IntegrityError(
            f"{counted(left, 'file')} not as models.lock says.",
            hint="" if is_repair else _hint(bad),
        )


def _hint(bad: Iterable["Verdict"]) -> str:
    """Return what to do: what has no SHA-256 is not proved wrong, and its first fetch pins it."""
    from downloader.verdict import UNPINNED  # noqa: PLC0415

    unpinned = sorted({each.model for each in bad if each.state == UNPINNED})
    fetch = " ".join(f"fetch:{name}" for name in unpinned)
    hints = ["Run `doit verify --repair` to fetch again what is bad."]
    hints *= any(each.state != UNPINNED for each in bad)
    return " ".join(hints + [f"Run `doit {fetch}` to pin what is unpinned."] * bool(fetch))


def _check_locked(models: Iterable["Model"]) -> None:
    if stale := [each.name for each in models if each.is_stale]:
        raise LockError(
            f"Not verified, since models.lock does not say what models.yaml asks for now: "
            f"{', '.join(stale)}."
        )


def _repaired(bad: Sequence["Verdict"]) -> int:
    """Fetch what is bad, and return how many that went well for; one failure stops no other."""
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - loads logging

    current().syncer.plan((each.model, each.path) for each in bad)
    with ThreadPoolExecutor(min(FILES_AT_ONCE, len(bad))) as pool:
        return sum(pool.map(_is_repaired, bad))


def _is_repaired(bad: "Verdict") -> bool:
    try:
        with current().observer(bad.model, bad.path) as observer:
            done = current().syncer.repair(bad.model, bad.path, observer)
    except ModelmakeError as error:
        tell(f"not repaired: {bad.model}/{bad.path}: {error.report()}")
        return False
    tell(f"repaired {bad.model}/{bad.path} ({bytes_text(done.size)})")
    return True
