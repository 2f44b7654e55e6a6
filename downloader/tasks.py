"""All tasks by name, for `dodo.py`; nothing runs at import."""

from downloader.commands.adopt import task_adopt
from downloader.commands.bundle import task_bundle
from downloader.commands.ci_key import task_ci_key
from downloader.commands.lock import task_lock
from downloader.commands.outdated import task_outdated
from downloader.commands.plan import task_plan
from downloader.commands.prune import task_prune
from downloader.commands.verify import task_verify
from downloader.fetch_tasks import task_fetch
from downloader.reporter import Reporter
from downloader.settings import FILES_AT_ONCE

__all__ = [
    "DOIT_CONFIG",
    "task_adopt",
    "task_bundle",
    "task_ci_key",
    "task_fetch",
    "task_lock",
    "task_outdated",
    "task_plan",
    "task_prune",
    "task_verify",
]

DOIT_CONFIG = {
    "backend": "modelmake",
    "continue": True,
    "default_tasks": ["fetch"],
    "num_process": FILES_AT_ONCE,
    "par_type": "thread",
    "reporter": Reporter,
}
