"""A protocol of the tests' own: a shelf is a folder, and its files have URLs such as shelf:/folder/name.

What is fetched and sent is noted beside the file, so that tests can count it, whichever process did it.
"""

import os
import shutil
from contextlib import suppress
from pathlib import Path

from parsl_pool.errors import TransferFailed
from parsl_pool.files import File
from parsl_pool.staging import InTask, Protocol, SeparateTask


def fetch(url: str, target: Path, options: object) -> None:
    source = Path(File(url).path)
    note(source, "fetched")
    if not source.exists():
        raise TransferFailed(url, "the shelf has no such file")
    part = target.with_suffix(".part")
    shutil.copyfile(source, part)
    os.replace(part, target)


def send(source: Path, url: str, options: object) -> None:
    target = Path(File(url).path)
    note(target, "sent")
    if not target.parent.is_dir():
        raise TransferFailed(url, "there is no such shelf")
    shutil.copyfile(source, target)


def note(file: Path, what: str) -> None:
    with suppress(FileNotFoundError), open(f"{file}.{what}", "ab", buffering=0) as notes:
        notes.write(b".")


def noted(file: Path, what: str) -> int:
    """How often that was done."""
    path = Path(f"{file}.{what}")
    return len(path.read_bytes()) if path.exists() else 0


SHELF = Protocol(("shelf",), fetch, send)


class SeparateShelf(SeparateTask):
    protocol = SHELF


class ShelfInTask(InTask):
    protocol = SHELF


def on_shelf(path: Path) -> File:
    return File(f"shelf:{path}")
