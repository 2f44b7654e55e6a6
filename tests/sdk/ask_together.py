"""Call the Together SDK that this Python has, and print in JSON what came of it.

    echo '[["retrieve", {"id": "ft-0"}]]' | python ask_together.py      methods of fine_tuning
    python ask_together.py fine-tuning download ft-0                    the SDK's own program

Nothing of ours may be imported here: the Python that runs it has the SDK only. A connection that
would leave this machine ends the program: `tg` of 3.x reports each command to Together and asks
PyPI for its newest version, unless it is told not to.
"""

import json
import os
import sys
from importlib import import_module
from importlib.metadata import version
from typing import Any

LEFT_THE_MACHINE = 97
LOCAL = ("127.0.0.1", b"127.0.0.1")


def stay_here(event: str, args: tuple[Any, ...]) -> None:
    """End the program where it looks up or dials another host (an audit hook)."""
    if event == "socket.getaddrinfo":
        host = args[0]
    elif event == "socket.connect":
        host = args[1][0] if isinstance(args[1], tuple) else LOCAL[0]
    else:
        return
    if host not in LOCAL:
        sys.stderr.write(f"the SDK dials {host!r}\n")
        os._exit(LEFT_THE_MACHINE)


def plain(returned: Any) -> Any:
    """Return what a method returned as plain data: a model, or a list of models in 1.5."""
    if isinstance(returned, list):
        return [plain(each) for each in returned]
    if hasattr(returned, "model_dump"):
        return returned.model_dump(mode="json")
    return returned


def call(fine_tuning: Any, method: str, given: dict[str, Any]) -> dict[str, Any]:
    """Return {"returned": ...} or {"raised": name of the class, "text": ...}.

    `content` of 3.x returns the bytes; `to` says which file they are written to.
    """
    target = given.pop("to", None)
    try:
        returned = getattr(fine_tuning, method)(**given)
        if target is not None:
            returned = returned.write_to_file(target)
    except Exception as error:  # noqa: BLE001 - what the SDK raises is the result
        return {"raised": type(error).__name__, "text": str(error)}
    return {"returned": plain(returned)}


def main() -> None:
    """Make the calls of standard input, or run the SDK's program with the arguments."""
    sys.addaudithook(stay_here)
    if sys.argv[1:]:
        is_old = version("together").startswith("1.")
        import_module("together.cli.cli" if is_old else "together.lib.cli").main()
        return
    fine_tuning = import_module("together").Together().fine_tuning
    results = [call(fine_tuning, method, given) for method, given in json.load(sys.stdin)]
    sys.stdout.write(json.dumps(results))


if __name__ == "__main__":
    main()
