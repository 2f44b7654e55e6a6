"""As much of GitLab's runner as our snippet needs: `extends`, scripts, the cache.

GitLab's cache is a zip archive: times are kept in whole seconds. The key of `cache:key:files` is
made of those files, and a cache is replaced by the next one of its key.
"""

import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.ci.machine import Machine
from tests.e2e.project import REPOSITORY, Run

SNIPPET = REPOSITORY / "examples" / "gitlab" / "modelmake.gitlab-ci.yml"
NANOSECONDS = 10**9

Job = dict[str, Any]


def job(name: str) -> Job:
    """Return a job of the snippet with what it extends."""
    jobs = yaml.safe_load(SNIPPET.read_text(encoding="utf-8"))
    return merged(jobs[jobs[name]["extends"]], jobs[name])


def merged(base: Job, own: Job) -> Job:
    """Return both as GitLab merges them: mappings key by key, anything else replaced."""
    both = {**base, **own}
    for key in base.keys() & own.keys():
        if isinstance(base[key], dict):
            both[key] = merged(base[key], own[key])
    return both


@dataclass(frozen=True)
class Cache:
    """A runner's cache: folders by key."""

    folder: Path

    def run(self, machine: Machine, name: str) -> Run:
        """Run a job of the snippet on a fresh machine, with its cache before and after."""
        said = job(name)
        cache = said["cache"]
        place = self.folder / self._key(machine, cache["key"])
        if "pull" in cache["policy"] and place.exists():
            shutil.copytree(place, machine.checkout, dirs_exist_ok=True)
        run = machine.bash("\n".join(said["before_script"] + said["script"]), {})
        if "push" in cache["policy"] and (run.status == 0 or cache.get("when") == "always"):
            self._save(machine, cache["paths"], place)
        return run

    def _key(self, machine: Machine, said: dict[str, Any]) -> str:
        texts = b"".join((machine.checkout / name).read_bytes() for name in said["files"])
        return f"{said['prefix']}-{hashlib.sha1(texts, usedforsecurity=False).hexdigest()}"

    def _save(self, machine: Machine, paths: list[str], place: Path) -> None:
        shutil.rmtree(place, ignore_errors=True)
        for path in filter(lambda each: (machine.checkout / each).exists(), paths):
            shutil.copytree(machine.checkout / path, place / path)
        for file in filter(Path.is_file, place.rglob("*")):
            seconds = file.stat().st_mtime_ns // NANOSECONDS * NANOSECONDS
            os.utime(file, ns=(seconds, seconds))
