"""What the endpoints of the fine-tuning API answer. Statuses and bodies: Together's OpenAPI file.

Two statuses are not told there and are guesses: 404 for a step that has no checkpoint, 405 for
methods other than GET (neither SDK sends HEAD).
"""

import json
import re
from typing import Any

from tests.servers.exchange import Exchange, SeenRequest
from tests.servers.honest import dated
from tests.servers.reply import Reply
from tests.servers.together.delivery import Delivery, Options
from tests.servers.together.jobs import ENDED_WELL, Job
from tests.servers.together.storage import Storage

DOWNLOAD = "/v1/finetune/download"
WHO_AM_I = "/v3/whoami"
_JOBS = re.compile(r"/v1/fine-tunes(?:/([^/]+)(/events|/checkpoints)?)?")
NOT_DOWNLOADABLE = (
    "Training job is not downloadable. This may be because the job is not in a completed state."
)
ACCOUNT = {
    "id": "user-1",
    "user": {"id": "user-1", "email": "someone@example.org"},
    "project": {"id": "proj_1", "slug": "p", "name": "p"},
    "organization": {"id": "org_1", "name": "o"},
}


class API:
    """The API as an answer for FaultyServer.

    Args:
        key: The only one that is let in.
        options: How archives are served.
        delivery: What serves their bytes.
        storage: Where links to them lead, when `options.redirect` says so.
    """

    def __init__(self, key: str, options: Options, delivery: Delivery, storage: Storage) -> None:
        self.key = key
        self.jobs: dict[str, Job] = {}
        self._options = options
        self._delivery = delivery
        self._storage = storage

    def __call__(self, exchange: Exchange) -> Reply:
        """Return the reply of Together's API."""
        request = exchange.request
        if request.headers.get("Authorization") != f"Bearer {self.key}":
            return failure(401, "Invalid API key provided.", "invalid_api_key")
        if request.method != "GET":
            return failure(405, "Method not allowed.").with_header("Allow", "GET")
        if request.path == DOWNLOAD:
            return self._download(exchange)
        if request.path == WHO_AM_I:
            return told(ACCOUNT)
        found = _JOBS.fullmatch(request.path)
        return self._looked_up(*found.groups()) if found else failure(404, "Not found.")

    def _looked_up(self, job_id: str | None, part: str | None) -> Reply:
        if job_id is None:
            return told({"data": [job.shown() for job in list(self.jobs.values())]})
        job = self.jobs.get(job_id)
        if job is None:
            return failure(404, "Fine-tune ID not found.")
        if part == "/events":
            return told({"object": "list", "data": job.shown_events()})
        if part == "/checkpoints":
            return told({"data": job.shown_checkpoints()})
        job.look()
        return told(job.shown())

    def _download(self, exchange: Exchange) -> Reply:
        query = dict(exchange.request.query)
        job = self.jobs.get(query.get("ft_id", ""))
        if job is None:
            return failure(404 if "ft_id" in query else 400, "Fine-tune ID not found.")
        if job.status != ENDED_WELL:
            return failure(400, NOT_DOWNLOADABLE)
        try:
            content = job.archive(query.get("checkpoint"), step_of(exchange.request))
        except ValueError as error:
            return failure(400, f"Invalid request parameters. ({error})")
        if content is None:
            return failure(404, "Checkpoint not found.")
        return self._delivered(exchange, content, f"/finetune/{job.id}/{len(content)}.tar.zst")

    def _delivered(self, exchange: Exchange, content: bytes, path: str) -> Reply:
        if self._options.redirect is None:
            return self._delivery.reply(exchange, content)
        link = self._storage.sign(path, content)
        return (
            dated(Reply(status=self._options.redirect)).with_header("Location", link).with_body(b"")
        )


def step_of(request: SeenRequest) -> int | None:
    """Return `checkpoint_step` of a query.

    Raises:
        ValueError: It is no number.
    """
    given = dict(request.query).get("checkpoint_step")
    return None if given is None else int(given)


def told(content: dict[str, Any]) -> Reply:
    """Return a reply in JSON."""
    return in_json(200, content)


def failure(status: int, message: str, code: str | None = None) -> Reply:
    """Return an error as Together's `ErrorData` has it."""
    about = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
    return in_json(status, {"error": about})


def in_json(status: int, content: dict[str, Any]) -> Reply:
    """Return a reply with a JSON body, and the ray id Cloudflare puts on each."""
    reply = dated(Reply(status=status)).with_body(json.dumps(content).encode())
    reply = reply.with_header("Content-Type", "application/json; charset=utf-8")
    return reply.with_header("CF-RAY", "8f0a1b2c3d4e5f60-SJC")
