"""Whoever brings a file is killed, at any moment: nothing half is left under its name, and the next one goes on."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import parsl_pool
from parsl_pool import Config, File, HighThroughputExecutor, ParslPoolExecutor
from parsl_pool.errors import DependencyError, TransferFailed
from parsl_pool.staging import HTTPInTaskStaging, HTTPSeparateTaskStaging, Transfer
from tests.eventually import eventually
from tests.services.web_faults import WebFaults, serves
from tests.staging import die_at
from tests.staging.test_kept import BODY, GOES_ON, conditional, stops

pytestmark = pytest.mark.timeout(120)

ROOT = Path(__file__).parents[2]
QUICK = Transfer(pause=0.001, longest_pause=2, silence=50, retries=1)
WAYS = {"separate": HTTPSeparateTaskStaging, "in task": HTTPInTaskStaging}


@pytest.fixture
def server() -> Iterator[WebFaults]:
    with WebFaults() as server:
        yield server


@pytest.mark.timeout(300)
def test_who_is_killed_at_any_moment_leaves_nothing_that_harms(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, die_at.__file__, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=280,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 100


def size_of(file: File) -> int:
    return Path(file).stat().st_size


@pytest.mark.parametrize("manager_inside", [True, False], ids=["inside", "apart"])
@pytest.mark.parametrize("way", WAYS)
def test_a_worker_that_is_killed_while_it_fetches(
    way: str, manager_inside: bool, server: WebFaults, tmp_path: Path
) -> None:
    server.plan("/a", stops(1_000_000), serves(BODY))
    executor = HighThroughputExecutor(
        max_workers_per_node=1, manager_inside=manager_inside, storage_access=[WAYS[way](QUICK)], working_dir=tmp_path
    )
    with ParslPoolExecutor(Config([executor], retries=1, run_dir=None)) as pool:
        worker = pool.submit(os.getpid).result()
        sizes = [pool.submit(size_of, File(server.url("/a"))) for _ in range(3)]
        eventually(lambda: [part.stat().st_size for part in tmp_path.glob("*/kept/.part")] == [1_000_000], within=50)
        os.kill(worker, signal.SIGKILL)
        assert [size.result() for size in sizes] == [len(BODY)] * 3
    assert [request.headers.get("range") for request in server.requests] == [None, "bytes=999999-" if GOES_ON else None]
    assert not list(tmp_path.rglob(".part*"))


def test_a_transfer_that_fails_is_not_tried_again_as_a_task(server: WebFaults, tmp_path: Path) -> None:
    executor = HighThroughputExecutor(max_workers_per_node=1, storage_access=[HTTPSeparateTaskStaging(QUICK)])
    with ParslPoolExecutor(Config([executor], retries=2, run_dir=None)) as pool:
        error = pool.submit(size_of, File(server.url("/none"))).exception()
    assert isinstance(error, DependencyError) and isinstance(error.__cause__, TransferFailed)
    assert len(server.requests) == 1


PROGRAM = """
import sys
from pathlib import Path
from parsl_pool import Config, File, HighThroughputExecutor, ParslPoolExecutor
from parsl_pool.staging import HTTPInTaskStaging, HTTPSeparateTaskStaging, Transfer

url, working_dir, way = sys.argv[1:]
kind = HTTPSeparateTaskStaging if way == "separate" else HTTPInTaskStaging
storage = [kind(Transfer(pause=0.001, silence=50, retries=1))]
executor = HighThroughputExecutor(max_workers_per_node=2, storage_access=storage, working_dir=working_dir)

def size_of(file):
    return Path(file).stat().st_size

with ParslPoolExecutor(Config([executor], run_dir=None)) as pool:
    print({future.result() for future in [pool.submit(size_of, File(url)) for _ in range(10)]})
"""


def program(url: str, working_dir: Path, way: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, url, str(working_dir), way], cwd=ROOT, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_the_next_program_goes_on_where_a_killed_one_was(way: str, server: WebFaults, tmp_path: Path) -> None:
    server.plan("/a", stops(1_000_000), serves(BODY))
    first = program(server.url("/a"), tmp_path, way)
    eventually(lambda: [part.stat().st_size for part in tmp_path.glob("*/kept/.part")] == [1_000_000], within=50)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    second = program(server.url("/a"), tmp_path, way)
    assert second.communicate(timeout=100)[0].strip() == str({len(BODY)}) and second.returncode == 0
    assert [request.headers.get("range") for request in server.requests] == [None, "bytes=999999-" if GOES_ON else None]
    assert not list(tmp_path.rglob(".part*"))


@pytest.mark.parametrize("way", WAYS)
def test_programs_that_share_a_directory_fetch_a_file_once(way: str, server: WebFaults, tmp_path: Path) -> None:
    server.plan("/a", conditional(BODY))
    programs = [program(server.url("/a"), tmp_path, way) for _ in range(2)]
    for each in programs:
        assert each.communicate(timeout=100)[0].strip() == str({len(BODY)}) and each.returncode == 0
    # Each program asks once, unless it finds that all its ten tasks were done before the next one was handed in.
    whole = [request for request in server.requests if "if-none-match" not in request.headers]
    assert len(whole) == 1


def test_a_hundred_tasks_fetch_a_file_once(server: WebFaults, tmp_path: Path) -> None:
    server.plan("/a", conditional(BODY))
    executor = HighThroughputExecutor(
        max_workers_per_node=2, storage_access=[HTTPSeparateTaskStaging(QUICK)], working_dir=tmp_path
    )
    with parsl_pool.load(Config([executor], run_dir=None)) as pool:
        gate = pool.submit(abs, 1)
        futures = [pool.submit(size_of, File(server.url("/a"))) for _ in range(100)]
        assert {future.result() for future in futures} == {len(BODY)} and gate.result() == 1
    parsl_pool.clear()
    assert sum("if-none-match" not in request.headers for request in server.requests) == 1
