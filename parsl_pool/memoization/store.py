"""Results on disk: one small table, in an SQLite file or in any database that SQLAlchemy knows.

    digest of the call  ->  payload (bytes, opaque), and who wrote it when

Imported only by those who checkpoint: SQLAlchemy takes a fifth of a second. A result is looked up when it is asked
for; nothing is read when a store is opened, however large it is.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sqlite3
import threading
import zlib
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any
from weakref import WeakSet

import sqlalchemy as sql
from sqlalchemy.pool import NullPool
from sqlalchemy.sql.dml import Delete

from parsl_pool.errors import BadCheckpoint
from parsl_pool.loggers import careful_logger
from parsl_pool.memoization import sqlite_file
from parsl_pool.memoization.keys import CallKey
from parsl_pool.memoization.rows import Result, is_url, packed, unpacked

log = careful_logger("parsl_pool.checkpoints")

_METADATA = sql.MetaData()
RESULTS = sql.Table(
    "parsl_pool_results",
    _METADATA,
    sql.Column("digest", sql.LargeBinary(32), primary_key=True),
    sql.Column("function", sql.Text, nullable=False),
    sql.Column("parts", sql.LargeBinary, nullable=False),
    sql.Column("written", sql.Float(53), nullable=False),
    sql.Column("run", sql.Text, nullable=False),
    sql.Column("checksum", sql.BigInteger, nullable=False),
    # The last one: what stands before it can be read without it, however large it is.
    sql.Column("payload", sql.LargeBinary, nullable=False),
)
_LOOKUP = "SELECT payload, checksum FROM parsl_pool_results WHERE digest = ?"


class Store:
    """Results that outlive a program. For any thread, and for any number of processes at once.

    Args:
        place: path of a file, or the URL of a database.
        to_write: it is made if it is not there; else it must be.

    Raises:
        BadCheckpoint: the file is missing, damaged, something else, or cannot be opened; no such database answers.
    """

    def __init__(self, place: str | os.PathLike[str], *, to_write: bool = False) -> None:
        self.place = os.fspath(place)
        self.is_file = not is_url(self.place)
        self._to_write = to_write
        self._lock = threading.Lock()  # guards the connection: one statement, or one transaction, at a time
        self._damage_told = self._is_closed = False
        self._engine: sql.Engine | None = None
        self._connection: sql.Connection | None = self._open()
        _STORES.add(self)

    @property
    def name(self) -> str:
        """The place, without a password."""
        return self.place if self.is_file else sql.make_url(self.place).render_as_string(hide_password=True)

    def write(self, results: Sequence[Result]) -> None:
        """Write all or none; a newer result takes the place of an older one of the same call.

        Raises:
            BadCheckpoint: nothing was written.
        """
        newest = {result.key.digest: result for result in results}  # one row for each, also within one statement
        rows = [
            {
                "digest": result.key.digest,
                "function": result.key.function,
                "parts": packed(result.key.parts),
                "written": result.written,
                "run": result.run,
                "checksum": zlib.crc32(result.payload),
                "payload": result.payload,
            }
            for result in newest.values()
        ]
        with self._told("cannot be written"), self._held() as connection, connection.begin():
            if self.is_file:
                connection.execute(RESULTS.insert().prefix_with("OR REPLACE"), rows)
            else:
                old = RESULTS.delete().where(RESULTS.c.digest == sql.bindparam("old"))
                connection.execute(old, [{"old": digest} for digest in newest])
                connection.execute(RESULTS.insert(), rows)

    def get(self, digest: bytes) -> bytes | None:
        """The payload of a call, if it is there and as it was written."""
        try:
            with self._held() as connection:
                row = self._row(connection, digest)
        except (sql.exc.DBAPIError, sqlite3.Error) as error:
            self._tell_damage(str(getattr(error, "orig", error)))
            return None
        if row is None:
            return None
        payload, checksum = bytes(row[0]), row[1]
        if zlib.crc32(payload) != checksum:
            self._tell_damage(f"the result of call {digest.hex()[:12]} is not what was written")
            return None
        return payload

    def _row(self, connection: sql.Connection, digest: bytes) -> Any:
        if not self.is_file:
            where = RESULTS.c.digest == digest
            with connection.begin():  # and end: a database keeps what an open transaction has seen
                return connection.execute(sql.select(RESULTS.c.payload, RESULTS.c.checksum).where(where)).fetchone()
        # Past SQLAlchemy: this is asked once for each call of a program.
        raw: Any = connection.connection.dbapi_connection
        try:
            return raw.execute(_LOOKUP, (digest,)).fetchone()
        except sqlite3.OperationalError as error:
            if _has_no_table(error):
                return None
            raise

    def calls_of(self, function: str) -> Iterator[CallKey]:
        """The calls of one function, the oldest first."""
        where = RESULTS.c.function == function
        columns = (RESULTS.c.digest, RESULTS.c.function, RESULTS.c.parts)
        for digest, name, parts in self.select(sql.select(*columns).where(where).order_by(RESULTS.c.written)):
            yield CallKey(bytes(digest), name, unpacked(bytes(parts)))

    def results(self) -> Iterator[Result]:
        """All of them, in some order; read bit by bit."""
        for row in self.select(sql.select(RESULTS)):
            yield Result.of_row(row, bytes(row.payload))

    def select(self, statement: sql.Select[Any]) -> Iterator[Any]:
        """Rows of a statement, by a connection of their own: whoever reads them may take their time."""
        with self._told("cannot be read"), self._connect() as connection:
            try:
                yield from connection.execution_options(yield_per=1000).execute(statement)
            except sql.exc.OperationalError as error:
                if not _has_no_table(error):
                    raise

    def change(self, statement: Delete) -> int:
        """How many rows a statement has changed."""
        with self._told("cannot be written"), self._held() as connection, connection.begin():
            return connection.execute(statement).rowcount

    def run_on_file(self, statement: str) -> list[Any]:
        """The answer to a statement that only SQLite knows, outside of any transaction; nothing for other databases."""
        if not self.is_file:
            return []
        with self._told("cannot be used"), self._held() as connection:
            raw: Any = connection.connection.dbapi_connection
            return list(raw.execute(statement).fetchall())

    def _tell_damage(self, what: str) -> None:
        if not self._damage_told:
            self._damage_told = True
            log.warning("checkpoint %s: %s; such calls are made again (told once)", self.name, what)

    def close(self) -> None:
        """Let go of the file. May be called twice."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None
            self._is_closed = True

    # ---- the connection

    @contextlib.contextmanager
    def _held(self) -> Iterator[sql.Connection]:
        with self._lock:
            if self._is_closed:
                raise BadCheckpoint(self.name, "is closed")
            if self._connection is None:
                self._connection = self._open()
            yield self._connection

    def _open(self) -> sql.Connection:
        connection = self._connect()
        if self._to_write:
            with self._told("cannot be written"):
                _make_tables(connection)
        return connection

    def _connect(self) -> sql.Connection:
        with self._told("cannot be opened" if self.is_file else "cannot be reached"):
            if self._engine is None:
                self._engine = self._make_engine()
            return self._engine.connect()

    def _make_engine(self) -> sql.Engine:
        if not self.is_file:
            return sql.create_engine(self.place, poolclass=NullPool)
        opened = sqlite_file.open_to_write if self._to_write else sqlite_file.open_to_read
        return sql.create_engine("sqlite://", creator=partial(opened, self.place), poolclass=NullPool)

    @contextlib.contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """What a database or the system says, as our error."""
        try:
            yield
        except sql.exc.SQLAlchemyError as error:
            raise BadCheckpoint(self.name, f"{what}: {getattr(error, 'orig', None) or error}") from error
        except (OSError, sqlite3.Error, ImportError) as error:  # ImportError: the database's driver
            raise BadCheckpoint(self.name, f"{what}: {error}") from error

    def forget_connection(self) -> None:
        """In a forked child: the connection is the parent's, and SQLite must not even close it here."""
        if self._connection is not None:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._connection))
        self._connection = None
        self._lock = threading.Lock()


_STORES: WeakSet[Store] = WeakSet()


def _forget_connections() -> None:
    for store in list(_STORES):
        store.forget_connection()


os.register_at_fork(after_in_child=_forget_connections)


def _has_no_table(error: Exception) -> bool:
    """Its writer was killed before the first result."""
    return "no such table" in str(error)


def _make_tables(connection: sql.Connection) -> None:
    """Unless they are there. Who begins at the same moment may be faster, between the look and the making."""
    try:
        with connection.begin():
            _METADATA.create_all(connection)
    except sql.exc.DBAPIError:
        with connection.begin():  # if that was not why, it fails again, and says so
            _METADATA.create_all(connection)
