"""Whether models.lock may be obeyed as it stands; nothing is asked for or written.

It is stale when it is missing, or does not know a model as models.yaml declares it; never because
upstream moved. Where it may not be written it must also name the SHA-256 of every file.
"""

from collections.abc import Sequence

from downloader.errors import LockError
from downloader.lock.lock_changes import moved
from downloader.model import Model
from downloader.progress import counted
from downloader.project import Project


def check(project: Project, names: Sequence[str] = ()) -> None:
    """Refuse a lock that is missing or stale, and where it may not be written an unpinned one.

    Args:
        project: Whose lock.
        names: The models that are looked at; all, and what is declared no more, when there is none.

    Raises:
        LockError: Names the models, and the one command that mends it.
        ModelmakeError: There is no model of a name.
    """
    for name in names:
        project.named(name)
    refuse_stale(project, names)
    if project.is_read_only:
        _refuse_unpinned(project, names)


def refuse_stale(project: Project, names: Sequence[str] = ()) -> None:
    """Refuse a lock that is missing or stale.

    Raises:
        LockError: As `check`.
    """
    name = project.lock_path.name
    hint = f"Run `doit lock`{_wish(project)}, and commit {name}."
    if not project.lock_path.exists():
        raise project.refused(f"{name} is missing.", hint)
    said = [
        f"{each.name} {_how_stale(project, each.name)}"
        for each in _meant(project, names)
        if each.is_stale and each.declared.is_known
    ]
    if not names:
        gone = sorted(project.lockfile.models.keys() - {each.name for each in project.declared})
        said += [f"{each} is declared no more" for each in gone]
    if said:
        raise project.refused(f"{name} is stale: {', '.join(said)}.", hint)


def _refuse_unpinned(project: Project, names: Sequence[str]) -> None:
    """Refuse a lock that leaves the SHA-256 of files to their first fetch.

    Optional models count where they are named: nobody else fetches them.
    """
    wanted = [each for each in _meant(project, names) if names or not each.declared.entry.optional]
    unpinned = {each.name: count for each in wanted if (count := _unpinned(each))}
    if unpinned:
        said = ", ".join(f"{counted(count, 'file')} of {each}" for each, count in unpinned.items())
        command = " ".join(["doit", *(f"fetch:{each}" for each in names if each in unpinned)])
        raise LockError(
            f"{project.lock_path.name} pins no SHA-256 for {said}.",
            hint=f"Run `{command}`{_wish(project)}, and commit {project.lock_path.name}.",
        )


def _unpinned(model: Model) -> int:
    return sum(not each.is_pinned for each in (moved(model.locked) if model.locked else ()))


def _meant(project: Project, names: Sequence[str]) -> list[Model]:
    wanted = {project.named(each).name for each in names}
    return [each for each in project.models() if not wanted or each.name in wanted]


def _wish(project: Project) -> str:
    return f" {project.settings.way_to_write}" if project.is_read_only else ""


def _how_stale(project: Project, name: str) -> str:
    return "changed" if name in project.lockfile.models else "is not locked yet"
