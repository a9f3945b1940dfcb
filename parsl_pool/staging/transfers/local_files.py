"""The local side of a transfer: a file that comes, whole or not at all, and one that goes and must not change."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from parsl_pool.errors import described
from parsl_pool.staging.transfers import lasting
from parsl_pool.staging.transfers.errand import Errand

PIECE = 1 << 18

_WORTH_IT = 1 << 20  # bytes: a smaller file is fetched anew as fast as it is found out what there is of it


class Landing:
    """A file that comes: under a temporary name beside its target, until it is whole.

    What has come stays between two tries, so that the second one can go on there.

    Attributes:
        size: how many bytes of it have come.
        version: which version of the file these are of, as the server tells them apart; "": nobody can say.
        known: the version of the file that is at the target already; "": there is none, or nobody can say.
    """

    def __init__(self, target: Path, errand: Errand, *, is_compared: bool = False) -> None:
        """is_compared: whoever brings it compares what has come with the original, of whatever version it is."""
        self._target, self._errand, self._is_compared = target, errand, is_compared
        self._lasts = os.path.exists(os.path.join(os.path.dirname(target), lasting.MARK))
        self.part = target.parent / (lasting.PART if self._lasts else f".{secrets.token_hex(8)}.part")
        self.known = lasting.version_of(target) if self._lasts else ""
        self.size, self.version = 0, ""
        self._is_recorded = self._is_settled = self._is_unchanged = self._is_of_no_use = False

    def __enter__(self) -> Landing:
        if self._target.is_dir():
            raise self._errand.failed(f"{self._target} is a directory")
        with self._here():
            opened = self._continued() if self._lasts else None
            self._file = opened or open(self.part, "x+b", buffering=0)
        return self

    def _continued(self) -> Any:
        """The part that somebody has left, if it is of use; None if it is still being written."""
        file = open(os.open(self.part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666), "r+b", buffering=0)
        if not lasting.is_mine(file.fileno()):  # by a program that has outlived who had begun it
            file.close()
            self._lasts, self.part = False, self.part.with_name(f".{secrets.token_hex(8)}.part")
            return None
        length = os.fstat(file.fileno()).st_size
        if not length:
            return file
        self.version = "" if self._is_compared else lasting.part_s_version(self.part)
        self._is_recorded = self.version != ""
        if self.version or self._is_compared:
            # A byte less: then there is something left to ask for, and no server says that there is not.
            self.size = length - 1
        file.truncate(self.size)
        file.seek(self.size)
        return file

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._is_settled:
            is_left = self._lasts and (self._is_recorded or self._is_compared) and not self._is_of_no_use
            if not is_left or not os.fstat(self._file.fileno()).st_size:
                self._forget_part()
        self._file.close()

    def _forget_part(self) -> None:
        with suppress(OSError):  # the directory may be gone
            if self._is_recorded:
                lasting.forget_part_s_version(self.part)
            self.part.unlink()

    @contextmanager
    def _here(self) -> Iterator[None]:
        """What goes wrong in the block is a fault of this side, and does not pass."""
        try:
            yield
        except OSError as problem:
            self._is_of_no_use = True  # the disk may be full of it
            why = problem.strerror or str(problem)  # without the name of the part, which nobody knows
            raise self._errand.failed(f"{self._target.parent} can't be written to: {why}") from problem

    @property
    def descriptor(self) -> int:
        """For a program that writes the part: while it has this, nobody else will."""
        return self._file.fileno()

    def began(self, version: str, length: int | None) -> None:
        """What comes now, from the start, is of this version, and has so many bytes."""
        self.version = version
        if self._lasts and version and (length is None or length >= _WORTH_IT):
            with self._here():
                lasting.record_part(self.part, version)
            self._is_recorded = True

    def write(self, piece: bytes | memoryview) -> None:
        view = memoryview(piece)
        with self._here():
            while view:  # near the end of a disk only a part of it is written, and the next call says why
                written = self._file.write(view)
                self.size += written
                view = view[written:]

    def restart(self) -> None:
        """Forget what has come: it was of another version of the file, or nobody can say."""
        with self._here():
            self._file.seek(0)
            self._file.truncate(0)
            if self._is_recorded:
                lasting.forget_part_s_version(self.part)
        self.size, self.version, self._is_recorded = 0, "", False

    def digest_so_far(self, name: str) -> Any:
        """A hash of what has come, to be fed with the rest."""
        digest = hashlib.new(name, usedforsecurity=False)
        with self._here():
            self._file.seek(0)
            while piece := self._file.read(PIECE):
                digest.update(piece)
        return digest

    def unchanged(self) -> None:
        """The server says that the file at the target is what it has."""
        self._is_unchanged = True

    def settle(self, *, is_sure: bool = True) -> None:
        """Give it its name: it is whole.

        Args:
            is_sure: whether another version of the file is certain to be told from this one.
        """
        if self._is_unchanged:
            return
        with self._here():
            self._file.close()  # some file systems say only now that they have no room
            os.replace(self.part, self._target)
            self._is_settled = True
            if self._is_recorded:
                lasting.forget_part_s_version(self.part)
            if self._lasts and self.version and is_sure:
                lasting.record(self._target, self.version)


class Source:
    """A file that goes. The same one in each try: it must not change meanwhile."""

    def __init__(self, path: Path, errand: Errand) -> None:
        self._path, self._errand = path, errand

    def __enter__(self) -> Source:
        try:
            self._file = open(self._path, "rb", buffering=0)
        except OSError as problem:
            raise self._errand.failed(f"it can't be read: {described(problem)}") from problem
        self._first = self._state()
        self.size = self._first[0]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()

    def _state(self) -> tuple[int, int]:
        state = os.fstat(self._file.fileno())
        return state.st_size, state.st_mtime_ns

    def pieces(self) -> Iterator[bytes]:
        """The file, from its start. Raises TransferFailed if it is changed while it is read."""
        left = self.size
        try:
            self._file.seek(0)
            while left:
                piece = self._file.read(min(left, PIECE))
                if not piece:
                    raise self._changed()
                left -= len(piece)
                yield piece
        except OSError as problem:
            raise self._errand.failed(f"it can't be read: {described(problem)}") from problem
        self.check()

    def check(self) -> None:
        """Raises TransferFailed if it is not what it was."""
        if self._state() != self._first:
            raise self._changed()

    def _changed(self) -> Exception:
        return self._errand.failed("it was changed while it was read")

    def digest(self, name: str) -> Any:
        """A hash of all of it."""
        digest = hashlib.new(name, usedforsecurity=False)
        for piece in self.pieces():
            digest.update(piece)
        return digest
