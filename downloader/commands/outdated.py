"""`doit outdated`: what upstream has beside what is locked; writes nothing."""

from contextlib import closing
from typing import TYPE_CHECKING, Any

from downloader.commands.command import command, flag, session
from downloader.errors import ModelmakeError, TransferError
from downloader.failing import failing
from downloader.progress import counted
from downloader.runtime import current
from downloader.streams import say, tell

if TYPE_CHECKING:
    from downloader.declared import Declared
    from downloader.outlook import Outlook


def task_outdated() -> dict[str, Any]:
    """Make the task that looks upstream."""
    return command(
        outdated,
        "say what upstream has newer, gone or not allowed; writes nothing; models may be named",
        flag("json", "say it as one JSON document"),
        takes_names=True,
    )


@failing
def outdated(names: list[str], *, json: bool) -> None:
    """Say what upstream has of the named models, or of all; fail where not all is up to date."""
    from downloader import outdated as looking  # noqa: PLC0415 - imports requests
    from downloader import outlook  # noqa: PLC0415

    project = current().project
    if project.settings.is_offline:
        raise TransferError("MODELMAKE_OFFLINE is set, and only upstream can tell what it has.")
    found: list[Outlook] = []
    with closing(looking.look(project, _wanted(names), session())) as looks:
        for each in looks:
            if not json:
                say("\n".join(outlook.lines(each)))
                _say_hint(each, found)
            found.append(each)
    if json:
        order = {each.name: number for number, each in enumerate(project.declared)}
        say(outlook.document(sorted(found, key=lambda each: order[each.model])))
    _fail_unless_current(found)


def _say_hint(each: "Outlook", before: "list[Outlook]") -> None:
    """Say what to do about a model, where that was not said before."""
    if each.hint and each.hint not in {other.hint for other in before}:
        say(f"  {each.hint}")


def _wanted(names: list[str]) -> "list[Declared]":
    """Return the named models; with no name all, but those whose source is not there yet.

    Raises:
        ModelmakeError: There is no model of that name, or this version cannot fetch it.
    """
    from downloader.sources.registry import source_for  # noqa: PLC0415

    project = current().project
    named = {project.named(name).name for name in names}
    wanted = [each for each in project.declared if not named or each.name in named]
    for each in wanted:
        try:
            source_for(each.entry)
        except ModelmakeError as error:
            if named:
                raise
            tell(f"{each.name} is left out: {error}")
    return [each for each in wanted if each.is_known]


def _fail_unless_current(found: "list[Outlook]") -> None:
    """End with status 1 where a model is not up to date, or nobody could say.

    Raises:
        ModelmakeError: Says how many of each kind, and how to take what is newer.
    """
    from downloader import outlook  # noqa: PLC0415

    if text := outlook.count_text(found):
        newer = " ".join(sorted(each.model for each in found if each.is_upgradable))
        hints = [f"Take what is newer with `doit lock --upgrade {newer}`."] * bool(newer)
        if any(each.state == "not-locked" for each in found):
            hints.append("Lock what is not locked with `doit lock`.")
        raise ModelmakeError(f"of {counted(len(found), 'model')}: {text}.", hint=" ".join(hints))
