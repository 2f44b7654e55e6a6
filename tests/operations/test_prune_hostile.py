"""Trees made to lead a removal elsewhere: only what is prune's own goes (row G4)."""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from downloader.errors import StoreError
from downloader.fs.scratch import machine
from downloader.store.projects import known
from tests.operations.test_prune import DEAD, NAMED, pruner, put


@dataclass(frozen=True)
class Thing:
    """Something in a tree: a file, a folder, or a symlink to the outside."""

    where: tuple[str, ...]
    kind: str


PARTS = [".modelmake", "partials", "quarantine", "linking", "unpacking", "archives", "sha256"]
PARTS += ["aa", NAMED, "growing", "projects", "models", "m", f"{machine()}-{DEAD}-0123abcd"]
PARTS += ["a.part", "a.journal", ".a.new", "target.bin", ".."]
things = st.builds(
    Thing,
    st.lists(st.sampled_from(PARTS[:-1]), min_size=1, max_size=5).map(tuple),
    st.sampled_from(["file", "folder", "link to a file", "link to a folder", "dangling"]),
)
deep = st.sampled_from(
    [(".modelmake", name, "a.part") for name in ("partials", "quarantine", "linking", "archives")]
    + [(".modelmake", "unpacking", f"{machine()}-{DEAD}-0123abcd", "x")]
    + [("sha256", "aa", NAMED), ("quarantine", "a"), ("growing", "a"), ("projects", ".a.new")]
)
likely = st.builds(Thing, deep, st.sampled_from(["file", "link to a file", "link to a folder"]))
parents = st.builds(
    lambda where, depth: Thing(where[: max(1, depth)], "link to a folder"), deep, st.integers(1, 3)
)


def build(base: Path, tree: Sequence[Thing], outside: Path) -> None:
    """Make the things below a folder, as far as earlier ones allow."""
    for thing in tree:
        path = base.joinpath(*thing.where)
        try:
            if outside in path.parent.resolve().parents or path.parent.resolve() == outside:
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            _make(path, thing.kind, outside)
        except OSError:
            continue


def _make(path: Path, kind: str, outside: Path) -> None:
    if kind == "file":
        path.write_bytes(b"inside")
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to({"file": outside / "file", "folder": outside}.get(kind[10:], "nowhere"))


def looks(*folders: Path) -> dict[Path, Any]:
    """Return everything below folders, symlinks as such."""
    found: dict[Path, Any] = {}
    for folder in folders:
        for above, names, files in os.walk(folder):
            for each in (*names, *files):
                path = Path(above, each)
                found[path] = path.read_bytes() if path.is_file() else path.is_symlink()
    return found


def furnish(outside: Path) -> None:
    """Put outside whatever prune would remove inside, and a file."""
    put(outside / "file")
    put(outside / "a.part")
    put(outside / "a")
    put(outside / ".a.new")
    put(outside / NAMED)
    put(outside / "x")
    for name in ("partials", "quarantine", "aa", "sha256/aa"):
        put(outside / name / "a.part")
        put(outside / name / NAMED)
    put(outside / f"{machine()}-{DEAD}-0123abcd" / "x")


@examples(suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(
    st.lists(st.one_of(things, likely, parents), max_size=14),
    st.lists(st.one_of(things, likely, parents), max_size=14),
)
def test_no_tree_leads_prune_elsewhere(
    in_model: Sequence[Thing], in_store: Sequence[Thing]
) -> None:
    """Whatever lies in a model's folder and in a store: all else is there afterwards as before."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model, store, outside = folder / "p" / "models" / "m", folder / "store", folder / "outside"
        furnish(outside)
        model.mkdir(parents=True)
        store.mkdir()
        build(model, in_model, outside)
        build(store, in_store, outside)
        (folder / "p" / "models.yaml").touch()
        before = looks(outside, model, store)
        removed = pruned(folder, model)
        after = looks(outside, model, store)
        gone = before.keys() - after.keys()

        assert all(_is_meant(each, model, store, removed) for each in gone), gone
        for path in after.keys() & before.keys():
            assert after[path] == before[path], path


def pruned(folder: Path, model: Path) -> set[Path]:
    """Prune a store and one model, and return what is gone by its word: nothing when it refused."""
    lock, manifest = folder / "p" / "models.lock", folder / "p" / "models.yaml"
    try:
        own = pruner(folder, days_later=10)
        own._own = known(lock, manifest, {"m": str(model)})
        return {each.path.path for each in own.remove(own.find())}
    except StoreError:
        return set()


def _is_meant(path: Path, model: Path, store: Path, removed: set[Path]) -> bool:
    """Whether a path that is gone is one that prune may remove and said it did."""
    is_told = any(path == each or each in path.parents for each in removed)
    is_journal = path.suffix == ".journal" and path.with_suffix(".part") in removed
    is_ours = path.is_relative_to(model / ".modelmake") or path.is_relative_to(store)
    return is_ours and (is_told or is_journal)
