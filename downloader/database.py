"""doit's database, where it can do no harm: a hint that may be torn, old or gone.

The truth about our targets lies beside them (receipts), so nothing of our tasks is written here,
and a project with no tasks of its own has no database file. `doit forget` drops the receipts: the
next run then hashes the targets, and moves nothing when they are right.
"""

from pathlib import Path
from typing import Any

from doit.dependency import DatabaseException, JsonDB

from downloader import options, receipts
from downloader.disk.durable import write_file
from downloader.errors import ModelmakeError
from downloader.fs.rooted_path import RootedPath
from downloader.runtime import current
from downloader.selection import is_ours
from downloader.streams import tell

options.install()  # doit loads its databases before it reads the command line


class ProjectDatabase(JsonDB):  # type: ignore[misc]
    """doit's JSON database, made whole after a tear, written in one step."""

    desc = "JSON, without records of modelmake's own tasks"

    def __init__(self, name: str, codec: Any, *, module_name: str | None = None) -> None:  # noqa: ANN401
        self._forgotten: set[str] = set()
        self._db: dict[str, Any] = {}
        self._is_damaged = False
        super().__init__(name, codec, module_name=module_name)
        self._is_on_disk = bool(self._db) or self._is_damaged

    def _load(self) -> dict[str, Any]:
        """Return what the file holds, nothing when it is damaged or another backend's."""
        try:
            found = super()._load()
        except (DatabaseException, OSError):
            found = None
        if not isinstance(found, dict):
            self._is_damaged = True
            tell(f"{self.name} is damaged or of another kind: it is begun anew.")
            return {}
        return found

    def set(self, task_id: str, dependency: str, value: object) -> None:
        """Store a value; ours only where the user said `doit ignore`."""
        if not is_ours(task_id) or dependency == "ignore:":
            super().set(task_id, dependency, value)

    def remove(self, task_id: str) -> None:
        """Forget a task."""
        super().remove(task_id)
        if task_id.partition(":")[0] == "fetch":  # others have no receipts, maybe no models.yaml
            self._forgotten.add(task_id)

    def remove_all(self) -> None:
        """Forget every task."""
        super().remove_all()
        self._forgotten.update(f"fetch:{each.name}" for each in current().project.declared)

    def dump(self) -> None:
        """Write what is to be kept, and drop the receipts of what was forgotten."""
        try:
            self._drop_receipts()
            if self._db or self._is_on_disk:
                write_file(RootedPath.of(Path(self.name)), self.codec.encode(self._db).encode())
        except ModelmakeError as error:
            tell(error.report())

    def _drop_receipts(self) -> None:
        for model in current().project.models() if self._forgotten else ():
            group = f"fetch:{model.name}"
            is_default = not model.declared.entry.optional and "fetch" in self._forgotten
            paths = [
                artifact.path
                for artifact in model.artifacts
                if is_default or {group, f"{group}/{artifact.path}"} & self._forgotten
            ]
            if paths:
                receipts.forget(model.folder, paths)
