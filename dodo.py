"""The tasks by name; `doit list` shows them. Copy this file beside any models.yaml."""

from downloader.tasks import (
    DOIT_CONFIG,
    task_adopt,
    task_bundle,
    task_ci_key,
    task_fetch,
    task_lock,
    task_outdated,
    task_plan,
    task_prune,
    task_publish,
    task_serve,
    task_verify,
)

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
    "task_publish",
    "task_serve",
    "task_verify",
]
