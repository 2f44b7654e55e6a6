"""`doit adopt`: files that exist on this machine already, taken in place of fetching them."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from downloader.commands.command import check_stop, command, flag, option, wanted_models
from downloader.errors import LockError, ModelmakeError, StoreError
from downloader.failing import failing
from downloader.model import Model
from downloader.progress import bytes_text, counted
from downloader.runtime import current
from downloader.streams import say, tell

if TYPE_CHECKING:
    from downloader.adopting import Report
    from downloader.bundling.bundles import Bundle

HUGGING_FACE = "huggingface"
SHOWN = 20
HINT = "Run `doit` to fetch what is missing."


def task_adopt() -> dict[str, Any]:
    """Make the task that takes files which are here already."""
    return command(
        adopt,
        "take files that exist already, or a bundle: --from DIR; models may be named",
        {**option("place", "folder, file, bundle, or `huggingface` for its cache"), "long": "from"},
        flag("hardlink", "let targets be the same files as those that are found"),
        takes_names=True,
    )


@failing
def adopt(names: list[str], place: str, *, hardlink: bool = False) -> None:
    """Take what the named models need, or all of them, and tell what is missing."""
    from downloader import adopting  # noqa: PLC0415 - imports requests
    from downloader.bundling import bundles  # noqa: PLC0415 - imports requests
    from downloader.lock import locking_offline  # noqa: PLC0415 - imports requests

    project, here = current().project, _place(place)
    bundle = bundles.read(here, check_stop)
    if bundle:
        for line in locking_offline.take_lock(project, bundle):
            say(line)
    locking_offline.lock_offline(project)
    models = _models(names, bundle)
    locked = [each for each in models if not each.is_stale and each.locked]
    adopter = adopting.Adopter(project, current().syncer, check_stop, tell)
    report = adopter.adopt(locked, here, shares=hardlink)
    project.write_pins()
    _say(report)
    _check(report, [each for each in models if each not in locked], must=bool(names or bundle))


def _place(place: str) -> Path:
    if not place:
        raise ModelmakeError("Nothing says where to look.", hint="Write `doit adopt --from DIR`.")
    found = Path(place).expanduser()
    if place == HUGGING_FACE and not found.exists():
        found = hugging_face_cache()
    if not found.exists():
        raise StoreError(
            f"{found.absolute()} does not exist.",
            hint="A relative path starts from the folder of dodo.py.",
        )
    return found


def hugging_face_cache() -> Path:
    """Return where the Hugging Face tools keep files, as their documentation says."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("HF_HOME") or f"{cache}/huggingface"
    hub = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    return Path(hub or f"{home}/hub").expanduser()


def _models(names: Sequence[str], bundle: "Bundle | None") -> list[Model]:
    """Return the models that are named, else those of the bundle, else those expected here."""
    if names or bundle is None:
        return wanted_models(names)
    declared = {each.name for each in current().project.declared}
    for name in bundle.models:
        if name not in declared:
            tell(f"{name} of the bundle is left out: models.yaml does not declare it")
    return wanted_models(each for each in bundle.models if each in declared)


def _say(report: "Report") -> None:
    for name, artifact in report.missing[:SHOWN]:
        why = "" if artifact.sha256 or artifact.md5 else ": models.lock has no digest of it yet"
        say(f"not found: {name}/{artifact.path}{why}")
    if len(report.missing) > SHOWN:
        say(f"not found: {len(report.missing) - SHOWN:,} more")
    taken = report.by("adopted", "unpacked")
    counts = [
        f"adopted {counted(len(taken), 'file')} ({bytes_text(sum(e.size for e in taken))})",
        f"{len(report.by('linked')):,} linked from the store",
        f"{len(report.by('verified')):,} verified in place",
        f"{len(report.missing):,} not found",
    ]
    say(", ".join(counts))


def _check(report: "Report", unlocked: Sequence[Model], *, must: bool) -> None:
    if unlocked:
        names = ", ".join(each.name for each in unlocked)
        raise LockError(
            f"models.lock does not say which files these are: {names}.",
            hint="Run `doit lock`, which asks for them, then the same command again.",
        )
    if report.failed:
        raise StoreError(f"{counted(report.failed, 'file')} could not be put in place.", hint=HINT)
    if must and report.missing:
        raise LockError(f"{counted(len(report.missing), 'file')} not found.", hint=HINT)
