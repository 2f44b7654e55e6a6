"""A project with victims all around it, and a watcher that compares them before and after a run.

    root/d7/d6/d5/world/outer/project/models/tiny      the model, eight folders deep
    root/…/victim.txt                                  in each folder from root to models
    root/…/world/victim-dir/                           a folder that looks like a model's own

Every victim has the bytes of a file of the model, so that no digest keeps anybody from it.
"""

import hashlib
import os
import shutil
import stat
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tests.conftest import changes_results
from tests.e2e.content import sha256, toy, toy_content
from tests.e2e.project import Project, Run
from tests.e2e.together.projects import JOB, bot, usual_checkpoints
from tests.e2e.warm import Warm
from tests.projects import serve_gpt2
from tests.servers.faulty import FaultyServer
from tests.servers.together.server import TogetherServer

Looks = Mapping[str, tuple[object, ...]]
"""How each path below a folder looks, without what reading changes."""

BYTES: Final = toy_content("a.bin")
MODELS = ("tiny", "gpt", "bot", "raw", "other")
OWN_FILES = (".doit.db", ".modelmake", "models.lock", "models.pieces")
"""What a run may write in a project, beside the folders of the models."""
DEPTH = 8
"""How many folders are above a model's, up to the root."""
INSIDE: tuple[str, ...] = (
    "a.bin",
    "file.bin",
    "sub/file.bin",
    "receipts",
    "manifest.json",
    "precious",
    "x.tar",
)
INSIDE += ("partials/precious.part", "quarantine/precious", "archives/x.tar", "linking/precious")
INSIDE += ("unpacking/precious", ".modelmake/partials/precious.part")
"""What a private folder, a model's or a project's may hold, as victims."""


def look(root: Path) -> Looks:
    """Return how everything below a folder looks: kind, mode, bytes and which file it is."""
    found: dict[str, tuple[object, ...]] = {}
    for above, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = Path(above, name)
            found[path.relative_to(root).as_posix()] = _looks(path)
    return found


def _looks(path: Path) -> tuple[object, ...]:
    status = path.lstat()
    mode = stat.filemode(status.st_mode)
    if stat.S_ISDIR(status.st_mode):
        return (mode,)  # its time changes with a file that is its model's
    if stat.S_ISLNK(status.st_mode):
        return mode, path.readlink()
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return mode, digest, status.st_ino, status.st_nlink, status.st_mtime_ns


def changes(before: Looks, after: Looks, but: Iterable[str] = ()) -> list[str]:
    """Return what changed, a few words each.

    Args:
        before: How it looked.
        after: How it looks.
        but: What may change, and all below it.
    """
    may = tuple(but)
    told = []
    for path in sorted(before.keys() | after.keys()):
        if any(path == each or path.startswith(f"{each}/") for each in may):
            continue
        if path not in after:
            told.append(f"{path} is gone")
        elif path not in before:
            told.append(f"{path} is new")
        elif before[path] != after[path]:
            told.append(f"{path} is changed")
    return told


