"""A real web server, nginx, on two ports of this machine: one speaks TLS. It keeps what is PUT to it (WebDAV).

/moved/... sends on to /..., and what is below /locked/ nobody gets, nor may put; /private/ is for who knows the
password; what is PUT below /small/ may have 1000 bytes.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import psutil

from tests.eventually import eventually

USER, PASSWORD = "me", "open-sesame"

_CONFIG = """\
{user}
daemon off;
worker_processes 1;
pid {place}/pid;
error_log {place}/errors;
events {{ worker_connections 256; }}
http {{
    log_format short '$request_method $status $uri';
    access_log {place}/requests short;
    log_format numbers '$connection';
    access_log {place}/connections numbers;
    client_body_temp_path {place}/temp;
    proxy_temp_path {place}/temp;
    fastcgi_temp_path {place}/temp;
    scgi_temp_path {place}/temp;
    uwsgi_temp_path {place}/temp;
    gzip on;  # nobody asks for it: what comes is to be the file
    gzip_types *;
    server {{
        listen {address}:{port};
        listen {address}:{tls_port} ssl;
        ssl_certificate {certificate};
        ssl_certificate_key {certificate};
        root {folder};
        client_max_body_size 0;
        dav_methods PUT;
        create_full_put_path on;
        if ($request_uri ~ "^/moved(/.*)$") {{ return 307 $1; }}
        location /locked/ {{ deny all; }}
        location /small/ {{ client_max_body_size 1000; }}
        location /private/ {{ auth_basic "private"; auth_basic_user_file {place}/users; }}
    }}
}}
"""


def why_not() -> str:
    """Why there can be none; "" if there can."""
    program = _program()
    if program is None:
        return "there is no nginx on this machine (Debian: nginx)"
    said = subprocess.run([program, "-V"], capture_output=True, text=True).stderr
    missing = [name for name in ("http_dav_module", "http_ssl_module") if name not in said]
    return f"nginx has been built without {', '.join(missing)}" if missing else ""


def _program() -> str | None:
    return shutil.which("nginx", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"]))


class Nginx:
    """One that is up, until `stop`. certificate: a file with a certificate for this address, and its key."""

    def __init__(self, place: Path, certificate: Path, address: str = "127.0.0.1") -> None:
        self.place, self.address = place, address
        self.folder = place / "files"
        self.folder.mkdir(parents=True)
        (place / "users").write_text(f"{USER}:{{PLAIN}}{PASSWORD}\n")
        with socket.socket() as one, socket.socket() as other:
            one.bind((address, 0))
            other.bind((address, 0))
            self.port, self.tls_port = one.getsockname()[1], other.getsockname()[1]
        (place / "config").write_text(_CONFIG.format(
            # As root, those who serve would become somebody who may not enter directories of tests.
            user="user root root;" if os.getuid() == 0 else "", place=place, address=address, port=self.port,
            tls_port=self.tls_port, certificate=certificate, folder=self.folder,
        ))  # fmt: skip
        with (place / "log").open("w") as log:
            self._process = psutil.Popen(
                [str(_program()), "-e", str(place / "errors"), "-p", str(place), "-c", str(place / "config")],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        try:
            eventually(self._answers)
        except AssertionError:
            self._process.kill()
            self._process.wait()
            raise RuntimeError(f"nginx does not answer: {(place / 'errors').read_text()}") from None

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection((self.address, self.tls_port), 5):
            return True
        return False

    def url(self, path: str, scheme: str = "http", user: str = "") -> str:
        return f"{scheme}://{user}{self.address}:{self.tls_port if scheme == 'https' else self.port}/{path}"

    def requests(self) -> list[str]:
        """Method, status and path of each request that has been answered."""
        return (self.place / "requests").read_text().splitlines()

    def cut(self) -> None:
        """End all connections. New ones can be made at once."""
        for process in self._process.children():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(10)
