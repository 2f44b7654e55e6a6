"""`modelmake add` and `modelmake remove`: their command lines, and what they print.

They are no doit tasks: doit takes each word with an `=` for a variable, also a URL with a query,
and makes all tasks of models.yaml before it runs one, which needs a models.yaml that is right.
"""

import argparse
from collections.abc import Callable, Sequence

from downloader.artifact import bytes_text, counted
from downloader.errors import ManifestError, ModelmakeError, SettingError, StoreError, shown
from downloader.operations import plan as planning
from downloader.operations.add import Wish, add
from downloader.operations.remove import remove
from downloader.progress import streams
from downloader.progress.events import failed_of
from downloader.progress.streams import say, tell
from downloader.settings import wants_json
from downloader.sources.registry import reference_forms
from downloader.tasks._commands import session
from downloader.tasks._reporter import FAILED_STATUS, USAGE_STATUS, end_with
from downloader.tasks._runtime import current

KEY_OPTIONS = {
    "to": "target folder, relative to models.yaml",
    "format": "only the weights in this format: safetensors, gguf, onnx, ...",
    "variant": "with --format: which of several weights, such as Q4_K_M or fp16",
    "sha256": "of the file at a URL: 64 hex digits",
}
"""Options that are a key of the entry, with their help; any other key is `--set KEY=VALUE`."""


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Read a command line, from the command on; print the help or a mistake in it, and exit."""
    parser = _parser()
    for word in words:
        if any("\ud800" <= each <= "\udfff" for each in word):  # bytes that are no UTF-8
            parser.error(f"{shown(ascii(word))} is not UTF-8 text")
    return parser.parse_args(words)


def run(chosen: argparse.Namespace) -> int:
    """Do what was parsed in the project of the working directory; return the exit status.

    Args:
        chosen: What `parse` returned, and as `start` where it was typed.
    """
    streams.guard(as_json=wants_json())
    act: Callable[[argparse.Namespace], None] = chosen.act
    try:
        current().stop_on_signals()
        act(chosen)
    except ModelmakeError as error:
        is_usage = isinstance(error, ManifestError | SettingError)
        end_with(failed_of(error), USAGE_STATUS if is_usage else FAILED_STATUS)
    return 0


def _add(chosen: argparse.Namespace) -> None:
    settings: dict[str, list[str]] = {}
    for key in KEY_OPTIONS:
        if (value := getattr(chosen, key)) is not None:
            settings[key] = [value]
    for text in (*chosen.set, *["optional=true"] * chosen.optional):
        key, _, value = text.partition("=")
        settings.setdefault(key, []).append(value)
    project = current().project
    wish = Wish(reference=chosen.reference, name=chosen.name or "", settings=settings)
    added = add(project, session(), wish)
    say(f"added {added.name} to {project.manifest_path.name}")
    for line in added.lines:
        say(line)
    try:
        planned = planning.make_plan(project, [added.name], _reading)
    except StoreError as error:  # of what is there already; the model is added
        tell(f"What `{streams.program()}` will download is not known: {error}")
        return
    for model in planned.models:
        say(_next(model, is_optional=project.named(added.name).is_optional))


def _remove(chosen: argparse.Namespace) -> None:
    project = current().project
    for each in remove(project, chosen.names, chosen.start):
        lock = f" and {project.lock_path.name}" * each.was_locked
        say(f"removed {each.name} from {project.manifest_path.name}{lock}")
        if each.hint:
            say(f"  {each.hint}")


def _reading(count: int, count_bytes: int) -> None:
    tell(f"hashing {counted(count, 'file')} ({bytes_text(count_bytes)})")


def _next(model: planning.PlannedModel, *, is_optional: bool) -> str:
    """Return what the next `doit` will do about a model."""
    command = f"`doit{f' {model.name}' * is_optional}`"
    fetched = model.count("fetch")
    if not fetched:
        return f"Its files are on this machine already: {command} verifies them."
    least = "at least " * bool(model.unknown_sizes)
    size = f" ({least}{bytes_text(model.bytes_to_move)})" if model.bytes_to_move else ""
    return f"{command} will download {counted(fetched, 'file')}{size} to {model.folder}."


def _setting(text: str) -> str:
    if "=" not in text or text.startswith("="):
        raise argparse.ArgumentTypeError(f"{shown(repr(text))} is not KEY=VALUE")
    return text


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(streams.program())
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    width = max(map(len, reference_forms()))
    forms = "\n".join(f"  {form:<{width}}  {what}" for form, what in reference_forms().items())
    adding = commands.add_parser(
        "add",
        description="Write a model into models.yaml and lock it. Downloads nothing.",
        epilog=f"REFERENCE is one of:\n{forms}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    adding.set_defaults(act=_add)
    adding.add_argument("reference", metavar="REFERENCE", help="what to add: see below")
    adding.add_argument("--name", help="what to call the model; default: its own name")
    for key, text in KEY_OPTIONS.items():
        adding.add_argument(f"--{key}", help=text)
    adding.add_argument("--optional", action="store_true", help="download it only when named")
    adding.add_argument(
        "--set",
        action="append",
        default=[],
        type=_setting,
        metavar="KEY=VALUE",
        help="any other key of the entry; several times for a list",
    )
    removing = commands.add_parser(
        "remove",
        description="Remove models from models.yaml and models.lock. Their files stay.",
    )
    removing.set_defaults(act=_remove)
    removing.add_argument("names", nargs="+", metavar="NAME", help="a model of models.yaml")
    return parser
