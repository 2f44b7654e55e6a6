"""What all commands share: the shape of their tasks, and which models they are about."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from downloader import receipts
from downloader.errors import Interrupted
from downloader.info_command import COMMAND
from downloader.model import Model
from downloader.runtime import current
from downloader.streams import tell

if TYPE_CHECKING:
    from downloader.transfer.asking import Session

UNTOUCHED_STREAMS: dict[str, Any] = {"io": {"capture": False}, "verbosity": 0}
"""doit swaps sys.stdout around each captured action, without a lock between its threads."""


def command(
    act: Callable[..., object], doc: str, *options: dict[str, Any], takes_names: bool = False
) -> dict[str, Any]:
    """Return the task of a command.

    Args:
        act: What it does; takes the options, and `names` where it takes names.
        doc: Its line in `doit list`.
        options: What `flag` and `option` return.
        takes_names: Whether models may be named after the command.
    """
    names = {"pos_arg": "names"} if takes_names else {}
    told = {"doc": doc, "meta": {COMMAND: True}}
    return {"actions": [act], "params": list(options), **told, **names, **UNTOUCHED_STREAMS}


def flag(name: str, text: str) -> dict[str, Any]:
    """Return an option that is there or not: `--name`."""
    return {
        "name": name.replace("-", "_"),
        "long": name,
        "type": bool,
        "default": False,
        "help": text,
    }


def option(name: str, text: str) -> dict[str, Any]:
    """Return an option with a value, empty when it is not given: `--name=VALUE`."""
    return {"name": name, "long": name, "type": str, "default": "", "help": text}


def session(notice: Callable[[str], None] = tell) -> "Session":
    """Return what asks providers in this run.

    Args:
        notice: Told about each wait.
    """
    from downloader.transfer.asking import Session  # noqa: PLC0415 - imports requests

    return Session(current().syncer.transport, current().stop, notice)


def check_stop() -> None:
    """End what goes on when the run was stopped.

    Raises:
        Interrupted: It was.
    """
    if current().stop.is_set():
        raise Interrupted("Interrupted.")


def wanted_models(names: Iterable[str]) -> list[Model]:
    """Return the named models; with no name those that are not optional or have a file here.

    Raises:
        ManifestError: There is no model of that name.
    """
    project = current().project
    wanted = [project.named(name).name for name in names]
    return [
        model
        for model in project.models()
        if (model.name in wanted if wanted else _is_expected(model))
    ]


def _is_expected(model: Model) -> bool:
    return not model.declared.entry.optional or bool(receipts.load(model.folder))
