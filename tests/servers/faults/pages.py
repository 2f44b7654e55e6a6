"""Pages in place of the file."""

import json

from tests.servers.exchange import Fault
from tests.servers.faults.statuses import status

PORTAL = b"""<!DOCTYPE html>
<html><head><title>Welcome to our network</title></head><body>Please log in.</body></html>
"""
LFS_POINTER = b"""version https://git-lfs.github.com/spec/v1
oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393
size 12345
"""


def captive_portal(code: int = 200) -> Fault:
    """Return a fault: a login page as HTML."""
    return status(code, PORTAL, {"Content-Type": "text/html; charset=utf-8"})


def s3_error(error: str = "SlowDown", code: int = 503) -> Fault:
    """Return a fault: an error as S3 writes it, with any status, 200 as well."""
    text = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{error}</Code><Message>what happened</Message>"
        "<RequestId>4442587FB7D0A2F9</RequestId></Error>"
    )
    return status(code, text.encode(), {"Content-Type": "application/xml"})


def lfs_pointer(code: int = 200) -> Fault:
    """Return a fault: the text git-lfs keeps in a repository in place of the file."""
    return status(code, LFS_POINTER, {"Content-Type": "text/plain; charset=utf-8"})


def json_error(message: str = "Invalid username or password.", code: int = 200) -> Fault:
    """Return a fault: an error as the APIs of model hubs write it."""
    body = json.dumps({"error": message}).encode()
    return status(code, body, {"Content-Type": "application/json"})