class World:
    """The project and its victims.

    Args:
        folder: An empty one.
        warm: What runs doit.
        server: Of the models' files.
        together: The fake of Together.
        store: Whether there is a shared store.

    Attributes:
        root: What is watched.
        project: The project; its models are in place at first.
        victims: A folder that looks like a model's, a private one or a project.
    """

    def __init__(
        self,
        folder: Path,
        warm: Warm,
        server: FaultyServer,
        together: TogetherServer,
        *,
        store: bool = False,
    ) -> None:
        self.root, self._pristine, self._warm = folder / "root", folder / "pristine", warm
        self.world = self.root / "d7" / "d6" / "d5" / "world"
        self.victims, self.store = self.world / "victim-dir", folder / "store"
        self.project = Project(self.world / "outer" / "project")
        self.home = folder / "home"
        self.home.mkdir()
        self._variables = {
            "HOME": str(self.home),
            "MODELMAKE_CONNECTIONS": "1",
            "MODELMAKE_RETRIES": "1",
            "MODELMAKE_STORE": str(self.store) if store else "off",
            "MODELMAKE_TIMEOUT": "5",
            "OPENAI_GPT2_BASE_URL": serve_gpt2(server, "355M"),
            "TOGETHER_API_KEY": together.key,
            "TOGETHER_BASE_URL": together.url,
        }
        self._build(server, together)

    def _build(self, server: FaultyServer, together: TogetherServer) -> None:
        """Fetch the models, put the victims around them, and keep a copy of it all."""
        together.add_job(JOB, checkpoints=usual_checkpoints())
        tiny = toy(server, ["a.bin", "sub/file.bin"])
        tiny["files"][1]["sha256"] = sha256(toy_content("sub/file.bin"))
        self.project.declare(
            {
                "tiny": tiny,
                "gpt": {"source": "openai-gpt2", "size": "355M"},
                "bot": bot(type="adapter", checkpoint="all", extract=True, keep_archive=False),
                "raw": bot(type="merged"),
                "other": toy(server, ["b.bin"]),
            }
        )
        run = self.run([])
        assert run.status == 0, run.text
        base = self.project.folder / "models"
        for folder in (base, *list(base.parents)[: DEPTH - 1]):
            put(folder / "victim.txt")
        for name in ("victim.txt", *INSIDE):
            put(self.victims / name)
        (self.victims / "file.bin").write_bytes(toy_content("sub/file.bin"))
        (self.victims / "dodo.py").write_text("raise SystemExit('this is not to run')\n")
        put(self.world / "attic" / "a.bin")
        (self.world / "victim.txt").chmod(0o640)
        self.honest_lock = self.project.lock.read_bytes()
        self.keep()

    @property
    def honest(self) -> dict[str, Any]:
        """The models of the honest lock, to be changed."""
        import json  # noqa: PLC0415

        found: dict[str, Any] = json.loads(self.honest_lock)["models"]
        return found

    def keep(self) -> None:
        """Make what there is now what `reset` restores."""
        shutil.rmtree(self._pristine, ignore_errors=True)
        bases = [each for each in (self.root, self.store) if each.exists()]
        for each in bases:
            shutil.copytree(each, self._pristine / each.name, symlinks=True)
        self._kept = {each: dict(look(each)) for each in bases}

    def reset(self) -> None:
        """Make everything as it was kept, as far as it looks otherwise."""
        for base, kept in self._kept.items():
            now = look(base)
            other = sorted(path for path in now.keys() | kept if now.get(path) != kept.get(path))
            for path in reversed([each for each in other if each in now]):
                _remove(base / path, is_kept=_is_folder(kept.get(path)))
            for path in other:
                if path in kept:
                    _restore(self._pristine / base.name / path, base / path)
                    kept[path] = _looks(base / path)

    def begin(self) -> None:
        """Take away a file of each kind, so that runs have something to do; plant symlinks."""
        for name, path in (("tiny", "sub/file.bin"), ("bot", "step-10/tokenizer.json")):
            self.project.target(name, path).unlink()
        for name in ("tiny", "bot", "raw"):
            self.project.target(name, "link").symlink_to(self.victims)

    def run(self, words: Sequence[str], cwd: Path | None = None, **variables: str) -> Run:
        """Run doit in the project, or in another folder."""
        kept = {name: each for name, each in os.environ.items() if not changes_results(name)}
        environment = {**kept, **self.project.variables, **self._variables, **variables}
        return self._warm.run(words, cwd or self.project.folder, environment)

    def own(self, *models: str, project: str = "project") -> list[str]:
        """Return what a run about these models may change, relative to the root."""
        base = (self.world / "outer" / project).relative_to(self.root).as_posix()
        return [f"{base}/{name}" for name in OWN_FILES] + [
            f"{base}/models/{name}" for name in models
        ]


def _is_folder(looks: tuple[object, ...] | None) -> bool:
    return looks is not None and str(looks[0]).startswith("d")


def _remove(path: Path, *, is_kept: bool) -> None:
    """Remove what is there, but for a folder that is kept."""
    if not path.is_dir() or path.is_symlink():
        path.unlink()
    elif not is_kept:
        path.rmdir()


def _restore(kept: Path, path: Path) -> None:
    """Make a path as it is kept: its folder comes first."""
    if kept.is_dir() and not kept.is_symlink():
        path.mkdir(exist_ok=True)
        path.chmod(kept.stat().st_mode)
    else:
        shutil.copy2(kept, path, follow_symlinks=False)


def put(path: Path) -> None:
    """Make a victim."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(BYTES)
