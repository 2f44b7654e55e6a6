"""`doit bundle`: models with their lock, for a machine without network."""

from pathlib import Path
from typing import Any

from downloader.commands.command import check_stop, command, option, wanted_models
from downloader.errors import ModelmakeError
from downloader.failing import failing
from downloader.progress import bytes_text, counted
from downloader.runtime import current
from downloader.streams import say, tell

PACKED = frozenset({".tgz", ".gz", ".zst", ".zip", ".bz2", ".xz"})
"""Names of files that nobody means for a folder; weights hardly shrink."""


def task_bundle() -> dict[str, Any]:
    """Make the task that writes a bundle."""
    return command(
        bundle,
        "write models and lock for a machine without network: --out DIR or FILE.tar",
        option("out", "a folder, or a file that ends with .tar"),
        takes_names=True,
    )


@failing
def bundle(names: list[str], out: str) -> None:
    """Write the named models, or all that are here, into a folder or one tar."""
    from downloader.bundling import bundling, contents  # noqa: PLC0415 - the no-op run has no use
    from downloader.transfer.turn import Turn  # noqa: PLC0415

    if not out:
        raise ModelmakeError("Nothing says where to.", hint="Write `doit bundle --out DIR`.")
    project, place = current().project, Path(out).expanduser()
    models = wanted_models(names)
    what = contents.contents(project, models)
    if place.suffix in PACKED:
        raise ModelmakeError(f"{place} would be a folder.", hint="Name a folder, or a file.tar.")
    is_watched, there = project.settings.is_preflight, 0
    if place.suffix == ".tar":
        turn = Turn(current().stop, tell, doing="writing")
        bundling.write_tar(what, place, check_stop, turn, is_watched=is_watched)
    else:
        there = bundling.write_folder(what, place, check_stop, is_watched=is_watched)
    size = sum(each.size for each in what.pieces)
    before = f", {there:,} there already" * bool(there)
    files = f"{counted(len(models), 'model')}, {counted(what.files, 'file')}"
    say(f"bundled {files} ({bytes_text(size)}{before}) in {place}")
