"""A web server for a sample: nginx, on this machine, which tells at its end what it has served."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import processes

_CONF = """
daemon off; {user} worker_processes 1; pid {where}/pid; error_log {where}/errors;
events {{ worker_connections 512; }}
http {{
    log_format counts '$connection $body_bytes_sent';
    access_log {where}/served counts buffer=1m;
    sendfile on; keepalive_requests 1000000; default_type application/octet-stream;
    client_body_temp_path {where}/1; proxy_temp_path {where}/2; fastcgi_temp_path {where}/3;
    uwsgi_temp_path {where}/4; scgi_temp_path {where}/5;
    server {{ listen 127.0.0.1:{port} backlog=512; root {root}; }}
}}
"""
_ELSEWHERE = "/usr/sbin:/usr/local/sbin"  # not on everybody's PATH
READY_S = 10.0


@dataclass
class Served:
    """What a server has done; the counts are there when it has ended."""

    url: str
    pid: int
    requests: int = 0
    connections: int = 0
    body_bytes: int = 0

    def cpu_s(self) -> float:
        """CPU time of the server until now."""
        return processes.usage(processes.tree(self.pid)).cpu_s


@contextmanager
def serving(root: Path, where: Path) -> Iterator[Served]:
    """nginx, with the files of a folder; its own ones go to another folder.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    program = shutil.which("nginx", path=os.environ.get("PATH", os.defpath) + ":" + _ELSEWHERE)
    if program is None:
        raise ModuleNotFoundError("no nginx on PATH: nobody serves the files")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    user = "user root;" if os.geteuid() == 0 else ""  # else its workers are somebody who may not read the files
    where.mkdir()
    (where / "conf").write_text(_CONF.format(user=user, where=where, root=root, port=port))
    process = subprocess.Popen([program, "-p", where, "-e", where / "errors", "-c", where / "conf"])
    served = Served(f"http://127.0.0.1:{port}", process.pid)
    try:
        if not processes.wait_until(lambda: _answers(port), READY_S):
            raise RuntimeError(f"nginx does not answer: {(where / 'errors').read_text()[-300:]}")
        yield served
    finally:
        process.send_signal(signal.SIGQUIT)
        process.wait()
    connections = set()
    for line in (where / "served").read_text().splitlines():
        connection, size = line.split()
        connections.add(connection)
        served.requests += 1
        served.body_bytes += int(size)
    served.connections = len(connections)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
