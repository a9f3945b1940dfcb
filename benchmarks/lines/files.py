"""Files that come from a web server: a large one, and many small ones; beside the programs that people use for that.

Our figures are those of a task, from its submit to its result, with the files as its arguments: they are brought by the
default providers. All files lie in memory (tmpfs) where there is room, so that no disk is measured. What came is read
again afterwards, and each file's digest compared.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from importlib import import_module
from pathlib import Path

from benchmarks import processes, tasks
from benchmarks.trial import Line, Metric, Trial, WrongResult, expect
from benchmarks.web_server import Served, serving

MEGABYTE = 2**20
SMALL = 1000  # bytes
AT_A_TIME = 8
MEMORY = Path("/dev/shm")

Paths = Mapping[str, str]  # name of a file -> where it is now
Fetch = Callable[[Sequence[str]], Paths]  # of URLs
Way = Callable[[Trial, Path], AbstractContextManager[Fetch]]


def one_large_file(trial: Trial) -> Mapping[str, float]:
    """One of `size` MB."""
    with _measuring(trial, {"large": trial.size * MEGABYTE}, _pool) as (served, fetch, digests):
        urls = [f"{served.url}/large"]
        before = _memory()
        with processes.sampled(os.getpid()) as peaks:
            cpu_s, started = served.cpu_s(), time.perf_counter()
            paths = fetch(urls)
            took_s = time.perf_counter() - started
            cpu_s = served.cpu_s() - cpu_s
        _check(paths, digests)
    _check_count(served, len(urls), trial.size * MEGABYTE)
    return {
        "file": took_s,
        "file_memory": (peaks.pss - before) / MEGABYTE,
        "file_requests": served.requests - 1,
        "file_server": 100 * cpu_s / took_s,
    }


def many_small_files(trial: Trial) -> Mapping[str, float]:
    """`size` of a kilobyte each."""
    return {f"files{name}": value for name, value in _small_files(trial, _pool).items()}


def many_small_files_alone(trial: Trial) -> Mapping[str, float]:
    """The same without a pool: what the transfers take, without tasks and without what is noted of files."""
    return {f"files_alone{name}": value for name, value in _small_files(trial, _threads).items()}


def _small_files(trial: Trial, ours: Way) -> Mapping[str, float]:
    sizes = {f"small{number}": SMALL for number in range(trial.size)}
    with _measuring(trial, sizes, ours) as (served, fetch, digests):
        urls = [f"{served.url}/{name}" for name in sizes]
        cpu_s, started = served.cpu_s(), time.perf_counter()
        paths = fetch(urls)
        took_s = time.perf_counter() - started
        cpu_s = served.cpu_s() - cpu_s
        _check(paths, digests)
    _check_count(served, len(urls), trial.size * SMALL)
    return {
        "": trial.size / took_s,
        "_connections": served.connections - 1,
        "_server": 100 * cpu_s / took_s,
    }


def _check_count(served: Served, requests: int, size: int) -> None:
    """Each file was asked for once, and sent once; one more, of no bytes, was for warming up."""
    expect((served.requests, served.body_bytes), (requests + 1, size))


def _check(paths: Paths, digests: Mapping[str, str]) -> None:
    expect({name: _digest(path) for name, path in paths.items()}, dict(digests))


def _digest(path: str) -> str:
    with open(path, "rb") as file:
        return _hash_of(iter(lambda: file.read(MEGABYTE), b""))


def _hash_of(pieces: Iterator[bytes]) -> str:
    digest = hashlib.blake2b()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


def _memory() -> int:
    return sum(map(processes.pss, processes.tree(os.getpid())))


@contextmanager
def _measuring(
    trial: Trial, sizes: Mapping[str, int], ours: Way
) -> Iterator[tuple[Served, Fetch, Mapping[str, str]]]:
    """A server with files of these sizes, what fetches them, which is warm, and the files' digests."""
    with ExitStack() as stack:
        room = MEMORY if _has_room(MEMORY, 3 * sum(sizes.values())) else None
        where = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=room)))
        digests = _made(where / "served", sizes)
        (where / "served" / "empty").touch()
        served = stack.enter_context(serving(where / "served", where / "server"))
        fetch: Fetch = stack.enter_context(_program(trial, where) if trial.peer.command else ours(trial, where))
        expect(list(fetch([f"{served.url}/empty"])), ["empty"])
        yield served, fetch, digests


def _has_room(where: Path, size: int) -> bool:
    try:
        return shutil.disk_usage(where).free > size
    except OSError:
        return False


