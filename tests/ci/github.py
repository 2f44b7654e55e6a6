"""As much of GitHub's runner as a composite action needs: expressions, outputs, the cache.

Only what our action uses is understood; anything else is an error, so that nothing is passed over.
The grammar is that of GitHub's "Metadata syntax" and "Evaluate expressions" pages.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.ci.machine import Machine, pack, unpack
from tests.e2e.project import REPOSITORY, Run

EXPRESSION = re.compile(r"\$\{\{\s*(.*?)\s*\}\}")
OUTPUT = re.compile(r"^(\w[\w-]*)(?:=(.*)|<<(.+)\n((?:.*\n)*?)\3)$", re.MULTILINE)

Step = dict[str, Any]


def action() -> dict[str, Any]:
    """Return what action.yml says."""
    text = (REPOSITORY / "action.yml").read_text(encoding="utf-8")
    loaded: dict[str, Any] = yaml.safe_load(text)
    return loaded


@dataclass
class Cache:
    """GitHub's cache of a repository: archives by key, which are never replaced."""

    folder: Path
    keys: list[str] = field(default_factory=list)
    log: list[str] = field(default_factory=list)

    def restore(self, machine: Machine, given: Mapping[str, str]) -> dict[str, str]:
        """Do what actions/cache/restore does, and return its outputs."""
        wanted = [given["key"], *given["restore-keys"].split()]
        found = [key for start in wanted for key in reversed(self.keys) if key.startswith(start)]
        self.log.append(f"restore {found[0] if found else 'nothing'}")
        if not found:
            return {}
        unpack(self._archive(found[0]), machine.checkout)
        return {"cache-hit": str(found[0] == given["key"]).lower()}

    def save(self, machine: Machine, given: Mapping[str, str]) -> dict[str, str]:
        """Do what actions/cache/save does: an archive of what the path's patterns match."""
        assert given["key"] not in self.keys
        patterns = given["path"].splitlines()
        found = [path for pattern in patterns for path in machine.checkout.glob(pattern)]
        names = [path.relative_to(machine.checkout).as_posix() for path in found]
        assert len(names) == len(patterns), (patterns, names)
        pack(self._archive(given["key"]), machine.checkout, names)
        self.keys.append(given["key"])
        self.log.append(f"save {given['key']}")
        return {}

    def _archive(self, key: str) -> Path:
        return self.folder / f"{key}.tar"


class ActionRun:
    """One run of our action in a job.

    Args:
        machine: Where.
        cache: The repository's.
        inputs: What the workflow gives, on top of the defaults.

    Attributes:
        runs: How each step that ran a script ended, by its name.
        outputs: The action's outputs; empty when a step failed.
    """

    def __init__(self, machine: Machine, cache: Cache, **inputs: str) -> None:
        self._machine, self._cache = machine, cache
        self._steps: dict[str, dict[str, str]] = {}
        self.runs: dict[str, Run] = {}
        self.outputs: dict[str, str] = {}
        said = action()
        defaults = {name: str(each["default"]) for name, each in said["inputs"].items()}
        self._inputs: dict[str, str] = defaults
        assert inputs.keys() <= self._inputs.keys()
        self._inputs.update(inputs)
        for number, step in enumerate(said["runs"]["steps"]):
            if not self._is_passed(step) and not self._does(step, number):
                return
        self.outputs = {name: self._filled(each["value"]) for name, each in said["outputs"].items()}

    @property
    def failed(self) -> Run | None:
        """How the step ended that failed; None when none did."""
        return next((run for run in self.runs.values() if run.status), None)

    def _is_passed(self, step: Step) -> bool:
        if "if" not in step:
            return False
        left, right = step["if"].split(" != ")
        return self._value(left) == self._value(right)

    def _does(self, step: Step, number: int) -> bool:
        """Run a step, and return whether it went well."""
        if "uses" in step:
            given = {name: self._filled(str(text)) for name, text in step["with"].items()}
            act = {"restore": self._cache.restore, "save": self._cache.save}
            done = act[step["uses"].partition("@")[0].rpartition("/")[2]](self._machine, given)
            self._steps[step.get("id", "")] = done
            return True
        noted = self._machine.checkout.parent / f"output-{number}"
        noted.touch()
        variables = {name: self._filled(text) for name, text in step.get("env", {}).items()}
        folder = self._machine.checkout / self._filled(step.get("working-directory", "."))
        variables["GITHUB_OUTPUT"] = str(noted)
        assert step["shell"] == "bash"
        run = self.runs[step["name"]] = self._machine.bash(step["run"], variables, folder)
        self._steps[step.get("id", "")] = outputs_of(noted.read_text())
        return run.status == 0

    def _filled(self, text: str) -> str:
        return EXPRESSION.sub(lambda found: self._value(found[1]), text)

    def _value(self, expression: str) -> str:
        """Return the first of the parts around `||` that is not empty."""
        return next(filter(None, map(self._part, expression.split(" || "))), "")

    def _part(self, part: str) -> str:
        if part.startswith("'"):
            return part.strip("'")
        kind, _, rest = part.partition(".")
        if kind == "inputs":
            return self._inputs[rest]
        if kind == "env":
            return self._machine.variables.get(rest, "")
        assert kind == "steps", part
        step, _, name = rest.partition(".outputs.")
        return self._steps[step].get(name, "")


def outputs_of(text: str) -> dict[str, str]:
    """Return what a step wrote to the file that GITHUB_OUTPUT names."""
    return {
        name: value if not end else lines.removesuffix("\n")
        for name, value, end, lines in OUTPUT.findall(text)
    }
