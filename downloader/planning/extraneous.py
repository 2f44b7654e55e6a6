"""Files in a model's folder that models.lock does not name; doit leaves them alone."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from downloader import receipts
from downloader.model import Model
from downloader.planning.plan import Extraneous


class Strangers:
    """Finds what no model of a project names.

    Args:
        root: The folder of models.yaml.
        models: Every model of the project: two may share a folder.
    """

    def __init__(self, root: Path, models: Iterable[Model]) -> None:
        self._root = root
        models = list(models)
        self._named = frozenset(
            f"{model.declared.folder}/{each.path}"
            for model in models
            if model.locked
            for each in (*model.locked.files, *model.locked.archives)
        )
        self._others = frozenset(model.declared.folder for model in models)
        self._unknown = frozenset(model.declared.folder for model in models if model.locked is None)
        self._searched = set[str]()

    def beside(self, model: Model) -> tuple[Extraneous, ...]:
        """Return what is in the model's folder and named by nobody, told for one model only.

        Nothing where nobody can tell: of a model that is not locked, or in a folder that it shares
        with such a one.
        """
        folder = model.declared.folder
        if folder in self._unknown or folder in self._searched:
            return ()
        self._searched.add(folder)
        found = sorted(self._found(folder))
        return tuple(Extraneous(path=path[len(folder) + 1 :], size=size) for path, size in found)

    def _found(self, folder: str) -> Iterator[tuple[str, int]]:
        try:
            entries = os.scandir(self._root / folder)
        except OSError:
            return
        with entries:
            for each in entries:
                path = f"{folder}/{each.name}"
                if each.is_dir(follow_symlinks=False):
                    if each.name != receipts.PRIVATE_FOLDER and path not in self._others:
                        yield from self._found(path)
                elif path not in self._named:
                    yield path, _size_of(each)


def _size_of(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat(follow_symlinks=False).st_size
    except OSError:
        return 0
