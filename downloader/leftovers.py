"""Files in the models' folders that models.lock does not name: the user's own, or older ones.

Nothing here removes one: a file that nobody asked for may be somebody's work.
"""

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from downloader import receipts
from downloader.disk.private_folder import PRIVATE_FOLDER
from downloader.model import Model
from downloader.progress import counted
from downloader.verdict import EXTRA, Verdict, kind

SHOWN_NAMES = 3


def extra(models: Iterable[Model], every: Sequence[Model]) -> Iterator[Verdict]:
    """Yield what lies in the models' folders and belongs to no model, by name; each once.

    A folder that a model shares whose files are not known yet tells nothing, and is passed over.

    Args:
        models: Whose folders.
        every: All models of the project: one may have its files in another's folder.
    """
    named, unknown = _named(every), _unknown(every)
    seen = set[str]()
    for model in models:
        for name in _below(model.folder.as_posix()):
            if name in named or name in seen:
                continue
            seen.add(name)
            path = Path(name)
            status = None if any(map(path.is_relative_to, unknown)) else _look(path)
            if status is not None:
                yield _extra(model, path, status)


def outlived(model: Model, every: Sequence[Model]) -> Iterator[str]:
    """Yield the paths of what was fetched for a model once, and that models.lock names no longer.

    The receipts tell what was fetched; what was changed since is the user's own.

    Args:
        model: Whose folder.
        every: As `extra`.
    """
    named, unknown = _named(every), _unknown(every)
    for path, receipt in sorted(receipts.load(model.folder).items()):
        target = model.folder / path
        if target.as_posix() in named or any(map(target.is_relative_to, unknown)):
            continue
        status = _look(target)
        if status is not None and receipt.matches(status):
            yield path


def outlived_line(model: Model, every: Sequence[Model]) -> str:
    """Return a line about `outlived`, empty when there is none."""
    paths = list(outlived(model, every))
    if not paths:
        return ""
    names = ", ".join(paths[:SHOWN_NAMES]) + ", …" * (len(paths) > SHOWN_NAMES)
    verb = "is" if len(paths) == 1 else "are"
    return (
        f"{counted(len(paths), 'file')} in {model.folder} {verb} no longer named by models.lock, "
        f"and left there: {names}"
    )


def _named(every: Iterable[Model]) -> set[str]:
    """Return every place that a model has, as posix text: a Path for each costs more than a look.

    An archive that is not to be kept is one all the same: where it lies, it is unpacked from.
    """
    return {
        f"{model.folder.as_posix()}/{each.path}"
        for model in every
        for each in (*model.artifacts, *(model.locked.archives if model.locked else ()))
    }


def _unknown(every: Iterable[Model]) -> list[Path]:
    """Return the folders where a model has files, and nobody knows which."""
    return [each.folder for each in every if each.is_stale or not each.locked or each.not_unpacked]


def _below(folder: str) -> Iterator[str]:
    """Yield all but folders below a folder, in order, but for what modelmake keeps of its own."""
    try:
        entries = sorted(os.scandir(folder), key=lambda each: each.name)
    except OSError:
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            if entry.name != PRIVATE_FOLDER:
                yield from _below(f"{folder}/{entry.name}")
        else:
            yield f"{folder}/{entry.name}"


def _look(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except OSError:
        return None


def _extra(model: Model, path: Path, status: os.stat_result) -> Verdict:
    is_file = stat.S_ISREG(status.st_mode)
    what = f"{status.st_size:,} bytes" if is_file else kind(status.st_mode)
    return Verdict(
        model=model.name,
        path=path.relative_to(model.folder).as_posix(),
        state=EXTRA,
        size=status.st_size if is_file else 0,
        detail=f"is {what}, and models.lock does not name it",
    )
