"""A checkpoint under real faults: writers that are killed, disks that are full, several processes, forks."""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from parsl_pool.memoization.checkpoints import Checkpointer, load_checkpoints
from parsl_pool.memoization.maintenance import problems
from parsl_pool.memoization.store import Store
from tests.eventually import eventually
from tests.memoization.writer import key, payload

ROOT = Path(__file__).parents[2]


@contextlib.contextmanager
def started(*arguments: object) -> Iterator["subprocess.Popen[str]"]:
    # Not by -m: its functions would be those of __main__, and others than the ones that are imported here.
    command = [sys.executable, "-c", "from tests.memoization import writer; writer.main()", *map(str, arguments)]
    process = subprocess.Popen(
        command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def whole_results(folder: Path, numbers: Iterable[int]) -> set[int]:
    """Which of these results are there; all that are must be whole."""
    store = Store(folder / "results.sqlite")
    assert list(problems(store)) == []
    there = set()
    for x in set(numbers):
        data = store.get(key(x).digest)
        assert data in (None, payload(x))
        if data is not None:
            there.add(x)
    store.close()
    return there


def test_a_killed_writer_loses_at_most_what_it_was_writing(tmp_path: Path, kill_rounds: int) -> None:
    told: set[int] = set()
    for round in range(kill_rounds):
        first = 10_000 * round
        with started(tmp_path, first) as process:
            assert process.stdout is not None
            line = process.stdout.readline()
            time.sleep(random.random() * 0.3)  # not a wait: the moment of the kill is to be any
            process.send_signal(signal.SIGKILL)
            rest = process.stdout.read()
        lines = [line, *rest.splitlines(keepends=True)]
        told |= {int(number) for line in lines if line.endswith("\n") for number in line.split()}
    there = whole_results(tmp_path, [x for end in told for x in range(end - 3, end + 6)])
    assert told <= there
    assert len(there - told) <= 3 * kill_rounds


def test_two_processes_write_one_checkpoint(tmp_path: Path) -> None:
    with started(tmp_path, 0) as one, started(tmp_path, 100_000) as two:
        last = 0
        for process in (one, two):
            assert process.stdout is not None
            for _ in range(30):
                last = int(process.stdout.readline().split()[-1])
    there = whole_results(tmp_path, range(90)) | whole_results(tmp_path, range(100_000, last + 1))
    assert there >= set(range(90)) | set(range(100_000, last + 1))


def test_a_full_disk_costs_nothing_once_there_is_room(tmp_path: Path) -> None:
    with started(tmp_path, 300_000, 1000) as process:
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == "full\n"
        for line in process.stderr:
            if "could not be written" in line:
                break
        assert f"checkpoint {tmp_path}/results.sqlite: cannot be written: " in line
        whole_results(tmp_path, range(1000))  # what is there now can be read
        process.stdin.write("room\nend\n")
        process.stdin.flush()
        assert process.stdout.readline() == "closed\n"
    assert whole_results(tmp_path, range(1000)) == set(range(1000))


def test_a_writer_that_is_killed_on_a_full_disk_leaves_a_good_file(tmp_path: Path) -> None:
    with started(tmp_path, 300_000, 1000) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "could not be written" in line:
                break
        process.kill()
    whole_results(tmp_path, range(1000))
    writer = Checkpointer("task_exit", tmp_path)
    writer.add(key(5000), payload(5000))
    writer.close()
    assert whole_results(tmp_path, range(5000, 5001)) == {5000}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    where = tmp_path / "disk"
    where.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(where)]
    done = subprocess.run(mount, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"cannot mount a small file system here: {done.stderr.strip()}")
    yield where
    subprocess.run(["umount", "-l", str(where)], check=True)


def test_a_really_full_disk_is_told_once_and_written_to_again(
    small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    writer = Checkpointer("task_exit", small_disk / "c")
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"." * 700_000)
    for x in range(400):
        writer.add(key(x), payload(x))
    eventually(lambda: "could not be written" in caplog.text)
    assert "database or disk is full" in caplog.text and str(small_disk) in caplog.text
    ballast.unlink()
    writer.add(key(400), b"400")
    writer.checkpoint()
    assert caplog.text.count("could not be written") == 1
    there = {x for x in range(300) if writer.get(key(x).digest) == payload(x)}
    assert there == set(range(300))
    writer.close()


# ---- forks


