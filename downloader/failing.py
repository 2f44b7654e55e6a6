"""Our errors as doit's failures: exit status 1, what, why and what to do next, no traceback."""

import functools
from collections.abc import Callable
from typing import Any, ParamSpec

from doit.exceptions import TaskFailed

from downloader.errors import ModelmakeError

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
            return TaskFailed(error.report(), report=is_news)

    return wrapped
