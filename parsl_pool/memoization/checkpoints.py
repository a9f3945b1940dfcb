"""Checkpoints of a run: writing them while it runs, finding and loading those of earlier ones.

    task done  ->  Checkpointer.add  ->  pending  ->  its thread, or whoever calls checkpoint()  ->  Store
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Container, Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from parsl_pool.errors import BadCheckpoint, ConfigurationError
from parsl_pool.loggers import careful_logger
from parsl_pool.memoization.keys import CallKey
from parsl_pool.memoization.rows import FILE_NAME, FOLDER, Result, place_of, place_to_write

if TYPE_CHECKING:
    from parsl_pool.memoization.store import Store

log = careful_logger("parsl_pool.checkpoints")

MODES = (None, "task_exit", "periodic", "dfk_exit", "manual")

BATCH = 1000
"""Results that are written in one transaction, at most."""

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
"""How long a failed write waits before it is tried again: at first, and at most."""

LIMIT_BYTES = 256 * 2**20
"""What may wait for a disk that takes nothing. Above it the oldest results are given up: their calls will run again."""


class Checkpointer:
    """Writes results of a run to its checkpoint. For any thread.

    Args:
        mode: when results are written: "task_exit" (at once), "periodic", "dfk_exit" (by `close`), "manual" (by
            `checkpoint`), or None: never.
        path: the run's checkpoint directory, a file, or the URL of a database.
        period_s: seconds between writes, for "periodic".
        run: who writes, for those who look at the checkpoint later.

    A write that fails is logged once and tried again; nothing else ends by it.

    Raises:
        ConfigurationError: an unknown mode, or a period that is missing or not above 0.
        BadCheckpoint: what is at `path` is no checkpoint, or nothing can be written there.
    """

    def __init__(
        self, mode: str | None, path: str | os.PathLike[str], *, period_s: float | None = None, run: str = ""
    ) -> None:
        if mode not in MODES:
            raise ConfigurationError(f"checkpoint_mode is one of {', '.join(map(repr, MODES))}, not {mode!r}")
        if mode == "periodic" and not (period_s is not None and period_s > 0):
            raise ConfigurationError(f"checkpoint_mode 'periodic' needs a period above 0 seconds, not {period_s!r}")
        self.mode, self.run = mode, run
        self._period_s = period_s if mode == "periodic" else None
        self._state = threading.Condition()  # guards all below
        self._pid = os.getpid()
        self._pending: dict[bytes, Result] = {}
        self._pending_bytes = 0
        self._is_closing = False
        self._failing = False
        self._writing = threading.Lock()  # one write at a time; held while the disk works
        self._store: Store | None = None
        self._thread: threading.Thread | None = None
        self.path = os.fspath(path)
        if mode is None:
            return
        self._store = opened_to_write(self.path)
        if mode in ("task_exit", "periodic"):
            self._thread = threading.Thread(target=self._run, name="parsl-pool-checkpoint", daemon=True)
            self._thread.start()

    def add(self, key: CallKey, payload: bytes) -> None:
        """A call has this result. Returns at once."""
        if self._store is None:
            return
        result = Result(key, payload, time.time(), self.run)
        with self._state:
            old = self._pending.pop(key.digest, None)
            self._pending[key.digest] = result
            self._pending_bytes += len(payload) - (len(old.payload) if old is not None else 0)
            if self._failing and self._pending_bytes > LIMIT_BYTES:
                self._give_up_some()
            if self.mode == "task_exit" and len(self._pending) == 1:
                self._state.notify_all()

    def checkpoint(self, only: Container[bytes] | None = None) -> str:
        """Write what there is; gives the checkpoint's directory. Returns when it is written, or could not be.

        Args:
            only: digests of the calls that this is about; None: of all.
        """
        if self._store is None:
            log.warning("nothing was written to a checkpoint: checkpoint_mode is None")
            return self.path
        while self._write_some(only):
            pass
        return self.path

    flush = checkpoint

    def close(self) -> None:
        """Write what there is, unless only the user says when, and end. May be called twice."""
        if os.getpid() != self._pid:
            return  # a fork: the writing thread stayed with the parent, and may have held the lock at that moment
        with self._state:
            self._is_closing = True
            self._state.notify_all()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._store is not None:
            if self.mode != "manual":
                self.checkpoint()
            with self._state:
                if self._pending and self.mode != "manual":
                    log.error("checkpoint %s: %d results could not be written", self._store.name, len(self._pending))
                self._pending.clear()
            self._store.close()

    # ---- for the table: what this run has written

    def get(self, digest: bytes) -> bytes | None:
        """The result of a call, if it was added."""
        with self._state:
            pending = self._pending.get(digest)
        if pending is not None:
            return pending.payload
        return self._store.get(digest) if self._store is not None else None

    def calls_of(self, function: str) -> Iterator[CallKey]:
        """The calls of a function that were added."""
        if self._store is not None:
            yield from self._store.calls_of(function)
        with self._state:
            pending = [result.key for result in self._pending.values() if result.key.function == function]
        yield from pending

    # ---- writing

    def _run(self) -> None:
        """The thread's life: wait for results, or for the period's end; write; again."""
        pause_s = FIRST_PAUSE_S
        while self._wait():
            if self._write_some() is not None:
                pause_s = FIRST_PAUSE_S
                continue
            with self._state:
                self._state.wait_for(lambda: self._is_closing, pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def _wait(self) -> bool:
        """True: it is time to write. False: it is time to end."""
        with self._state:
            if self._period_s is not None:
                self._state.wait_for(lambda: self._is_closing, self._period_s)
            else:
                self._state.wait_for(lambda: self._is_closing or bool(self._pending))
            return not self._is_closing

    def _write_some(self, only: Container[bytes] | None = None) -> int | None:
        """Write some of what is pending: how many results, or None if that failed."""
        assert self._store is not None
        with self._writing:
            with self._state:
                meant = (each for digest, each in self._pending.items() if only is None or digest in only)
                batch = list(islice(meant, BATCH))
            if not batch:
                return 0
            try:
                self._store.write(batch)
            except BadCheckpoint as error:
                self._tell_failure(error, len(batch))
                return None
            with self._state:
                self._failing = False
                for result in batch:
                    if self._pending.get(result.key.digest) is result:
                        del self._pending[result.key.digest]
                        self._pending_bytes -= len(result.payload)
        return len(batch)

    def _tell_failure(self, error: BadCheckpoint, count: int) -> None:
        if not self._failing:
            log.error("%d results could not be written, and are kept and tried again: %s", count, error)
        self._failing = True

    def _give_up_some(self) -> None:
        given_up = 0
        while self._pending_bytes > LIMIT_BYTES and len(self._pending) > 1:
            oldest = next(iter(self._pending))
            self._pending_bytes -= len(self._pending.pop(oldest).payload)
            given_up += 1
        log.error("checkpoint %s: %d results were given up: too many wait to be written", self.path, given_up)


def opened_to_write(path: str | os.PathLike[str]) -> Store:
    """The store in a directory, in a file, or behind a URL; made if it is not there.

    Raises:
        BadCheckpoint: it cannot be made or opened, or is something else.
    """
    # Here and not above: it loads SQLAlchemy, which only those pay for who checkpoint.
    from parsl_pool.memoization.store import Store

    return Store(place_to_write(path), to_write=True)


# ---- checkpoints of earlier runs


class Loaded(NamedTuple):
    """Checkpoints that were loaded: results are read when they are asked for."""

    stores: tuple[Store, ...]
    problems: tuple[BadCheckpoint, ...]
    """Those that could not be."""

    def get(self, digest: bytes) -> bytes | None:
        """The result of a call, from the last checkpoint that has one."""
        for store in reversed(self.stores):
            data = store.get(digest)
            if data is not None:
                return data
        return None

    def calls_of(self, function: str) -> Iterator[CallKey]:
        """The calls of a function."""
        for store in self.stores:
            yield from store.calls_of(function)

    def close(self) -> None:
        """Let go of the files."""
        for store in self.stores:
            store.close()


def load_checkpoints(paths: Iterable[str | os.PathLike[str]]) -> Loaded:
    """Checkpoints of earlier runs: directories of runs, their checkpoint directories, files, or databases.

    One that is damaged or missing is among the `problems`, and keeps nobody from the rest.
    """
    places = list(paths)
    if not places:
        return Loaded((), ())
    # Here and not above: it loads SQLAlchemy, which only those pay for who checkpoint.
    from parsl_pool.memoization.store import Store

    stores: list[Store] = []
    problems: list[BadCheckpoint] = []
    for path in places:
        try:
            stores.append(Store(place_of(path)))
        except BadCheckpoint as problem:
            problems.append(problem)
    return Loaded(tuple(stores), tuple(problems))


def get_all_checkpoints(rundir: str | os.PathLike[str] = "runinfo") -> list[str]:
    """The checkpoint directories of all runs below a directory, in the order of the runs."""
    return [folder for run in _runs(rundir) for folder in _checkpoint_of(run)]


def get_last_checkpoint(rundir: str | os.PathLike[str] = "runinfo") -> list[str]:
    """The checkpoint directory of the last run below a directory; empty if that run has none."""
    runs = _runs(rundir)
    return _checkpoint_of(runs[-1]) if runs else []


def _runs(rundir: str | os.PathLike[str]) -> list[str]:
    names: Sequence[str] = ()
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        names = [name for name in os.listdir(rundir) if name.isdecimal()]
    return [os.path.join(os.path.abspath(rundir), name) for name in sorted(names, key=lambda name: (int(name), name))]


def _checkpoint_of(run: str) -> list[str]:
    folder = os.path.join(run, FOLDER)
    return [folder] if os.path.exists(os.path.join(folder, FILE_NAME)) else []
