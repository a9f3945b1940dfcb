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
from parsl_pool.staging.transfers.errand import Errand

PIECE = 1 << 18


class Landing:
    """A file that comes: under a temporary name beside its target, until it is whole.

    What has come stays between two tries, so that the second one can go on there.
    """

    def __init__(self, target: Path, errand: Errand) -> None:
        self._target, self._errand = target, errand
        self.part = target.parent / f".{secrets.token_hex(8)}.part"
        self.size = 0
        self._is_settled = False

    def __enter__(self) -> Landing:
        if self._target.is_dir():
            raise self._errand.failed(f"{self._target} is a directory")
        with self._here():
            self._file = open(self.part, "x+b", buffering=0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()
        if not self._is_settled:
            with suppress(OSError):  # the directory may be gone
                self.part.unlink()

    @contextmanager
    def _here(self) -> Iterator[None]:
        """What goes wrong in the block is a fault of this side, and does not pass."""
        try:
            yield
        except OSError as problem:
            why = problem.strerror or str(problem)  # without the name of the part, which nobody knows
            raise self._errand.failed(f"{self._target.parent} can't be written to: {why}") from problem

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
        self.size = 0

    def digest_so_far(self, name: str) -> Any:
        """A hash of what has come, to be fed with the rest."""
        digest = hashlib.new(name, usedforsecurity=False)
        with self._here():
            self._file.seek(0)
            while piece := self._file.read(PIECE):
                digest.update(piece)
        return digest

    def settle(self) -> None:
        """Give it its name: it is whole."""
        with self._here():
            self._file.close()  # some file systems say only now that they have no room
            os.replace(self.part, self._target)
        self._is_settled = True


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
