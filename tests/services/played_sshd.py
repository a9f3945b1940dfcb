"""A played SSH server for logins that a real sshd would need PAM for: questions, a second factor, tokens, no login.

It is paramiko's own server side; commands are really run.
"""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import paramiko
from paramiko.common import AUTH_FAILED, AUTH_PARTIALLY_SUCCESSFUL, AUTH_SUCCESSFUL, OPEN_SUCCEEDED
from paramiko.server import InteractiveQuery

from tests.services.sshd import make_key, public

Asked = Callable[[list[str]], Any]


class Rules(paramiko.ServerInterface):
    """Who gets in. `steps`: methods that are asked for, one after the other."""

    def __init__(self, steps: list[str], rounds: list[tuple[list[str], list[str]]], password: str) -> None:
        self._steps, self._rounds, self._password = list(steps), list(rounds), password
        self._wanted: list[str] = []
        self.command = b""

    def get_allowed_auths(self, username: str) -> str:
        return self._steps[0] if self._steps else "none"

    def _passed(self) -> int:
        self._steps.pop(0)
        return AUTH_PARTIALLY_SUCCESSFUL if self._steps else AUTH_SUCCESSFUL

    def check_auth_none(self, username: str) -> int:
        return AUTH_FAILED if self._steps else AUTH_SUCCESSFUL

    def check_auth_password(self, username: str, password: str) -> int:
        is_right = self._steps[:1] == ["password"] and password == self._password
        return self._passed() if is_right else AUTH_FAILED

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        return self._passed() if self._steps[:1] == ["publickey"] else AUTH_FAILED

    def check_auth_interactive(self, username: str, submethods: str) -> Any:
        return self._next() if self._steps[:1] == ["keyboard-interactive"] else AUTH_FAILED

    def _next(self) -> Any:
        if not self._rounds:
            return self._passed()
        questions, self._wanted = self._rounds.pop(0)
        return InteractiveQuery("Welcome", "Please", *[(text, False) for text in questions])

    def check_auth_interactive_response(self, responses: list[str]) -> Any:
        return self._next() if list(responses) == self._wanted else AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        threading.Thread(target=_run, args=(channel, command), name="played-command").start()
        return True


def _run(channel: paramiko.Channel, command: bytes) -> None:
    text = b""
    while piece := channel.recv(1 << 16):
        text += piece
    done = subprocess.run(["/bin/sh", "-c", command.decode()], input=text, capture_output=True)
    channel.sendall(done.stdout)
    channel.sendall_stderr(done.stderr)
    channel.send_exit_status(done.returncode)
    channel.close()


class PlayedSshd:
    """Listens on a port of the loopback."""

    def __init__(
        self, folder: Path, steps: list[str], rounds: list[tuple[list[str], list[str]]] | None = None,
        password: str = "",
    ) -> None:  # fmt: skip
        self._new_rules = lambda: Rules(steps, rounds or [], password)
        path = make_key(folder / "played_key")
        self._key = paramiko.Ed25519Key.from_private_key_file(str(path))
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self.known_hosts = folder / "played_known"
        self.known_hosts.write_text(f"[127.0.0.1]:{self.port} {' '.join(public(path).split()[:2])}\n")
        self._transports: list[paramiko.Transport] = []
        self._thread = threading.Thread(target=self._serve, name="played-sshd")
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                sock, _ = self._server.accept()
            except OSError:
                return
            transport = paramiko.Transport(sock)
            transport.add_server_key(self._key)
            self._transports.append(transport)
            transport.start_server(event=threading.Event(), server=self._new_rules())  # type: ignore[no-untyped-call]

    def cut(self) -> None:
        for transport in self._transports:
            transport.close()

    def stop(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join()
        self.cut()
        for transport in self._transports:
            transport.join(5)
