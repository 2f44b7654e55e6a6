"""Call methods of the client of oras 0.2.43; runs in an environment of its own.

Standard input has a JSON list of [method, keyword arguments]; standard output gets one of results:
`{"returned": ...}`, or `{"raised": text}`. `ORAS_USER` and `ORAS_PASSWORD` log in
first, by the scheme that `ORAS_AUTH` names.
"""

import json
import os
import sys
from importlib import import_module
from typing import Any

registry = sys.argv[1]
backend = os.environ.get("ORAS_AUTH", "token")
client = import_module("oras.client").OrasClient(
    hostname=registry, insecure=True, auth_backend=backend
)
if "ORAS_USER" in os.environ:
    client.auth.set_basic_auth(os.environ["ORAS_USER"], os.environ["ORAS_PASSWORD"])
results: list[dict[str, Any]] = []
for name, arguments in json.load(sys.stdin):
    try:
        returned = getattr(client, name)(**arguments)
    except Exception as error:  # noqa: BLE001 - the test says which it expects
        results.append({"raised": f"{type(error).__name__}: {error}"})
    else:
        results.append({"returned": returned if isinstance(returned, (list, dict)) else None})
json.dump(results, sys.stdout)
