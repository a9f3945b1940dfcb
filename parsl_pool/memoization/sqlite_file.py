"""A checkpoint file: an SQLite database that is marked as ours, and how it is opened.

Nothing but SQLite itself opens the file: a process that closes any descriptor of it would lose the locks that SQLite
holds on it (fcntl(2): locks are the process's, not the descriptor's).
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from urllib.parse import quote

from parsl_pool import portable
from parsl_pool.errors import BadCheckpoint
from parsl_pool.loggers import careful_logger

log = careful_logger("parsl_pool.checkpoints")

APPLICATION = int.from_bytes(b"PPck", "big")
"""SQLite's `application_id` of a checkpoint; file(1) and we know it by this."""

VERSION = 1
"""SQLite's `user_version`: the form of the table."""

BUSY_S = 30
"""How long a process waits for another one that is writing."""

NETWORK = frozenset(
    "9p afs beegfs ceph cifs fuse.sshfs fuse.glusterfs glusterfs gpfs lustre ncpfs nfs nfs4 orangefs panfs pvfs2 smb3"
    " smbfs virtiofs wekafs".split()
)
"""File systems on which SQLite's write-ahead log has no memory that all its users share."""


def open_to_write(path: str) -> sqlite3.Connection:
    """The database, made if it is not there yet, with others' writing into it at the same time.

    Raises:
        BadCheckpoint: it is there, and is something else.
        OSError, sqlite3.Error: it cannot be made or opened.
    """
    os.makedirs(os.path.dirname(os.path.abspath(path)), mode=0o700, exist_ok=True)
    with contextlib.suppress(FileExistsError):  # results are the user's own: nobody else may read them
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    connection = sqlite3.connect(path, timeout=BUSY_S, check_same_thread=False)
    with _closed_by_errors(connection):
        with _told_as_bad(path):
            is_new = not _has_tables(connection)
            if not is_new:
                _check_mark(connection, path)
            _choose_journal(connection, path)
            if is_new:
                connection.execute("BEGIN IMMEDIATE")
                connection.execute(f"PRAGMA application_id = {APPLICATION}")
                connection.execute(f"PRAGMA user_version = {VERSION}")
                connection.commit()
        # A commit is in the operating system's hands then, so that no killed process can lose it. Only a power cut
        # can, and it loses the last commits, never the file.
        connection.execute("PRAGMA synchronous = NORMAL")
    return connection


def open_to_read(path: str) -> sqlite3.Connection:
    """The database as it is, also where nobody may write.

    Raises:
        BadCheckpoint: it is missing, damaged, or something else.
    """
    if not os.path.exists(path):
        raise BadCheckpoint(path, "there is no such file")
    with _told_as_bad(path):
        connection = _opened_somehow(path)
        with _closed_by_errors(connection):
            if _has_tables(connection):
                _check_mark(connection, path)
            connection.execute("PRAGMA query_only = 1")
        return connection


def _opened_somehow(path: str) -> sqlite3.Connection:
    # The first way also takes in what a killed writer left in the log, and takes the log away. A log needs a file
    # beside the database: where none can be made, nobody writes, and the last way does.
    for how in ("mode=rw", "mode=ro"):
        with contextlib.suppress(sqlite3.OperationalError):
            return _opened(path, how)
    return _opened(path, "mode=ro&immutable=1")


def _opened(path: str, how: str) -> sqlite3.Connection:
    where = f"file:{quote(os.path.abspath(path))}?{how}"
    connection = sqlite3.connect(where, uri=True, timeout=BUSY_S, check_same_thread=False)
    with _closed_by_errors(connection):
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()  # now it is really opened
    return connection


@contextlib.contextmanager
def _closed_by_errors(connection: sqlite3.Connection) -> Iterator[None]:
    try:
        yield
    except BaseException:  # passed on; nobody else has the connection
        connection.close()
        raise


@contextlib.contextmanager
def _told_as_bad(path: str) -> Iterator[None]:
    """What SQLite says of a file that is none of its own, as our error."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise BadCheckpoint(path, f"cannot be opened: {error}") from error
    except sqlite3.DatabaseError as error:
        raise BadCheckpoint(path, f"is damaged, or not a checkpoint: {error}") from error


def _has_tables(connection: sqlite3.Connection) -> bool:
    (count,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return bool(count) or _pragma(connection, "application_id") != 0


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    (value,) = connection.execute(f"PRAGMA {name}").fetchone()
    return int(value)


def _check_mark(connection: sqlite3.Connection, path: str) -> None:
    if _pragma(connection, "application_id") != APPLICATION:
        raise BadCheckpoint(path, "is an SQLite database, but not a checkpoint of parsl_pool")
    version = _pragma(connection, "user_version")
    if version != VERSION:
        raise BadCheckpoint(path, f"is of format {version}; this version of parsl_pool reads format {VERSION}")


def _choose_journal(connection: sqlite3.Connection, path: str) -> None:
    system = file_system_of(path)
    wanted = "DELETE" if system in NETWORK else "WAL"
    got = "?"
    with contextlib.suppress(sqlite3.OperationalError):  # another process is changing it just now
        (got,) = connection.execute(f"PRAGMA journal_mode = {wanted}").fetchone()
    if got.upper() != "WAL":
        log.info("checkpoint %s: on %s; journal mode %s instead of WAL", path, system or "its file system", got)


def file_system_of(path: str, mounts: str | None = None) -> str:
    """The type of the file system that a path is on, as the kernel calls it; "" if it does not say."""
    if mounts is None:
        if not portable.has_proc():
            return ""
        try:
            with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as lines:
                mounts = lines.read()
        except OSError:  # it is not for us
            return ""
    path = os.path.realpath(path)
    best, found = -1, ""
    for line in mounts.splitlines():
        fields, _, rest = line.partition(" - ")
        where = fields.split(" ")[4].replace("\\040", " ") if fields.count(" ") >= 4 else ""
        inside = path == where or path.startswith(where.rstrip("/") + "/")
        if where and inside and len(where) >= best:  # the last of equals hides those before it
            best, found = len(where), rest.split(" ")[0]
    return found
