"""Python run inside the program under test before it starts, by way of a sitecustomize."""

import textwrap
import time
from collections.abc import Callable
from pathlib import Path

PATIENCE_SECONDS = 30.0
LOOK_SECONDS = 0.01

REFUSED_STATUS = 99
REFUSING = f"""
    import os, socket
    def refuse(*_, **__):
        os.write(2, b"THE NETWORK WAS USED\\n")
        os._exit({REFUSED_STATUS})
    socket.getaddrinfo = socket.socket.connect = socket.socket.connect_ex = refuse
"""
NO_SOCKETS = f"{REFUSING}    socket.socket.__init__ = refuse\n"


def injected(folder: Path, code: str) -> dict[str, str]:
    """Return the variables that run `code` when Python starts.

    Args:
        folder: An empty one; it is made.
        code: Python, which may be indented.
    """
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(textwrap.dedent(code))
    return {"PYTHONPATH": str(folder)}


def without_sockets(folder: Path) -> dict[str, str]:
    """Return the variables that end the program with REFUSED_STATUS when it makes a socket."""
    return injected(folder, NO_SOCKETS)


def without_dialling(folder: Path) -> dict[str, str]:
    """Return the variables that end the program when it connects or looks a name up.

    urllib3 makes a socket when it is imported, to see whether there is IPv6, and connects it not.
    """
    return injected(folder, REFUSING)


def listing_modules(folder: Path) -> tuple[dict[str, str], Path]:
    """Return the variables that write the modules loaded at exit, one a line, and the file."""
    listed = folder / "modules"
    code = f"""
        import atexit, sys
        from pathlib import Path
        atexit.register(lambda: Path({str(listed)!r}).write_text("\\n".join(sys.modules)))
    """
    return injected(folder, code), listed


def counting_calls(folder: Path) -> tuple[dict[str, str], Path]:
    """Return the variables that write how many Python functions were called, and the file."""
    counted = folder / "calls"
    code = f"""
        import atexit, sys
        from pathlib import Path
        count = 0
        def see(frame, event, argument):
            global count
            count += event == "call"
        def end():
            sys.setprofile(None)
            Path({str(counted)!r}).write_text(str(count))
        atexit.register(end)
        sys.setprofile(see)
    """
    return injected(folder, code), counted


def wait_until(is_so: Callable[[], bool]) -> None:
    """Return once something is so; an AssertionError when that takes too long."""
    give_up = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < give_up, "it did not come to pass"
        time.sleep(LOOK_SECONDS)
