"""doit's tasks with words of ours: why one is stale or up to date, and what cleaning it removes."""

import inspect
from collections.abc import Iterator, Mapping
from typing import TextIO

from doit.task import Task

from downloader import actions, receipts
from downloader.freshness import why_fresh
from downloader.runtime import current
from downloader.streams import tell

SHOWN_PARTS = 20


class Stale:
    """An `uptodate` that is false, and shows the rule that made it so in `doit info`."""

    __signature__ = inspect.Signature()
    """doit asks for it once a file, and working it out took a sixth of the time of small files."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def __call__(self) -> bool:
        """Return what doit asks: whether the target is up to date."""
        return False

    def __repr__(self) -> str:
        return str(self._reason)


class OurTask(Task):  # type: ignore[misc]
    """A task that can say why it would run, or why not."""

    @property
    def reasons(self) -> list[str]:
        """The rules that make it stale; none when it is up to date."""
        return [repr(rule) for rule, *_ in self.uptodate if isinstance(rule, Stale)]

    def explained(self, tasks: Mapping[str, Task]) -> Iterator[str]:  # noqa: ARG002 - others need it
        """Yield lines for `doit info`: the rules, or why nothing is to be done.

        Args:
            tasks: Every task, by name.
        """
        yield from self.reasons


class FileTask(OurTask):
    """The task of one file: fetch:MODEL/PATH."""

    @property
    def place(self) -> tuple[str, str]:
        """Model and path."""
        model, _, path = self.name.removeprefix("fetch:").partition("/")
        return model, path

    def explained(self, tasks: Mapping[str, Task]) -> Iterator[str]:
        """See OurTask."""
        yield from super().explained(tasks)
        if not self.reasons:
            model, path = self.place
            yield why_fresh(receipts.load(current().project.folder(model))[path])

    def clean(self, outstream: TextIO, dryrun: bool) -> None:  # noqa: ARG002, FBT001 - doit's
        """Remove the file, unless its model's cleaning did, or told so, already."""
        actions.clean_file(*self.place, dryrun=dryrun)


class Group(OurTask):
    """A group of ours: cleaning it says what is removed, and not which function does that."""

    def explained(self, tasks: Mapping[str, Task]) -> Iterator[str]:
        """See OurTask; with the rules of its parts."""
        yield from super().explained(tasks)
        parts = [each for name in self.setup_tasks if (each := tasks.get(name))]
        stale = [each for each in parts if isinstance(each, OurTask) and each.reasons]
        for each in stale[:SHOWN_PARTS]:
            yield f"  {each.name}: {'; '.join(each.reasons)}"
        if len(stale) > SHOWN_PARTS:
            yield f"  and {len(stale) - SHOWN_PARTS:,} more"
        if parts and not stale:
            yield "all its files are up to date"

    def clean(self, outstream: TextIO, dryrun: bool) -> None:  # noqa: FBT001 - doit's
        """Run the clean actions as doit does, without its line about each of them."""
        self.init_options()
        for action in self.clean_actions:
            action.kwargs["dryrun"] = dryrun
            if failure := action.execute(out=outstream):
                tell(str(failure))
