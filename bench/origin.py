"""The server of every race: one nginx on loopback, files sent by sendfile from memory.

/NAME            as fast as it goes
/delayed/NAME    DELAY_SECONDS before each answer (needs nginx's echo module)
/whole/NAME      ranges ignored
/few/NAME        429 above MOST_CONNECTIONS, each of LIMITED_RATE
/counted/NAME    LIMITED_RATE on each connection, and what was sent is logged
/HUB/resolve/REVISION/NAME    as the hub of huggingface_hub answers: a commit and an ETag
https            the same by TLS, where openssl(1) can make a certificate
"""

import os
import re
import shutil
import socket
import subprocess
import time
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import uuid4

from bench.measure import Failed

LIMITED_RATE = 20_000_000
LIMITED_PIECE_BYTES = 256 << 10
"""What nginx sends at once where it limits the rate. It rests after each piece but a reply's last:
with its default of 2 MiB, who asks for many small ranges gets more than the rate."""
DELAY_SECONDS = 0.05
MOST_CONNECTIONS = 4
HUB = "bench/hub"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
START_SECONDS = 20.0
END_SECONDS = 10.0
LOOK_SECONDS = 0.02
SYSTEM_PATH = "/usr/sbin:/usr/local/sbin:/opt/homebrew/bin"
MODULE_FOLDERS = (Path("/usr/lib/nginx/modules"), Path("/usr/share/nginx/modules"))
ECHO_MODULE = "ngx_http_echo_module.so"
# One process without a master: its CPU time is then the whole server's, and its user is ours.
CONFIG = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
{load}
events {{ worker_connections 1024; }}
http {{
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  access_log off;
  default_type application/octet-stream;
  sendfile on;
  log_format bytes '$body_bytes_sent';
  limit_conn_zone $server_port zone=all:1m;
  server {{
    listen 127.0.0.1:{port};
    {tls}
    root "{root}";
    location = /.ready {{ return 200 {token}; }}
    location /counted/ {{ alias "{root}/"; limit_rate {rate}; access_log {folder}/sent.log bytes; }}
    location ~ ^/{hub}/resolve/[^/]+/(.+)$ {{
      alias "{root}/$1"; add_header X-Repo-Commit {commit};
    }}
    location /whole/ {{ alias "{root}/"; max_ranges 0; }}
    location /few/ {{
      alias "{root}/"; limit_rate {rate}; {smooth} limit_conn all {most}; limit_conn_status 429;
    }}
    {delayed}
  }}
}}
"""
DELAYED = "location ~ ^/delayed/(.+)$ {{ echo_sleep {seconds}; echo_exec /$1; }}"


def program() -> str | None:
    """Return the path of nginx; Debian puts it where only root looks."""
    return shutil.which("nginx") or shutil.which("nginx", path=SYSTEM_PATH)


def about(nginx: str) -> str:
    """Return what `nginx -V` says: version and configure arguments."""
    done = subprocess.run([nginx, "-V"], capture_output=True, text=True, timeout=10, check=False)
    return done.stderr


def echo_module(nginx: str) -> Path | None:
    """Return the path of the echo module, or None when it is not there."""
    named = re.search(r"--modules-path=(\S+)", about(nginx))
    folders = [Path(named[1]), *MODULE_FOLDERS] if named else MODULE_FOLDERS
    return next((path for each in folders if (path := each / ECHO_MODULE).exists()), None)


def certificate(folder: Path) -> Path | None:
    """Make a certificate for 127.0.0.1, its key beside it; None where openssl(1) cannot."""
    made = folder / "origin.pem"
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    words += [
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=bench",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
    ]
    words += ["-keyout", str(made.with_suffix(".key")), "-out", str(made)]
    try:
        subprocess.run(words, capture_output=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return made


class Origin:
    """A context manager around one nginx.

    Args:
        folder: Where it keeps its own files; what it serves lies in `root` below it.

    Attributes:
        root: What is served.
        certificate: Its certificate, for those who are to trust it; None where there is no TLS.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.root = folder / "served"

    def __enter__(self) -> Self:
        """Start it.

        Raises:
            Failed: nginx is not installed, or does not start.
        """
        nginx = program()
        if nginx is None:
            raise Failed("nginx is not installed, and everything is fetched from it")
        self.root.mkdir(parents=True)
        self._echo = echo_module(nginx)
        self.certificate = certificate(self._folder)
        self._start(nginx)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(END_SECONDS)

    @property
    def port(self) -> int:
        """Where it listens, without TLS."""
        return self._port

    @property
    def has_delay(self) -> bool:
        """Whether /delayed/ is served."""
        return self._echo is not None

    def url(self, name: str, place: str = "") -> str:
        """Return the URL of a file; `place` is one of those above, as "delayed/"."""
        return f"http://127.0.0.1:{self._port}/{place}{name}"

    def https_url(self, name: str) -> str:
        """Return the URL by TLS, for who trusts `certificate`."""
        return f"https://127.0.0.1:{self._tls_port}/{name}"

    def sent_bytes(self) -> int:
        """Return how many bytes of bodies were sent from /counted/ so far."""
        try:
            return sum(map(int, (self._folder / "sent.log").read_text().split()))
        except OSError:
            return 0

    def cpu_seconds(self) -> float:
        """Return what nginx has spent so far, user and system; NaN where there is no /proc."""
        try:
            text = Path(f"/proc/{self._process.pid}/stat").read_text()
        except OSError:
            return float("nan")
        user, system = text.rpartition(")")[2].split()[11:13]  # proc(5): utime, stime
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def _start(self, nginx: str) -> None:
        self._port, self._tls_port, token = _free_port(), _free_port(), uuid4().hex
        config = self._folder / "nginx.conf"
        config.write_text(self._config(token))
        said = self._folder / "said.log"
        with said.open("wb") as stream:
            self._process = subprocess.Popen(
                [nginx, "-e", str(self._folder / "error.log"), "-c", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                start_new_session=True,  # Ctrl-C is for us; we end it
            )
        if not self._is_up(token):
            self.__exit__(None, None, None)
            raise Failed(f"nginx does not start: {said.read_text()}")

    def _config(self, token: str) -> str:
        return CONFIG.format(
            folder=self._folder,
            root=self.root,
            port=self._port,
            token=token,
            rate=LIMITED_RATE,
            smooth=f"sendfile_max_chunk {LIMITED_PIECE_BYTES};",
            load=f"load_module {self._echo};" if self._echo else "",
            hub=HUB,
            commit=COMMIT,
            most=MOST_CONNECTIONS,
            tls=self._tls_lines(),
            delayed=DELAYED.format(seconds=DELAY_SECONDS) if self._echo else "",
        )

    def _tls_lines(self) -> str:
        if self.certificate is None:
            return ""
        key = self.certificate.with_suffix(".key")
        return (
            f"listen 127.0.0.1:{self._tls_port} ssl; "
            f"ssl_certificate {self.certificate}; ssl_certificate_key {key};"
        )

    def _is_up(self, token: str) -> bool:
        """Wait for the answer that only our own nginx can give."""
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        give_up = time.monotonic() + START_SECONDS
        while time.monotonic() < give_up and self._process.poll() is None:
            try:
                with direct.open(self.url(".ready"), timeout=5) as reply:
                    return bool(reply.read() == token.encode())
            except OSError:
                time.sleep(LOOK_SECONDS)
        return False


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])
