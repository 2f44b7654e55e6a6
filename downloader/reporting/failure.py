"""An error as what is told of it."""

import re
import traceback

from downloader.errors import ModelmakeError
from downloader.reporting.events import Failed


def told(error: ModelmakeError, *, is_debug: bool = False) -> Failed:
    """Return what is told of an error; whoever tells it adds whose it is.

    Args:
        error: Ours, so its text holds no secret.
        is_debug: Whether to say where in the code it arose. Only lines of code are shown, and not
            what led to it: the texts of others' errors may hold what a URL's query says.
    """
    lines = traceback.format_tb(error.__traceback__) if is_debug else []
    return Failed(
        task="", error=str(error), hint=error.hint, code=code_of(error), trace="".join(lines)
    )


def code_of(error: BaseException) -> str:
    """Return the name of an error's kind for programs: `not-found`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", type(error).__name__).lower()
