"""`doit plan`: what `doit` would do, told beforehand; nothing is written and nothing is dialled."""

import shutil
from typing import TYPE_CHECKING, Any

from downloader.commands.command import command, flag
from downloader.errors import OFFLINE_HINT, ModelmakeError, StoreError
from downloader.failing import failing
from downloader.progress import bytes_text, counted
from downloader.runtime import current
from downloader.streams import say, tell

if TYPE_CHECKING:
    from downloader.planning import Plan

NO_TERMINAL = (100, 24)


def task_plan() -> dict[str, Any]:
    """Make the task that says what `fetch` would do."""
    return command(
        plan,
        "say what `doit` would fetch, link or leave, and whether it fits; models may be named",
        flag("json", "one JSON document on standard output (docs/plan.md)"),
        takes_names=True,
    )


@failing
def plan(names: list[str], *, json: bool = False) -> None:
    """Say what would be done; fail where `doit` cannot be expected to do it."""
    from downloader import planning  # noqa: PLC0415 - no other run has a use for it

    made = planning.make(current().project, names, _reading)
    if json:
        say(made.dump().decode())
    else:
        for line in planning.lines(made, shutil.get_terminal_size(NO_TERMINAL).columns):
            say(line)
    if not made.is_possible:
        raise _impossible(made)


def _reading(count: int, count_bytes: int) -> None:
    tell(f"reads {counted(count, 'file')} ({bytes_text(count_bytes)}) that nothing vouches for")


def _impossible(made: "Plan") -> ModelmakeError:
    """Return why `doit` cannot be expected to bring everything up to date."""
    if made.refusal:
        what, _, hint = made.refusal.partition("\n")
        return ModelmakeError(what, hint=hint.strip())
    for each in made.volumes:
        if not each.fits:
            return StoreError(
                f"It does not fit: the disk of {each.folder} would have to hold "
                f"{bytes_text(each.peak_bytes)} more, and has {bytes_text(each.free_bytes or 0)} "
                "free.",
                hint="Free some space there, or fetch fewer models at a time.",
            )
    if missing := made.files("missing"):
        return ModelmakeError(
            f"{counted(len(missing), 'file')} can neither be linked nor fetched: "
            "MODELMAKE_OFFLINE is set.",
            hint=OFFLINE_HINT,
        )
    return ModelmakeError("Not everything can be brought up to date; the lines above say why.")
