"""What a pool remembers: the flow's questions, answered by the table and the checkpoints."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Container, Iterator, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from parsl_pool.dataflow.record import Options
from parsl_pool.dataflow.traverse import futures_in
from parsl_pool.errors import DataFlowException, WrongType
from parsl_pool.futures import AppFuture, FutureInArguments, Value
from parsl_pool.interchange import serialize
from parsl_pool.loggers import careful_logger
from parsl_pool.memoization.functions import name_of
from parsl_pool.memoization.keys import SPECIAL, CallKey, explain_miss, id_for_memo, key_of_call
from parsl_pool.memoization.table import Hit, MemoTable, Running

if TYPE_CHECKING:
    from parsl_pool.memoization.checkpoints import Checkpointer, Loaded

log = careful_logger("parsl_pool.memoization")

_PATIENCE_S = 60.0


@id_for_memo.register(Future)
def _(obj: object, output_ref: bool = False) -> bytes:
    # The flow waits for it then, and asks again with its value.
    raise FutureInArguments("a future has no key before it has a value")


_TOLD_SINGLY = 100


class _Told:
    """Loaded checkpoints, which tell the log when they are of use."""

    def __init__(self, loaded: Loaded, pool: str) -> None:
        self._loaded, self._pool, self._count = loaded, pool, 0

    def get(self, digest: bytes) -> bytes | None:
        data = self._loaded.get(digest)
        if data is not None:
            self._count += 1
            if self._count <= _TOLD_SINGLY:
                log.info("pool %s: a result was found in a checkpoint, of call %s", self._pool, digest.hex()[:16])
            elif self._count & (self._count - 1) == 0:  # a run that is resumed may find a million
                log.info("pool %s: %d results were found in a checkpoint so far", self._pool, self._count)
        return data

    def calls_of(self, function: str) -> Iterator[CallKey]:
        return self._loaded.calls_of(function)


class Memoizer:
    """The memory of one pool. It answers a `Flow`.

    Args:
        pool: its name, for the log.
        run: helper threads run what it is given: results of the user's classes are pickled there.
        files: checkpoints to load, each a run's directory, a checkpoint directory, or a file.
        mode, path, period_s: when and where this run's results are written; see `Checkpointer`.

    Raises:
        BadCheckpoint: not one of the checkpoints could be loaded, or this run's can't be written.
    """

    def __init__(
        self,
        pool: str,
        run: Callable[[Callable[[], object]], None],
        files: Sequence[str | os.PathLike[str]] = (),
        mode: str | None = None,
        path: Callable[[], str] = str,
        period_s: float | None = None,
    ) -> None:
        self._run = run
        self._pickled = threading.Condition()  # guards _pickling
        self._pickling = 0
        self._loaded: list[Loaded] = []
        self._writer: Checkpointer | None = None
        if files:
            self._loaded.append(_loaded(files))
        if mode is not None:
            from parsl_pool.memoization.checkpoints import Checkpointer  # few pools write one

            self._writer = Checkpointer(mode, os.path.join(path(), "checkpoint"), period_s=period_s, run=pool)
        self._pool = pool
        self._table = MemoTable([_Told(loaded, pool) for loaded in self._loaded])

    # -- as `Reuse`

    def key_of(
        self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], options: Options, is_app: bool
    ) -> CallKey | None:
        """See `Reuse`. Only apps have special keywords; all those of submit() are the function's."""
        try:
            return key_of_call(fn, args, kwargs, options.ignore_for_cache, SPECIAL if is_app else ())
        except FutureInArguments:
            if futures_in((args, kwargs)):
                return None
            raise WrongType(
                f"a future among what {name_of(fn)} closes over, or deep inside an argument, gives its call no "
                "key: pass the future as an argument, or call it without cache=True"
            ) from None

    def find(self, key: Any) -> Any:
        """See `Reuse`."""
        return self._table.find(key)

    def begin(self, key: Any, future: AppFuture[Any]) -> Any:
        """See `Reuse`."""
        found = self._table.begin(key, future)
        return found.data if type(found) is Hit else found.token if type(found) is Running else None

    def keep(self, key: Any, outcome: Any) -> None:
        """See `Reuse`. The table has it at once; a checkpoint gets it as soon as it is pickled."""
        self._table.done(key, outcome)
        writer = self._writer
        if writer is None:
            return
        if type(outcome) is bytes:
            writer.add(key, outcome)
        else:
            with self._pickled:
                self._pickling += 1
            self._run(lambda: self._pickle_and_add(key, outcome))

    def ended(self, key: Any) -> None:
        """See `Reuse`."""
        self._table.failed(key)

    def _pickle_and_add(self, key: CallKey, outcome: Any) -> None:
        assert self._writer is not None
        try:
            view = getattr(outcome, "view", None)
            if view is not None:
                payload = bytes(view)
            else:
                value = outcome.value if type(outcome) is Value else outcome.open()
                payload = serialize.join(serialize.dump_value(value, f"the result of {key.function}"))
        except BaseException as problem:  # the user's class
            log.warning("a result of %s is not in the checkpoint: %s", key.function, problem)
        else:
            self._writer.add(key, payload)
        finally:
            with self._pickled:
                self._pickling -= 1
                self._pickled.notify_all()

    # -- for users

    def checkpoint(self, only: Container[bytes] | None = None) -> str:
        """Write what there is to be written; the checkpoint's directory.

        Args:
            only: digests of the calls that this is about; None: of all.

        Raises:
            DataFlowException: this pool writes none.
        """
        if self._writer is None:
            raise DataFlowException("this pool writes no checkpoint: give its Config a checkpoint_mode=")
        with self._pickled:
            self._pickled.wait_for(lambda: not self._pickling)
        return self._writer.checkpoint(only)

    def load(self, files: Sequence[str | os.PathLike[str]]) -> int:
        """Use these checkpoints, too. How many could be loaded."""
        loaded = _loaded(files)
        self._loaded.append(loaded)
        self._table.add_known(_Told(loaded, self._pool))
        return len(loaded.stores)

    def why(
        self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], ignore: Sequence[str], is_app: bool
    ) -> str:
        """The nearest call before this one, and in what it differs."""
        key = key_of_call(fn, args, kwargs, ignore, SPECIAL if is_app else ())
        return explain_miss(key, self._table.calls_of(key.function))

    def close(self) -> None:
        """Write what is to be written at the end, and let go of the files."""
        with self._pickled:  # in a bounded time: it is the user's code
            self._pickled.wait_for(lambda: not self._pickling, _PATIENCE_S)
        if self._writer is not None:
            self._writer.close()
        for loaded in self._loaded:
            loaded.close()


def _loaded(files: Sequence[str | os.PathLike[str]]) -> Loaded:
    from parsl_pool.memoization.checkpoints import load_checkpoints  # few pools load one

    loaded = load_checkpoints(files)
    for problem in loaded.problems:
        log.warning("%s", problem)
    if loaded.problems and not loaded.stores:
        raise loaded.problems[0]
    return loaded
