"""The real nginx, unprivileged, serving one folder on a free port.

with Nginx(folder, "limit_rate 1m;") as nginx:
    fetch(nginx.url("/model.bin"))
"""

import os
import shutil
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Self
from urllib.parse import quote
from uuid import uuid4

from tests.servers.process import LOOK_SECONDS, NotInstalled, Program, ProgramServer, free_port

PORT_TRIES = 5
LOG_SECONDS = 10.0
READY_PATH = "/.ready"
ECHO_MODULES = (
    Path("/usr/lib/nginx/modules/ngx_http_echo_module.so"),
    Path("/usr/share/nginx/modules/ngx_http_echo_module.so"),
)
CONFIG = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
{user}
{main}
events {{ worker_connections 1024; }}
http {{
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  log_format short '$request_method $request_uri $status $body_bytes_sent "$http_range"';
  access_log {folder}/access.log short;
  default_type application/octet-stream;
  sendfile on;
  {http}
  server {{
    listen 127.0.0.1:{port};
    root "{root}";
    location = {ready} {{ access_log off; return 200 {token}; }}
    {extra}
  }}
}}
"""


def binary() -> str:
    """Return the path of nginx.

    Raises:
        NotInstalled: It is nowhere on PATH, nor where Debian puts it for root.
    """
    found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise NotInstalled("nginx is not installed")
    return found


def load_echo_module() -> str:
    """Return the line for `main` that loads the echo module (delays: `echo_sleep`).

    Raises:
        NotInstalled: The module is not there (Debian: libnginx-mod-http-echo).
    """
    found = next((path for path in ECHO_MODULES if path.exists()), None)
    if found is None:
        raise NotInstalled("nginx's echo module is not installed")
    return f"load_module {found};"


def user_line() -> str:
    """Return the line that keeps the worker's rights as ours; only root may say it."""
    if os.geteuid() != 0:
        return ""
    top = Path("/")
    return f"user {top.owner()} {top.group()};"


class Nginx(ProgramServer):
    """A context manager around one nginx.

    Args:
        root: The folder that is served.
        extra: Directives for the server block, locations too.
        http: Directives for the http block, as `limit_conn_zone`.
        main: Directives before all blocks, as `load_module`.
    """

    def __init__(self, root: Path, extra: str = "", *, http: str = "", main: str = "") -> None:
        self._root = root
        self._blocks = {"extra": extra, "http": http, "main": main}

    def __enter__(self) -> Self:
        program = binary()
        self._folder = Path(tempfile.mkdtemp(prefix="nginx-"))
        for _ in range(PORT_TRIES):
            if self._start(program):
                return self
        said = self._program.said
        shutil.rmtree(self._folder)
        raise RuntimeError(f"nginx does not start: {said}")

    def _start(self, program: str) -> bool:
        """Start it on a port that was free; return whether it serves there."""
        self.port = free_port()
        token = uuid4().hex
        config = self._folder / "nginx.conf"
        config.write_text(self._config(token))
        command = [program, "-e", str(self._folder / "error.log"), "-c", str(config)]
        self._program = Program(command, self._folder / "output.log")
        # The token tells our server from another that took the port meanwhile.
        return self._program.wait_until(lambda: self._answers(token))

    def _config(self, token: str) -> str:
        return CONFIG.format(
            folder=self._folder,
            root=self._root,
            port=self.port,
            ready=READY_PATH,
            token=token,
            user=user_line(),
            **self._blocks,
        )

    def _answers(self, token: str) -> bool:
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with direct.open(self.url(READY_PATH), timeout=5) as reply:
                return bool(reply.read() == token.encode())
        except OSError:
            return False

    def url(self, path: str) -> str:
        """Return the URL of a path below the folder."""
        return f"http://127.0.0.1:{self.port}{quote(path, safe='/%?&=+:~')}"

    def log(self) -> list[str]:
        """Return the access log: method, target, status, body bytes, Range, a line a request."""
        path = self._folder / "access.log"
        return path.read_text().splitlines()

    def log_of(self, count: int) -> list[str]:
        """Return the access log once it has `count` lines: nginx writes one after the reply.

        Raises:
            TimeoutError: There are fewer after LOG_SECONDS.
        """
        give_up = time.monotonic() + LOG_SECONDS
        while len(self.log()) < count:
            if time.monotonic() > give_up:
                raise TimeoutError(f"{count} lines expected: {self.log()}")
            time.sleep(LOOK_SECONDS)
        return self.log()
