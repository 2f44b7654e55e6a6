"""All tasks by name, for `dodo.py`; no task runs at import.

The imports below take half of the time until a run begins. Ctrl-C ends them in one line too.
"""

import contextlib
import gc
import os
import signal
import sys
from types import FrameType

from downloader.progress.streams import guard, tell
from downloader.settings import FILES_AT_ONCE, wants_json


def _interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    """End before there is a run; `Runtime.stop_on_signals` takes over when there is one."""
    guard(as_json=wants_json())
    tell("Interrupted. Run it again to resume.", "interrupted")
    os._exit(128 + number)  # an exception may be swallowed by an import that is under way


with contextlib.suppress(ValueError):  # only the main thread may
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)

_was_collecting = gc.isenabled()
gc.disable()  # what is imported stays: each look of the collector at it would be in vain

from downloader.tasks._commands import (  # noqa: E402
    task_adopt,
    task_bundle,
    task_ci_key,
    task_lock,
    task_outdated,
    task_plan,
    task_prune,
    task_publish,
    task_serve,
    task_verify,
)
from downloader.tasks._fetch import task_fetch  # noqa: E402
from downloader.tasks._reporter import Reporter  # noqa: E402
from downloader.tasks._runner import install as install_runner  # noqa: E402
from downloader.tasks._words import install as install_words  # noqa: E402

install_words()
install_runner()
gc.freeze()
if _was_collecting:
    gc.enable()

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

DOIT_CONFIG = {
    "backend": "modelmake",
    "continue": True,
    "default_tasks": ["fetch"],
    "num_process": FILES_AT_ONCE,
    "par_type": "thread",
    "reporter": Reporter,
}

for _maker in [value for name, value in globals().items() if name.startswith("task_")]:
    _maker.__wrapped__ = sys.modules[__name__]
    # doit asks for the line of each maker, to sort them. Python parses its text for that, but not
    # if it stands for a whole module. All our makers come first then, in the order of their names.
