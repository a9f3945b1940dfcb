"""`ZipFileStaging`: members of zip files, by URLs such as zip:/data/results.zip/run1/table.csv."""

from __future__ import annotations

import fcntl
import os
import shutil
import warnings
import zipfile
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from parsl_pool.errors import StagingError, TransferFailed
from parsl_pool.files import File
from parsl_pool.staging.base import Manager
from parsl_pool.staging.styles import Protocol, SeparateTask


def fetch(url: str, target: Path, options: object) -> None:
    """Take a member out of its zip file. Raises TransferFailed."""
    archive, member = _parts(url)
    part = target.with_name(f".{target.name}.{os.getpid()}.{os.urandom(4).hex()}.part")
    try:
        with _failing_as(url, f"the member {member!r} can't be taken out of {archive}"):
            with open(archive, "rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH)
                with zipfile.ZipFile(file) as opened, opened.open(member) as source, open(part, "xb") as out:
                    shutil.copyfileobj(source, out, 1 << 20)
            os.replace(part, target)
    finally:
        with suppress(FileNotFoundError):
            part.unlink()


def send(source: Path, url: str, options: object) -> None:
    """Put a file into a zip file, which is made if there is none. Raises TransferFailed."""
    archive, member = _parts(url)
    with _failing_as(url, f"{source} can't be put into {archive}"), open(source, "rb") as new, _locked(archive) as file:
        with _as_it_was_if_it_fails(file), zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED) as opened:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a member that is there already: the new one counts
                with opened.open(zipfile.ZipInfo.from_file(source, member), "w", force_zip64=True) as out:
                    shutil.copyfileobj(new, out, 1 << 20)


class ZipFileStaging(SeparateTask):
    """Takes inputs out of zip files, and puts outputs into them; one task at a time changes a zip file.

    The first part of the path that ends in `.zip` is the zip file, which the nodes must see; the rest names the member.
    """

    protocol = Protocol(("zip",), fetch, send)

    def stage_in(
        self, dm: Manager, executor: str, file: File, parent_fut: Future[Any] | None
    ) -> Future[File] | None:
        """See the base class. Raises StagingError for a member that can't be."""
        _checked(file)
        return super().stage_in(dm, executor, file, parent_fut)

    def stage_out(self, dm: Manager, executor: str, file: File, app_fu: Future[Any]) -> Future[Any] | None:
        """See the base class. Raises StagingError for a member that can't be."""
        _checked(file)
        return super().stage_out(dm, executor, file, app_fu)


def _checked(file: File) -> None:
    if file.netloc:
        raise StagingError(f"{file.url!r} names a host: a zip file is named by its path, zip:/path/a.zip/member")
    try:
        _, member = _parts(file.url)
    except ValueError as problem:
        raise StagingError(str(problem)) from None
    if any(part in ("", ".", "..") for part in member.split("/")):
        raise StagingError(f"{file.url!r} names the member {member!r}: a member's name has no empty part, '.' or '..'")


def _parts(url: str) -> tuple[str, str]:
    """The zip file, and the member. Raises ValueError."""
    path = File(url).path
    parts = path.split("/")
    for place, part in enumerate(parts):
        if part.lower().endswith(".zip") and any(parts[place + 1 :]):
            return "/".join(parts[: place + 1]), "/".join(parts[place + 1 :])
    raise ValueError(f"{url!r} is no member of a zip file: zip:/path/a.zip/member is one")


@contextmanager
def _failing_as(url: str, what: str) -> Iterator[None]:
    try:
        yield
    except (OSError, zipfile.BadZipFile, RuntimeError, ValueError, EOFError) as problem:
        raise TransferFailed(url, f"{what}: {problem}") from problem
    except KeyError as problem:  # its str is a repr
        raise TransferFailed(url, f"{what}: there is no such member") from problem


@contextmanager
def _locked(archive: str) -> Iterator[IO[bytes]]:
    """The zip file, open for changes, ours alone."""
    while True:
        with open(os.open(archive, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666), "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if _is_still(archive, file):
                try:
                    yield file
                except BaseException:  # passed on
                    if not os.fstat(file.fileno()).st_size:  # there was none
                        os.unlink(archive)
                    raise
                return
        # Whoever made it has failed, and removed it again.


def _is_still(archive: str, file: IO[bytes]) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(archive))
    except FileNotFoundError:
        return False


@contextmanager
def _as_it_was_if_it_fails(file: IO[bytes]) -> Iterator[None]:
    """A zip file's directory is at its end, where a new member is written over it: put it back if that breaks off."""
    size = file.seek(0, os.SEEK_END)
    start = _directory_start(file) if size else 0
    file.seek(start)
    directory = file.read()
    try:
        yield
    except BaseException:  # passed on
        file.seek(start)
        file.write(directory)
        file.truncate()
        file.flush()
        raise


def _directory_start(file: IO[bytes]) -> int:
    with zipfile.ZipFile(file) as opened:
        return opened.start_dir


