"""The tasks by name; `doit list` shows them. Copy this file beside any models.yaml."""

from downloader.tasks import (
    DOIT_CONFIG,
    task_ci_key,
    task_fetch,
    task_lock,
    task_prune,
    task_verify,
)

__all__ = ["DOIT_CONFIG", "task_ci_key", "task_fetch", "task_lock", "task_prune", "task_verify"]
