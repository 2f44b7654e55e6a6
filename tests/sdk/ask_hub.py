"""Call huggingface_hub, which this Python has, and print in JSON what came of it.

    echo '[["list_repo_tree", {"repo_id": "a/b", "recursive": true}]]' | python ask_hub.py

Nothing of ours may be imported here: the Python that runs it has their client only. A connection
that would leave this machine ends the program.
"""

import json
import os
import sys
from importlib import import_module
from typing import Any

LEFT_THE_MACHINE = 97
LOCAL = ("127.0.0.1", b"127.0.0.1")


def stay_here(event: str, args: tuple[Any, ...]) -> None:
    """End the program if it looks up or dials another host (an audit hook)."""
    if event == "socket.getaddrinfo":
        host = args[0]
    elif event == "socket.connect":
        host = args[1][0] if isinstance(args[1], tuple) else LOCAL[0]
    else:
        return
    if host not in LOCAL:
        sys.stderr.write(f"huggingface_hub dials {host!r}\n")
        os._exit(LEFT_THE_MACHINE)


def plain(returned: Any) -> Any:
    """Return an object of theirs as plain data, for json."""
    return vars(returned) if hasattr(returned, "__dict__") else str(returned)


def call(api: Any, method: str, given: dict[str, Any]) -> dict[str, Any]:
    """Return {"returned": ...} or {"raised": class names from the cause on, "text": ...}."""
    try:
        returned = getattr(api, method)(**given)
        return {"returned": list(returned) if hasattr(returned, "__next__") else returned}
    except Exception as error:  # noqa: BLE001 - what the client raises is the result
        causes: list[BaseException] = [error]
        while cause := causes[0].__cause__:
            causes.insert(0, cause)
        return {"raised": [type(each).__name__ for each in causes], "text": str(error)}


def main() -> None:
    """Make the calls of standard input."""
    sys.addaudithook(stay_here)
    api = import_module("huggingface_hub").HfApi()
    if sys.argv[1:] == ["--rate-limit"]:
        parse = import_module("huggingface_hub.utils").parse_ratelimit_headers
        sys.stdout.write(json.dumps(vars(parse(json.load(sys.stdin)))))
        return
    results = [call(api, method, given) for method, given in json.load(sys.stdin)]
    sys.stdout.write(json.dumps(results, default=plain))


if __name__ == "__main__":
    main()
