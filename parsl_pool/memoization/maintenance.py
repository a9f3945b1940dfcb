"""What is done with checkpoints between runs: counting, merging, pruning, checking."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import sqlalchemy as sql

from parsl_pool.errors import BadCheckpoint
from parsl_pool.memoization.rows import Result
from parsl_pool.memoization.store import RESULTS, Store

_BATCH = 500


class FunctionSummary(NamedTuple):
    """The results of one function."""

    function: str
    results: int
    size_bytes: int
    oldest: float  # time.time() seconds
    newest: float


def summary(store: Store) -> list[FunctionSummary]:
    """The results of each function, without reading them; the largest first."""
    columns = [
        RESULTS.c.function,
        sql.func.count(),
        sql.func.sum(sql.func.length(RESULTS.c.payload)),
        sql.func.min(RESULTS.c.written),
        sql.func.max(RESULTS.c.written),
    ]
    found = [
        FunctionSummary(function, int(count), int(size), oldest, newest)
        for function, count, size, oldest, newest in store.select(
            sql.select(*columns).group_by(RESULTS.c.function)
        )
    ]
    return sorted(found, key=lambda one: (-one.size_bytes, one.function))


def merge(into: Store, sources: Iterable[Store]) -> int:
    """Put the results of others into one; of the same call, the one that was written last. How many went in."""
    merged = 0
    for source in sources:
        results = source.results()
        while batch := list(islice(results, _BATCH)):
            there = _written(into, [result.key.digest for result in batch])
            newer = [result for result in batch if result.written > there.get(result.key.digest, float("-inf"))]
            if newer:
                into.write(newer)
            merged += len(newer)
    return merged


def _written(store: Store, digests: Sequence[bytes]) -> dict[bytes, float]:
    columns = RESULTS.c.digest, RESULTS.c.written
    return {bytes(digest): time for digest, time in store.select(sql.select(*columns).where(_among(digests)))}


def _among(digests: Sequence[bytes]) -> sql.ColumnElement[bool]:
    return RESULTS.c.digest.in_(digests)


class Choice(NamedTuple):
    """Which results are meant: those for which all that is said here holds."""

    functions: Sequence[str] = ()
    before: float | None = None  # time.time() seconds
    run: str | None = None

    def clause(self) -> sql.ColumnElement[bool]:
        """The choice, for a database."""
        clauses: list[Any] = [sql.true()]
        if self.functions:
            clauses.append(RESULTS.c.function.in_(self.functions))
        if self.before is not None:
            clauses.append(RESULTS.c.written < self.before)
        if self.run is not None:
            clauses.append(RESULTS.c.run == self.run)
        return sql.and_(*clauses)


def count(store: Store, choice: Choice) -> int:
    """How many results a choice means."""
    statement = sql.select(sql.func.count()).select_from(RESULTS).where(choice.clause())
    return sum(number for (number,) in store.select(statement))


def prune(store: Store, choice: Choice) -> int:
    """Remove results, and give their place back. How many there were."""
    gone = store.change(RESULTS.delete().where(choice.clause()))
    store.run_on_file("VACUUM")
    store.run_on_file("PRAGMA wal_checkpoint(TRUNCATE)")
    return gone


def chosen(store: Store, choice: Choice, limit: int) -> Iterator[tuple[Result, int]]:
    """Results without their payloads, the newest first, and what each payload takes."""
    columns = [column for column in RESULTS.c if column.name not in ("payload", "checksum")]
    statement = sql.select(*columns, sql.func.length(RESULTS.c.payload).label("size")).where(choice.clause())
    for row in store.select(statement.order_by(RESULTS.c.written.desc()).limit(limit)):
        yield Result.of_row(row, b""), int(row.size)


def problems(store: Store) -> Iterator[str]:
    """What is wrong with a checkpoint; every byte of it is read."""
    try:
        for (text,) in store.run_on_file("PRAGMA integrity_check"):
            if text != "ok":
                yield str(text).strip()
        columns = RESULTS.c.digest, RESULTS.c.function, RESULTS.c.checksum, RESULTS.c.payload
        for digest, function, checksum, payload in store.select(sql.select(*columns)):
            if zlib.crc32(payload) != checksum:
                yield f"the result of call {bytes(digest).hex()[:12]} of {function} is not what was written"
    except BadCheckpoint as error:
        yield error.reason
