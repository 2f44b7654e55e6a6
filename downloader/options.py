"""Options on the command line that doit does not know, or cannot read: told in words.

doit's own message shows its parser's objects. It has no hook for that, so its two places where
options are read are wrapped (`install`), for its commands and for every task. The exit status stays
doit's: 3. Our commands also take options after names, where doit's tasks take none: no model's name
begins with a hyphen, so that is no guess.
"""

import contextlib
import getopt
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from doit.cmd_base import Command
from doit.cmdparse import CmdOption, CmdParseError, TaskParse
from doit.task import Task

from downloader import streams
from downloader.info_command import COMMAND
from downloader.settings import wants_json

NEAR = 0.65
"""How much of a word has to be right for a guess what was meant (difflib)."""
LISTED = 5
"""So many options are named; of more, it is said where they are."""
KINDS = {int: "a number", bool: "yes or no"}


class _ToldError(CmdParseError):  # type: ignore[misc]
    """It is in words already: a task's options are read while doit's command runs."""


def install() -> None:
    """Wrap the two places, once in a process."""
    if Command.parse_execute.__module__ != __name__:
        Command.parse_execute = _of_command(Command.parse_execute)
        Task.init_options = _of_task(Task.init_options)


def _of_command(parse: Callable[..., Any]) -> Callable[..., Any]:
    def parse_execute(self: Command, in_args: list[str]) -> Any:  # noqa: ANN401 - doit's
        name = "doit" if self.name == "run" else f"doit {self.name}"
        with _in_words(name, self.name, lambda: self.cmdparser.options):
            return parse(self, in_args)

    parse_execute.__module__ = __name__
    return parse_execute


def _of_task(init: Callable[..., Any]) -> Callable[..., Any]:
    def init_options(self: Task, args: Sequence[str] | None = None) -> Any:  # noqa: ANN401 - doit's
        def options() -> list[CmdOption]:
            return [CmdOption(each) for each in (*self.params, *self.creator_params)]

        with _in_words(f"doit {self.name}", self.name, options):
            is_ours = bool(args) and self.pos_arg and (self.meta or {}).get(COMMAND)
            return init(self, _options_first(args or (), options()) if is_ours else args)

    return init_options


def _options_first(args: Sequence[str], options: Sequence[CmdOption]) -> list[str]:
    """Return the words with the options before the names."""
    parser = TaskParse(options)
    found, names = getopt.gnu_getopt(args, parser.get_short(), parser.get_long())
    takes_none = {f"--{each.long}" for each in options if each.type is bool}
    words = [name if name in takes_none else f"{name}={value}" for name, value in found]
    return [*words, *names]


@contextlib.contextmanager
def _in_words(name: str, topic: str, options: Callable[[], Sequence[CmdOption]]) -> Iterator[None]:
    """Say in words what doit's parser could not read.

    Args:
        name: What was typed, without the option.
        topic: What `doit help` knows it by.
        options: Gives those that there are.

    Raises:
        CmdParseError: With the words.
    """
    try:
        yield
    except _ToldError:
        raise
    except (CmdParseError, getopt.GetoptError) as error:
        cause = error if isinstance(error, getopt.GetoptError) else error.__context__
        if isinstance(cause, getopt.GetoptError):
            text = _misspelt(name, cause, options())
        elif isinstance(cause, ValueError):
            text = _unreadable(name, str(error), options())
        else:
            raise
        streams.guard(as_json=wants_json())  # doit writes it, maybe before dodo.py was read
        raise _ToldError(f"{text}\n  {_more(topic, options())}") from None


def _more(topic: str, options: Sequence[CmdOption]) -> str:
    if not options:
        return "It takes none."
    more, names = f"`doit help {topic}`", ", ".join(f"--{each.long}" for each in options)
    few = len(options) <= LISTED
    return f"It takes {names}; {more} says more." if few else f"{more} shows what it takes."


def _misspelt(name: str, error: getopt.GetoptError, options: Sequence[CmdOption]) -> str:
    word = error.msg.split()[1]
    if "not recognized" not in error.msg:
        return f"`{name}`: {error.msg}."
    from difflib import get_close_matches  # noqa: PLC0415 - on the way to an error

    known = [f"--{each}" for option in options for each in (option.long, option.inverse) if each]
    near = get_close_matches(word, known, 1, NEAR)
    return f"`{name}` has no option {word}." + "".join(f" Did you mean {each}?" for each in near)


def _unreadable(name: str, told: str, options: Sequence[CmdOption]) -> str:
    option = next(each for each in options if f"'{each.name}'" in told)
    return f"`{name}`: {option.help_param()} takes {KINDS.get(option.type, 'something else')}."