def in_a_fork(work: str, folder: Path) -> dict[str, object]:
    """What the work says, in a child forked from a process that has a checkpoint open."""
    script = f"""
import json, os, sys
from parsl_pool.memoization.checkpoints import Checkpointer, load_checkpoints
from tests.memoization.writer import key, payload
folder = {os.fspath(folder)!r}
writer = Checkpointer("task_exit", folder)
loaded = load_checkpoints([folder])
writer.add(key(1), payload(1))
writer.checkpoint()
read, write = os.pipe()
if os.fork() == 0:
    {work}
    os.write(write, json.dumps(said).encode())
    sys.exit(0)  # with all that Python does at its end
os.close(write)
said = os.read(read, 10_000)
os.wait()
writer.add(key(2), payload(2))
assert loaded.get(key(1).digest) == payload(1)
writer.close()
loaded.close()
print(said.decode())
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    said: dict[str, object] = json.loads(done.stdout)
    return said


def test_a_forked_child_reads_by_a_connection_of_its_own(tmp_path: Path) -> None:
    said = in_a_fork("said = {'there': loaded.get(key(1).digest) == payload(1)}", tmp_path)
    assert said == {"there": True}
    assert whole_results(tmp_path, range(3)) == {1, 2}


def test_a_forked_child_may_close_what_is_its_parent_s(tmp_path: Path) -> None:
    said = in_a_fork("loaded.close(); writer.close(); said = {}", tmp_path)
    assert said == {}
    assert whole_results(tmp_path, range(3)) == {1, 2}


# ---- places where one may not write


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users can reach. pytest's own are closed to them, again and again by each session."""
    folder = Path(tempfile.mkdtemp())
    modes = {above: above.stat().st_mode for above in folder.parents}
    closed = [above for above, mode in modes.items() if not mode & 0o001]  # this session's, and one around it
    for above in closed:
        above.chmod(modes[above] | 0o011)
    folder.chmod(0o755)
    yield folder
    for above in closed:
        above.chmod(modes[above])
    shutil.rmtree(folder)


def test_a_checkpoint_in_a_place_that_cannot_be_written_is_read(tmp_path: Path, open_folder: Path) -> None:
    """As an ordinary user: root may write everywhere."""
    folder = open_folder / "c"
    writer = Checkpointer("dfk_exit", folder)
    writer.add(key(1), payload(1))
    writer.close()
    (folder / "results.sqlite").chmod(0o444)
    folder.chmod(0o555)
    script = (
        "import os, sys\n"
        "from parsl_pool.memoization.checkpoints import Checkpointer, load_checkpoints\n"
        "from tests.memoization.writer import key, payload\n"
        f"Checkpointer('manual', {os.fspath(tmp_path / 'other')!r}).close()\n"  # all that is needed gets imported
        "os.setuid(65534) if os.getuid() == 0 else None\n"
        f"loaded = load_checkpoints([{os.fspath(folder)!r}])\n"
        "assert not loaded.problems, loaded.problems\n"
        "assert loaded.get(key(1).digest) == payload(1)\n"
    )
    try:
        done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert os.listdir(folder) == ["results.sqlite"]
    finally:
        folder.chmod(0o755)


def test_where_no_write_ahead_log_works_there_is_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from parsl_pool.memoization import sqlite_file

    caplog.set_level("INFO", logger="parsl_pool.checkpoints")
    system = sqlite_file.file_system_of(os.fspath(tmp_path))
    networks = sqlite_file.NETWORK
    sqlite_file.NETWORK = frozenset({system})  # this file system is as one of the network
    try:
        writer = Checkpointer("task_exit", tmp_path / "c")
        for x in range(100):
            writer.add(key(x), payload(x))
        writer.checkpoint()
        assert os.listdir(tmp_path / "c") == ["results.sqlite"]  # no log, no shared memory beside it
        writer.close()
    finally:
        sqlite_file.NETWORK = networks
    assert "journal mode delete instead of WAL" in caplog.text
    assert whole_results(tmp_path / "c", range(100)) == set(range(100))


def test_the_file_system_of_a_path_is_the_mount_nearest_to_it() -> None:
    from parsl_pool.memoization.sqlite_file import file_system_of

    mounts = "\n".join(
        f"{number} 1 0:{number} / {where} rw,relatime shared:1 - {kind} source rw"
        for number, (where, kind) in enumerate([
            ("/", "ext4"), ("/home", "nfs4"), ("/home/a\\040b", "lustre"), ("/homework", "xfs"), ("/s", "tmpfs"),
            ("/s", "fuse.sshfs"),
        ])
    )  # fmt: skip
    asked = {"/etc/x": "ext4", "/home/u/c": "nfs4", "/home/a b/c": "lustre", "/homework/c": "xfs", "/s/c": "fuse.sshfs"}
    assert {path: file_system_of(path, mounts) for path in asked} == asked
    assert file_system_of("/etc", "rubbish\n- \n") == ""


def test_a_loaded_checkpoint_sees_what_another_process_adds(tmp_path: Path) -> None:
    with started(tmp_path, 0) as process:
        assert process.stdout is not None
        process.stdout.readline()
        loaded = load_checkpoints([tmp_path])
        assert loaded.get(key(0).digest) == payload(0)
        eventually(lambda: loaded.get(key(9).digest) == payload(9))
        loaded.close()


def test_many_open_a_new_checkpoint_at_the_same_moment(tmp_path: Path) -> None:
    """Each may be the one that makes the tables, between the other's look and its making."""

    def opened(place: Path) -> None:
        barrier.wait(10)
        Store(place, to_write=True).close()

    barrier = threading.Barrier(4)
    with ThreadPoolExecutor(4) as threads:
        for number in range(50):
            for opening in [threads.submit(opened, tmp_path / f"{number}.sqlite") for _ in range(4)]:
                opening.result(30)
