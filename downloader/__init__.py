"""make for model weights.

`models.yaml` declares the models (manifest). What follows from it is resolved into `models.lock`,
which names the exact bytes (project). A transfer downloads one file of the lock: resumable,
verified, and under its final name only when it is complete (transfer). doit decides which files
are stale (tasks): it compares each target's stat with its receipt and the lock (targets), so a
second run does nothing and opens no socket.

    from downloader import ensure
    folder = ensure("gpt2-124M")      # downloads what is missing, returns the model's folder

docs/architecture.md is the map.
"""

import contextlib
import os
from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from downloader.progress.callbacks import Progress


__version__ = "0.1.0"

__all__ = ["Progress", "__version__", "ensure", "sync"]


def ensure(
    name: str,
    *,
    folder: str | PathLike[str] | None = None,
    progress: "Callable[[Progress], object] | bool | None" = None,
) -> Path:
    """Bring one model up to date, and return its folder as an absolute path.

    Args:
        name: The model's key in models.yaml.
        folder: The folder of models.yaml; default: the working directory or the nearest folder
            above it that has one. MODELMAKE_MANIFEST goes before that search.
        progress: As in `sync`.

    Raises:
        ModelmakeError: It could not be brought up to date; what arrived is kept.
    """
    return sync([name], folder=folder, progress=progress)[name]


def sync(
    names: Sequence[str] | None = None,
    *,
    folder: str | PathLike[str] | None = None,
    progress: "Callable[[Progress], object] | bool | None" = None,
) -> dict[str, Path]:
    """Do what `doit` does: lock when models.yaml changed, then fetch what is missing or changed.

    Args:
        names: The models; default: all that are not optional.
        folder: As in `ensure`.
        progress: True shows on standard error, or in the notebook's cell, what `doit` shows there.
            A function is called with what happens, in the thread that called this: at each
            beginning and end, and at most ten times a second between. An exception that it raises
            ends the run as Ctrl-C does, with what arrived kept, and is raised here.

    Returns:
        Each model's folder by its name, as an absolute path.

    Raises:
        ModelmakeError: Not all could be brought up to date; the first failure, after all others
            had their turn. Its `failures` has all of them.
    """
    from downloader.errors import ModelmakeError  # noqa: PLC0415 - importing us must cost nothing
    from downloader.operations.sync import sync_models  # noqa: PLC0415 - as above

    try:
        return sync_models(names, None if folder is None else Path(folder), progress=progress)
    except ModelmakeError as error:
        if error.hint:
            error.add_note(error.hint)  # what the command line shows below the error
        raise


class _Database:
    """doit's database of our projects, for the entry point in pyproject.toml; made by a call.

    Every `doit` in the environment loads what entry points name, before it looks at its command
    line. Where there are models, the hooks of plugins.py come with it; elsewhere none of our tasks.
    """

    desc = "JSON, without records of modelmake's own tasks"

    def __init__(self) -> None:
        if _are_models_here():
            import downloader.tasks.plugins  # noqa: F401, PLC0415 - for its hooks, and as above

    def __call__(self, *arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - doit's
        from downloader.tasks.plugins import ProjectDatabase  # noqa: PLC0415 - as above

        return ProjectDatabase(*arguments, **named)


def _are_models_here() -> bool:
    """Whether `find_manifest` may find some; that would import half of us."""
    if any(name.endswith("_MANIFEST") for name in os.environ):  # settings.py knows which one
        return True
    with contextlib.suppress(OSError):  # the working directory is gone
        here = Path.cwd()
        return any(os.path.lexists(each / "models.yaml") for each in (here, *here.parents))
    return False


def __getattr__(name: str) -> Any:  # noqa: ANN401 - PEP 562
    if name == "Progress":
        from downloader.progress.callbacks import Progress  # noqa: PLC0415 - as above

        return Progress
    if name == "database":
        return _Database()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
