"""Remove models from models.yaml and models.lock: what `modelmake remove` does.

Their files stay: they may be worth more than the entry, and a folder may hold files of others.
"""

import functools
import os
import shlex
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from downloader.artifact import counted
from downloader.errors import ManifestError
from downloader.fs.files import PRIVATE_FOLDER
from downloader.fs.rooted_path import read_own
from downloader.manifest.edit import remove_entry
from downloader.project.changes import summary
from downloader.project.project import Model, Project, compiled

MOST_NAMED = 5
"""Number of files that the command to remove them names one by one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """A model that was removed.

    Attributes:
        name: What it was called.
        was_locked: Whether models.lock had it.
        hint: What stays of it on disk, and the command that removes that; empty if nothing does.
    """

    name: str
    was_locked: bool
    hint: str


def remove(project: Project, names: Sequence[str], start: Path) -> list[Removed]:
    """Remove models from models.yaml, with the comments that belong to them, and from models.lock.

    Args:
        project: Whose models.
        names: The models.
        start: Where the command was typed: the paths that are printed are relative to it.

    Raises:
        ManifestError: models.yaml cannot be used or edited.
        ModelmakeError: It has no model of a name.
        LockError: models.lock cannot be used, or may not be written.
        StoreError: The disk refused.
    """
    file = project.manifest_path.name

    def edit(text: bytes) -> bytes:
        return functools.reduce(lambda text, name: remove_entry(text, file, name), names, text)

    names = list(dict.fromkeys(names))
    after = compiled(edit(read_own(project.manifest_path)), file)
    try:
        models = {model.name: model for model in project.models()}
    except ManifestError:  # one of these entries is wrong
        project.declared, models = after, {}
    if project.lockfile.models.keys() & set(names):
        project.refuse_to_write()
    locked = project.lockfile.models.keys()
    others = [model for name, model in models.items() if name not in names]
    removed = [
        Removed(
            name=name,
            was_locked=name in locked,
            hint=_left(models[name], others, start) if name in models else "",
        )
        for name in names
    ]
    project.edit_manifest(edit)
    project.drop_locked(names)
    return removed


def _left(model: Model, others: Sequence[Model], start: Path) -> str:
    """Return what stays on disk of a model, and how to remove that and nothing else."""
    folder = os.path.relpath(model.folder, start)
    files = [each.path for each in model.artifacts if os.path.lexists(model.folder / each.path)]
    if model.locked is None:
        return f"Files in {folder} stay." if model.folder.exists() else ""
    if not files:
        return f"Nothing of it is in {folder}."
    own = model.declared.folder
    shared = [other.name for other in others if _overlap(own, other.declared.folder)]
    if tree := _own_tree(model, files, is_shared=bool(shared)):
        what = f"{folder} ({summary(model.locked)})"
        return f"Its files stay in {what}. To remove them: `rm -r {_quoted(folder, tree)}`"
    user = f"{shared[0]} uses" if shared else "holds other files"
    stay = "stays" if len(files) == 1 else "stay"
    what = f"{counted(len(files), 'file')} of it {stay} in {folder}, which {user} too."
    if len(files) > MOST_NAMED:
        return f"{what} `doit clean` removes them only while models.yaml declares it."
    paths = " ".join(_quoted(folder, path) for path in files)
    return f"{what} To remove them: `rm {paths}`"


def _own_tree(model: Model, files: Sequence[str], *, is_shared: bool) -> str:
    """Return the folder, from the model's on, that holds its files only; empty if none does.

    In a cache of the Hugging Face tools that is the repository's folder.
    """
    tops = {path.partition("/")[0] for path in files}
    trees = [*tops] if len(tops) == 1 and all("/" in path for path in files) else []
    whole = [] if is_shared else ["."]
    is_repository_apart = model.declared.entry.identity() is not None
    for tree in (*trees, *whole) if is_repository_apart else (*whole, *trees):
        if _holds_only(model.folder, tree, set(files)):
            return tree
    return ""


def _holds_only(folder: Path, tree: str, files: AbstractSet[str]) -> bool:
    """Whether nothing but these files, and what modelmake keeps beside them, is in a folder."""

    def fail(error: OSError) -> NoReturn:
        raise error

    try:
        for place, folders, names in os.walk(folder / tree, onerror=fail):
            here = Path(place)
            if here == folder:
                folders[:] = [each for each in folders if each != PRIVATE_FOLDER]
            links = [each for each in folders if (here / each).is_symlink()]
            paths = {(here / each).relative_to(folder).as_posix() for each in (*links, *names)}
            if not paths <= files:
                return False
    except OSError:  # who knows what it holds
        return False
    return True


def _quoted(folder: str, path: str) -> str:
    text = os.path.normpath(f"{folder}/{path}")
    return shlex.quote(f"./{text}" if text.startswith("-") else text)


def _overlap(one: str, other: str) -> bool:
    return f"{one}/".startswith(f"{other}/") or f"{other}/".startswith(f"{one}/")
