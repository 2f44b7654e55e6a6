"""What all commands share: the shape of their tasks, and which models they are about."""

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from downloader import receipts
from downloader.errors import Interrupted, ModelmakeError
from downloader.failing import failing
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
    actions = [_with_late_options(act, options) if takes_names else act]
    told = {"doc": doc, "meta": {"modelmake command": True}}  # for info_command
    return {"actions": actions, "params": list(options), **told, **names, **UNTOUCHED_STREAMS}


def _with_late_options(
    act: Callable[..., object], options: Iterable[dict[str, Any]]
) -> Callable[..., object]:
    """Return the act with options understood after the names too, where doit takes none for one.

    No model's name begins with a hyphen, so that is no guess.
    """
    known = {each["long"]: each for each in options}

    @failing
    @functools.wraps(act)
    def understood(*, names: list[str], **values: object) -> Any:  # noqa: ANN401 - as `failing`
        plain, words = [], iter(names)
        for word in words:
            if word.startswith("-"):
                name, value = _late_option(word, words, known)
                values[name] = value
            else:
                plain.append(word)
        return act(plain, **values)

    return understood


def _late_option(
    word: str, rest: Iterator[str], known: dict[str, dict[str, Any]]
) -> tuple[str, str | bool]:
    name, equals, value = word.removeprefix("--").partition("=")
    option = known.get(name, {}) if word.startswith("--") else {}
    if option.get("type") is bool and not equals:
        return option["name"], True
    if option.get("type") is str and (value or (not equals and (value := next(rest, "")))):
        return option["name"], value
    takes = [f"--{n}{'' if each['type'] is bool else '=VALUE'}" for n, each in known.items()]
    raise ModelmakeError(
        f"There is no option {word} here.", hint=f"There is {', '.join(takes) or 'none'}."
    )


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
