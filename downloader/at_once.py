"""Several models at once, each in a thread of its own: none that waits holds up another."""

from collections.abc import Callable, Generator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

SIGNAL_SECONDS = 0.5
"""A wait without a limit is ended by no signal on Windows."""
MOST_THREADS = 256

T = TypeVar("T")


def at_once(
    acts: Mapping[str, Callable[[], T]], end: Callable[[], None]
) -> Generator[tuple[str, Future[T]], None, None]:
    """Run every act; give its name and how it ended, in the order in which they end.

    Args:
        acts: By name.
        end: Ends the acts that still run; called when whoever asks goes on no more.
    """
    with ThreadPoolExecutor(min(MOST_THREADS, max(1, len(acts)))) as pool:
        try:
            names = {pool.submit(act): name for name, act in acts.items()}
            while names:
                for done in wait(names, SIGNAL_SECONDS, FIRST_COMPLETED).done:
                    yield names.pop(done), done
        except BaseException:
            end()
            raise