def _made(folder: Path, sizes: Mapping[str, int]) -> dict[str, str]:
    """Files that nobody could guess; their digests."""
    folder.mkdir()
    noise = os.urandom(MEGABYTE)
    digests = {}
    for name, size in sizes.items():
        own = os.urandom(16)
        with open(folder / name, "wb") as file:
            while size > 0:
                file.write((own + noise)[:min(size, MEGABYTE)])
                size -= MEGABYTE
        digests[name] = _digest(str(folder / name))
    return digests


# ---- who fetches


@contextmanager
def _pool(trial: Trial, where: Path) -> Iterator[Fetch]:
    """One task, all files among its arguments."""
    file_of = import_module("parsl_pool").File
    tempfile.tempdir = os.environ["TMPDIR"] = str(where)  # there the run has its directory, and the files in it
    with trial.pool() as pool:

        def fetch(urls: Sequence[str]) -> Paths:
            paths = pool.result(pool.submit(tasks.paths, [file_of(url) for url in urls]))
            return {os.path.basename(path): path for path in paths}

        yield fetch


@contextmanager
def _threads(trial: Trial, where: Path) -> Iterator[Fetch]:
    """The modules for transfers, in this process."""
    trial.peer.load()
    by_scheme = import_module("parsl_pool.staging.transfers.by_scheme")
    folder = where / "here"
    folder.mkdir()
    with ThreadPoolExecutor(AT_A_TIME) as threads:

        def fetch(urls: Sequence[str]) -> Paths:
            paths = {os.path.basename(url): folder / os.path.basename(url) for url in urls}
            list(threads.map(by_scheme.fetch, urls, paths.values()))
            return {name: str(path) for name, path in paths.items()}

        yield fetch


@contextmanager
def _program(trial: Trial, where: Path) -> Iterator[Fetch]:
    """Programs that write into a folder; wget does one file after the other, so that there are several of them."""
    trial.peer.load()
    folder = where / "here"
    folder.mkdir()

    def fetch(urls: Sequence[str]) -> Paths:
        if trial.peer.command == "curl":
            commands = [["curl", "-sS", "--fail", "-Z", "--parallel-max", str(AT_A_TIME), "--remote-name-all", *urls]]
            _run(commands, folder)
        else:
            lists = []
            for number in range(min(AT_A_TIME, len(urls))):
                (where / str(number)).write_text("\n".join(urls[number::AT_A_TIME]))
                lists.append(str(where / str(number)))
            _run([["wget", "-q", "-i", each] for each in lists], folder)
        return {name: str(folder / name) for name in map(os.path.basename, urls)}

    yield fetch


def _run(commands: Sequence[Sequence[str]], folder: Path) -> None:
    running = [subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL) for command in commands]
    codes = [process.wait() for process in running]
    if any(codes):
        raise WrongResult(f"exit codes {codes} of {commands[0][0]}")


WHO = frozenset({"inside", "curl", "wget"})

LINES = (
    Line(
        name="file",
        metrics=[
            Metric("file", "s", "1 GB over HTTP as the argument of a task"),
            Metric("file_memory", "MB", "1 GB over HTTP: growth of all processes' PSS at the peak"),
            Metric("file_requests", "", "1 GB over HTTP: requests"),
            Metric("file_server", "%", "1 GB over HTTP: the server's part of a core"),
        ],
        measure=one_large_file,
        size=1024,
        least=1024,
        quick_size=8,
        only=WHO,
    ),
    Line(
        name="files",
        metrics=[
            Metric("files", "files/s", "1,000 files of 1 kB over HTTP as arguments of a task", more_is_better=True),
            Metric("files_connections", "", "1,000 files over HTTP: connections"),
            Metric("files_server", "%", "1,000 files over HTTP: the server's part of a core"),
        ],
        measure=many_small_files,
        size=1_000,
        least=1_000,
        quick_size=50,
        only=WHO,
    ),
    Line(
        name="files-alone",
        metrics=[
            Metric("files_alone", "files/s", "1,000 files of 1 kB, by the transfers alone", more_is_better=True),
            Metric("files_alone_connections", "", "1,000 files, by the transfers alone: connections"),
            Metric("files_alone_server", "%", "1,000 files, by the transfers alone: the server's part of a core"),
        ],
        measure=many_small_files_alone,
        size=1_000,
        least=1_000,
        quick_size=50,
        only=WHO,
    ),
)
