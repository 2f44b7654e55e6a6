"""Which files one run of doit is about: those of the selected tasks, and of what these need."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

OURS = (
    "adopt",
    "bundle",
    "ci-key",
    "fetch",
    "lock",
    "outdated",
    "plan",
    "prune",
    "verify",
    "_lock",
    "_ask",
    "_unpack",
)


class Task(Protocol):
    """What is looked at of a doit task."""

    name: str
    task_dep: Iterable[str]
    setup_tasks: Iterable[str]


def is_ours(name: str) -> bool:
    """Whether the task of this name is one of this package, not of the user's own dodo.py."""
    return name.partition(":")[0] in OURS


def files_of(tasks: Mapping[str, Task], selected: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield model and path of each file that would be fetched where it is not there.

    Setup tasks of the user's own tasks are left out: they run only where the task itself has to.

    Args:
        tasks: Every task, by name.
        selected: The names that the run begins with.
    """
    seen, waiting = set[str](), list(selected)
    while waiting:
        name = waiting.pop()
        if name in seen or name not in tasks:
            continue
        seen.add(name)
        task = tasks[name]
        waiting += [*task.task_dep, *(task.setup_tasks if is_ours(name) else ())]
        model, slash, path = name.removeprefix("fetch:").partition("/")
        if slash and name.startswith("fetch:"):
            yield model, path
