"""`doit ci-key`: one stable key for the selected models, to cache them by."""

from typing import Any

from downloader.commands.command import command, flag
from downloader.failing import failing
from downloader.runtime import current
from downloader.streams import say


def task_ci_key() -> dict[str, Any]:
    """Make the task that prints a cache key; a function's name cannot hold its dash."""
    made = command(
        ci_key,
        "print one stable cache key for the selected models; models may be named",
        flag("json", "print the paths to cache and the sizes too, as JSON"),
        takes_names=True,
    )
    return {"basename": "ci-key", **made}


@failing
def ci_key(names: list[str], *, json: bool = False) -> None:
    """Say the key, or all of it as JSON, and nothing else on standard output."""
    from downloader import cache_key  # noqa: PLC0415 - the no-op run has no use

    found = cache_key.of_project(current().project, names)
    say(cache_key.as_json(found) if json else found.key)
