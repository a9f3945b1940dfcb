"""A program that has a process killed at each of its calls of the system while it brings files into a directory, and
looks each time at what it has left; it says how many moments there were.

    die_at.py DIRECTORY
"""

import os
import signal
import sys
from pathlib import Path

from parsl_pool.staging import kept
from parsl_pool.staging.transfers.errand import fetching
from parsl_pool.staging.transfers.local_files import Landing
from parsl_pool.staging.transfers.options import USUAL


def contents(file: str) -> bytes:
    return file.encode() * 50_000


def fetch(file: str, target: Path) -> None:
    with Landing(target, fetching(f"odd:{file}", target, USUAL)) as landing:
        if landing.known == "1":
            landing.unchanged()
        elif landing.size == 0 or landing.version != "1":
            landing.restart()
            landing.began("1", None)
        while not landing.known and landing.size < len(contents(file)):
            landing.write(contents(file)[landing.size :][:20_000])
        landing.settle()


def use(directory: Path, file: str, number: int, most_bytes: int) -> None:
    path = directory / file / str(number) / "x"
    with kept.used(kept.Wanted(f"odd:{file}", str(path), lambda target: fetch(file, target), most_bytes)):
        assert path.read_bytes() == contents(file)


def work(directory: Path) -> None:
    """Brings files, uses them again, and removes some for others."""
    for number, file in enumerate("abaa"):
        use(directory, file, number, 60_000)


def die_at(moment: int, directory: Path) -> None:
    left = moment

    def hook(event: str, _: object) -> None:
        nonlocal left
        if event == "open" or event.startswith(("os.", "fcntl.", "shutil.")):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    work(directory)


def was_killed(moment: int, directory: Path) -> bool:
    """In a process of its own."""
    child = os.fork()
    if not child:
        try:
            die_at(moment, directory)
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, -signal.SIGKILL), code
    return code != 0


def look_at(directory: Path) -> None:
    for path in directory.glob("[ab]/*/x"):
        assert path.read_bytes() == contents(path.parents[1].name), path
    for file in "ab":
        use(directory, file, 8, 10**9)
    assert not list(directory.rglob(".part*"))
    use(directory, "z", 9, 0)  # no lock of the killed one hinders it
    assert {path.name for path in directory.iterdir()} == {".room", "z"}


def main() -> None:
    moment, directory = 1, Path(sys.argv[1])
    while was_killed(moment, directory / str(moment)):
        look_at(directory / str(moment))
        moment += 1
    print(moment)


if __name__ == "__main__":
    main()
