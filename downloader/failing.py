"""Our errors as doit's failures: what, why and what to do next, no traceback, and the exit status.

doit ends with 1 after a TaskFailed and with 2 after a TaskError; a variable that cannot be used,
or a models.yaml that is not there, is a mistake in the usage (2), also where that shows only while
a task runs.
"""

import functools
from collections.abc import Callable
from typing import Any, ParamSpec

from doit.exceptions import BaseFail, TaskError, TaskFailed

from downloader.errors import ManifestError, ModelmakeError, SettingError
from downloader.reporting.events import Failed
from downloader.reporting.failure import told
from downloader.runtime import current

P = ParamSpec("P")
Values = dict[str, object]


def failing(act: Callable[P, Values | None]) -> Callable[P, Any]:
    """Return the act with our errors as doit's failures: exit status 1, and no traceback."""

    @functools.wraps(act)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> Any:  # noqa: ANN401 - doit's TaskFailed has no types
        try:
            return act(*args, **kwargs)
        except ModelmakeError as error:
            is_news, error.is_reported = not error.is_reported, True
            kind = TaskError if _is_usage(error) else TaskFailed
            failure = kind(error.report(), report=is_news)
            failure.failed = told(error, is_debug=current().project.settings.is_debug)
            return failure

    return wrapped


def _is_usage(error: ModelmakeError) -> bool:
    is_missing = isinstance(error, ManifestError) and not current().project.manifest_path.exists()
    return is_missing or isinstance(error, SettingError)


def failed_of(fail: BaseFail) -> Failed | None:
    """Return what is told of one of our errors; None where doit has another failure."""
    failed = getattr(fail, "failed", None)
    return failed if isinstance(failed, Failed) else None
