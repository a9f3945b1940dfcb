"""The inside of a service: the first process of its PID name space, which starts its daemons and its nodes.

Only the standard library, and no threads: this process also has to wait for every orphan of its name space.
"""

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

_REAP_S = 0.2
_POLL_S = 0.05

# A node: PID, UTS, IPC and mount name spaces. Its init ends with the node, and its jobs with its init, as when a
# machine loses its power; that a daemon of the node is gone does not end the others, and somebody waits for orphans.
_NODE = """\
hostname "$1" && mount -t tmpfs -o mode=1777 tmpfs /dev/shm && mount --bind "$2" /etc/hosts || exit 1
shift 2
"$@" &
wait "$!"
while sleep 1; do :; done
"""


class Inside(ABC):
    """A service's inside: `start`, then a word at a time from outside, each the name of a method."""

    commands: tuple[str, ...] = ()

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    @abstractmethod
    def start(self) -> Mapping[str, str]:
        """Starts everything; the environment that its commands need."""

    def run(self, name: str, *command: str, **environment: str) -> None:
        """Start a daemon, with a log of that name."""
        with open(self.folder / f"{name}.log", "ab") as log:
            self.processes[name] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env={**os.environ, **environment},
            )  # fmt: skip

    def run_node(self, name: str, hosts: Path, *command: str, **environment: str) -> None:
        """Start a node, on which this is the daemon."""
        spaces = "unshare --pid --fork --kill-child --mount-proc --uts --ipc --mount".split()
        self.run(name, *spaces, "sh", "-c", _NODE, "sh", name, str(hosts), *command, **environment)

    def run_there(self, node: str, *command: str, **environment: str) -> None:
        """Start another daemon on a node that runs."""
        unshare = self.processes[node].pid
        inner = Path(f"/proc/{unshare}/task/{unshare}/children").read_text().split()[0]
        enter = ["nsenter", f"--target={inner}", "--pid", "--mount", "--uts", "--ipc"]
        self.run(f"{node}-more", *enter, *command, **environment)

    def end(self, name: str, number: int = signal.SIGKILL) -> None:
        """End a daemon, or a node with all that is on it."""
        process = self.processes.pop(name)
        process.send_signal(number)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def wait_until(self, check: Callable[[], bool], what: str, within: float = 40) -> None:
        """Waits for it.

        Raises:
            TimeoutError: in vain.
        """
        deadline = time.monotonic() + within
        while not check():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what}: not within {within:g} s")
            time.sleep(_POLL_S)

    def works(self, *command: str, **environment: str) -> bool:
        """True if that command succeeds."""
        return self.result(*command, **environment).returncode == 0

    def result(self, *command: str, text: str = "", **environment: str) -> "subprocess.CompletedProcess[str]":
        """What a command did."""
        return subprocess.run(
            command, input=text, capture_output=True, text=True, env={**os.environ, **environment}, timeout=60
        )

    def output(self, *command: str, text: str = "", **environment: str) -> str:
        """What a command printed.

        Raises:
            RuntimeError: it failed.
        """
        done = self.result(*command, text=text, **environment)
        if done.returncode:
            raise RuntimeError(f"{command}: exit code {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout


def free_ports(count: int) -> list[int]:
    """Ports of this host that nobody listens at."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


def serve(make: Callable[..., Inside]) -> None:
    """Be the inside of a service until stdin ends."""
    folder = Path(sys.argv[1])
    os.environ["LC_ALL"] = "C.UTF-8"
    os.environ["PATH"] = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:/usr/lib/gridengine"
    inside = make(folder, *sys.argv[2:])
    try:
        _say(inside.start)
        for words in _lines():
            _say(_obey, inside, words)
    finally:
        # All but this process, which the kernel ends last. A daemon may be about to write a file.
        os.kill(-1, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)


def _obey(inside: Inside, words: list[str]) -> Any:
    if words[0] not in inside.commands:
        raise ValueError(f"{words[0]!r} is none of {inside.commands}")
    return getattr(inside, words[0])(*words[1:])


def _say(act: Callable[..., Any], *arguments: Any) -> None:
    try:
        answer = ["ok", act(*arguments)]
    except Exception as problem:
        answer = ["failed", f"{type(problem).__name__}: {problem}"]
    os.write(1, json.dumps(answer).encode() + b"\n")


def _lines() -> Any:
    """Commands from stdin; between them, ends of orphans are taken note of, as a first process has to."""
    rest = b""
    while True:
        if not select.select([0], [], [], _REAP_S)[0]:
            _reap()
            continue
        data = os.read(0, 65536)
        if not data:
            return
        *lines, rest = (rest + data).split(b"\n")
        yield from map(json.loads, lines)


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
