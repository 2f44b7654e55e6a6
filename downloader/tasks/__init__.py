"""All tasks by name, for `dodo.py`; nothing runs at import."""

from downloader.settings import FILES_AT_ONCE
from downloader.tasks._commands import (
    task_adopt,
    task_bundle,
    task_ci_key,
    task_lock,
    task_outdated,
    task_plan,
    task_prune,
    task_verify,
)
from downloader.tasks._fetch import task_fetch
from downloader.tasks._reporter import Reporter
from downloader.tasks._words import install

install()

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
