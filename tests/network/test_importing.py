"""The room may be imported by several threads at once: doit's threads do."""

import subprocess
import sys

import pytest

from tests.e2e.project import REPOSITORY

RACE = """
import importlib.util, sys, threading

class Pause:
    '''Starts another import while a package of the index is half way through its own.'''

    def find_spec(self, name, path=None, target=None):
        if name != sys.argv[3]:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module

        def paused(module):
            other.start()
            while other.is_alive() and not is_blocked(other):
                pass
            execute(module)

        spec.loader.exec_module = paused
        return spec

def is_blocked(thread):
    frame = sys._current_frames().get(thread.ident)
    return frame is not None and frame.f_code.co_name == "acquire" and "bootstrap" in (
        frame.f_code.co_filename
    )

failures = []

def imported(name):
    try:
        __import__(name)
    except BaseException as error:
        failures.append(f"{name}: {error!r}")

other = threading.Thread(target=imported, args=[sys.argv[2]])
sys.meta_path.insert(0, Pause())
imported(sys.argv[1])
other.join()
print(*failures, sep="\\n")
"""


@pytest.mark.parametrize("inside", ["requests.exceptions", "urllib3.exceptions"])
@pytest.mark.parametrize("other", ["api", "_response", "_connection", "failures"])
def test_two_threads_may_import_it_at_once(inside: str, other: str) -> None:
    """A thread that asks for a part of requests or urllib3 meanwhile waits for the whole."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            RACE,
            "downloader.network.client",
            f"downloader.network.{other}",
            inside,
        ],
        cwd=REPOSITORY,
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )
    assert (done.stdout.strip(), done.stderr) == ("", "")
