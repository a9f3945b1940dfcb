"""However the process that has blocks ends, nothing of them is left."""

import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.eventually import eventually
from tests.providers.conftest import is_gone, pid_in

CLIENT = """
import os, signal, sys, time
from parsl_pool.providers import LocalProvider
script_dir, worker_init, command, copies, blocks, extra = sys.argv[1:]
provider = LocalProvider(script_dir=script_dir, worker_init=worker_init, max_blocks=1000)
for _ in range(int(blocks)):
    provider.submit(command, int(copies))
    print("submitted", flush=True)
exec(extra)
signal.pause()
"""


class Client:
    """A process that has blocks, to be killed."""

    def __init__(self, script_dir: Path) -> None:
        self.script_dir = script_dir
        self.process: subprocess.Popen[str] | None = None

    def start(
        self,
        *,
        worker_init: str = "",
        command: str = "sleep 1000",
        copies: int = 1,
        blocks: int = 1,
        extra: str = "",
    ) -> subprocess.Popen[str]:
        arguments = [str(self.script_dir), worker_init, command, str(copies), str(blocks), extra]
        self.process = subprocess.Popen(
            [sys.executable, "-c", CLIENT, *arguments], stdout=subprocess.PIPE, text=True
        )
        return self.process

    def end(self) -> None:
        if self.process:
            self.process.kill()
            self.process.communicate()
            self.process = None

    def blocks(self) -> list[psutil.Process]:
        """The processes whose session is led by one of the client's guards, or that have its scripts open."""
        found = []
        for process in psutil.process_iter(["cmdline", "status"]):
            command = " ".join(process.info["cmdline"] or [])
            if str(self.script_dir) in command and process.pid != (self.process and self.process.pid):
                found.append(process)
        return found


@pytest.fixture
def client(script_dir: Path) -> Iterator[Client]:
    client = Client(script_dir)
    yield client
    client.end()


HANGS: dict[str, dict[str, Any]] = {
    "in worker_init": {"worker_init": "echo $$ >{pid}; sleep 1000"},
    "in worker_init, ignoring SIGTERM": {
        "worker_init": "trap '' TERM HUP INT; echo $$ >{pid}; sleep 1000; sleep 1000"
    },
    "in worker_init, in the shell itself": {"worker_init": "mkfifo {pid}.f; echo $$ >{pid}; read x <{pid}.f"},
    "in the background": {"worker_init": "sh -c 'echo $$ >{pid}; sleep 1000' & wait"},
    "in the command": {"command": "sh -c 'echo $$ >{pid}; sleep 1000'"},
    "in several copies": {"command": "sh -c 'echo $$ >{pid}; sleep 1000'", "copies": 3},
}


@pytest.mark.kill
@pytest.mark.parametrize("hang", HANGS)
def test_nothing_is_left_when_this_process_is_killed(client: Client, hang: str, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    options: dict[str, Any] = {
        name: value.format(pid=pid) if isinstance(value, str) else value
        for name, value in HANGS[hang].items()
    }
    process = client.start(**options)
    hanging = pid_in(pid)
    blocks = client.blocks()
    assert len(blocks) >= 3  # guard, watcher, the script's shell
    process.kill()
    process.wait()
    eventually(lambda: is_gone(hanging) and all(map(is_gone, blocks)))
    assert not client.blocks()


@pytest.mark.kill
def test_nothing_is_left_though_a_fork_of_the_killed_process_lives_on(client: Client, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    process = client.start(
        worker_init="sleep 1000",
        extra=f"child = os.fork()\nif child == 0: open('{pid}', 'w').write(str(os.getpid()))",
    )
    fork = pid_in(pid)
    try:
        blocks = eventually(client.blocks)
        process.kill()
        process.wait()
        eventually(lambda: not client.blocks() or [b for b in client.blocks() if b.pid != fork.pid] == [])
        eventually(lambda: all(is_gone(block) for block in blocks if block.pid != fork.pid))
        assert fork.is_running()
    finally:
        fork.kill()


@pytest.mark.kill
def test_nothing_is_left_when_this_process_is_killed_while_it_submits(
    client: Client, kill_rounds: int
) -> None:
    seed = random.randrange(1 << 30)
    print("seed", seed)
    moments = random.Random(seed)
    for _ in range(kill_rounds):
        process = client.start(blocks=500)
        assert process.stdout and process.stdout.readline() == "submitted\n"
        time.sleep(
            moments.uniform(0, 0.05)
        )  # not a wait for anything: the moment of the kill is the test's input
        client.end()
        eventually(lambda: not client.blocks(), within=20)


@pytest.mark.parametrize(
    "end", ["sys.exit(0)", "raise RuntimeError", "os._exit(1)", "os.kill(os.getpid(), 15)"]
)
def test_nothing_is_left_when_this_process_ends_in_another_way(client: Client, end: str) -> None:
    client.start(worker_init="sleep 1000", blocks=3, extra=end).wait(timeout=20)
    eventually(lambda: not client.blocks())


def test_blocks_do_not_hold_up_whoever_reads_our_output(client: Client) -> None:
    process = client.start(extra="sys.exit(0)")
    assert process.communicate(timeout=20)[0] == "submitted\n"  # end of file, so nobody else holds the pipe
