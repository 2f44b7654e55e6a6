"""The demonstration: syncs models.yaml beside it, without network. See README.md.

It has all tasks that a user's dodo.py has; the rest starts an origin and tells the story.
"""

import atexit
import os
import shutil
import sys
from pathlib import Path
from typing import Any

# On this machine alone, whatever the user's environment says; and without a shared store, so that
# every byte is really moved and `clean` leaves nothing behind.
os.environ.pop("MODELMAKE_MANIFEST", None)
os.environ.pop("OPENAI_GPT2_BASE_URL", None)
os.environ.pop("HF_ENDPOINT", None)
os.environ.pop("HF_HUB_OFFLINE", None)
os.environ.pop("TRANSFORMERS_OFFLINE", None)
os.environ.update({"MODELMAKE_STORE": "off", "no_proxy": "127.0.0.1"})

from content import routes
from doit.doit_cmd import DoitMain
from doit.exceptions import InvalidDodoFile
from origin import Origin
from packages import ContentError
from summary import lines

from downloader.tasks import *  # noqa: F403 - a demonstration of all commands
from downloader.tasks import DOIT_CONFIG as USUAL_CONFIG

DOIT_CONFIG = {**USUAL_CONFIG, "default_tasks": ["fetch", "_show"]}
HERE = Path(__file__).resolve().parent
STDOUT = sys.stdout  # as it is now: doit's threads swap it, and may leave another behind
PORT = 24124  # models.yaml names it; below the ports systems give to outgoing connections


def task_show() -> dict[str, Any]:
    """Say what was synced, and what it cost."""
    return {
        "basename": "_show",  # doit says nothing of a task that begins so
        "actions": [show],
        "task_dep": ["fetch"],
        "io": {"capture": False},
        "clean": [remove_the_rest_at_exit],
    }


def show() -> None:
    """Print the report of this run to standard output, once everything is fetched."""
    served = (ORIGIN.requests, ORIGIN.body_bytes) if ORIGIN else (0, 0)
    for line in lines(HERE, *served):
        print(line, file=STDOUT)


def remove_the_rest_at_exit() -> None:
    """Remove what is no task's target, once doit has closed its database."""
    atexit.register(_remove_the_rest)


def _remove_the_rest() -> None:
    for leftover in ("models", ".modelmake", "__pycache__"):
        shutil.rmtree(HERE / leftover, ignore_errors=True)
    for database in HERE.glob(".doit.db*"):
        database.unlink(missing_ok=True)


def start_origin() -> Origin | None:
    """Start the origin when tasks are to run; `doit list`, `clean` and the like need none.

    Raises:
        InvalidDodoFile: It cannot start; doit shows the sentence and ends with status 3.
    """
    other_commands = {command.get_name() for command in DoitMain.DOIT_CMDS} - {"run"}
    if other_commands.intersection(sys.argv[1:]):
        return None
    try:
        origin = Origin(routes(), PORT)
    except ContentError as error:
        raise InvalidDodoFile(str(error)) from error
    except OSError as error:
        raise InvalidDodoFile(
            f"Port {PORT} on 127.0.0.1 cannot be had ({error.strerror}), most likely because the"
            f" demonstration runs already: wait for it, or stop what `lsof -i :{PORT}` names."
        ) from error
    atexit.register(origin.close)
    return origin


ORIGIN = start_origin()
