"""The client's log in the directory of a run: what the pool's logger says, from INFO on unless the program says
otherwise. The interchange and managers have logs of their own beside it.

    log.info(...) --> logger "parsl_pool" --> the runs' files
                                        `---> the program's handlers above: what they would get without a run's log
"""

from __future__ import annotations

import logging
import os
import sys
import threading

from parsl_pool._version import __version__
from parsl_pool.interchange.log_file import LogFile
from parsl_pool.loggers import careful_logger

_LEVEL = logging.INFO - 1  # so that it is told from a level that the program sets
_lock = threading.Lock()  # guards _files, and what follows from them for the logger
_files: dict[str, _Handler] = {}  # path -> what writes there
os.register_at_fork(after_in_child=_lock._at_fork_reinit)  # type: ignore[attr-defined]  # private, made for that


class _Handler(logging.Handler):
    """Puts records of some executors into a file that stays within bounds."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.labels: list[str] = []
        self._file = LogFile(path, _complain)
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
        self.addFilter(lambda record: any(concerns(record, label) for label in self.labels))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._file.line(self.format(record))
        except Exception:  # a message that can't be formatted: told as logging always tells it
            self.handleError(record)

    def close(self) -> None:
        super().close()
        self._file.close()


class _Onward(logging.Handler):
    """In the place of the logger's `propagate`: a program that has asked for nothing is to see nothing more than
    before, only because a file gets more."""

    def __init__(self, logger: logging.Logger) -> None:
        super().__init__()
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        above = self._logger.parent
        if above is not None and above.hasHandlers() and self._is_wanted(record):
            above.callHandlers(record)

    def _is_wanted(self, record: logging.LogRecord) -> bool:
        link: logging.Logger | None = logging.getLogger(record.name)
        while link is not None:
            if link.level and not (link is self._logger and link.level == _LEVEL):
                return record.levelno >= link.level
            link = link.parent
        return True


log = careful_logger("parsl_pool.pool")
_logger = logging.getLogger("parsl_pool")
_onward = _Onward(_logger)


class RunLog:
    """Writes what concerns one executor to `parsl_pool.log` in a directory. Those of one run share the file.

    Unless the program has given the `parsl_pool` logger a level, it gets INFO as long as there is such a file. One that
    can't be written costs a line on stderr, and nothing else.
    """

    def __init__(self, directory: str, label: str) -> None:
        """Begin."""
        self.path, self._label = os.path.join(directory, "parsl_pool.log"), label
        with _lock:
            if self.path not in _files:
                _files[self.path] = _Handler(self.path)
                _logger.addHandler(_files[self.path])
                _lower()
            _files[self.path].labels.append(label)
        version = ".".join(map(str, sys.version_info[:3]))
        log.info("pool %s: begun in process %d, parsl_pool %s, Python %s", label, os.getpid(), __version__, version)

    def close(self) -> None:
        """End."""
        log.info("pool %s: ended", self._label)
        with _lock:
            handler = _files[self.path]
            handler.labels.remove(self._label)
            if handler.labels:
                return
            del _files[self.path]
            _logger.removeHandler(handler)
            handler.close()
            if not _files:
                _restore()


def _lower() -> None:
    if _logger.level == logging.NOTSET and _logger.propagate and _logger.getEffectiveLevel() > _LEVEL:
        _logger.setLevel(_LEVEL)
        _logger.propagate = False
        _logger.addHandler(_onward)


def _restore() -> None:
    if _onward in _logger.handlers:
        _logger.removeHandler(_onward)
        _logger.propagate = True
        if _logger.level == _LEVEL:
            _logger.setLevel(logging.NOTSET)


def _complain(text: str) -> None:
    print(f"parsl_pool {text}", file=sys.stderr)


def concerns(record: logging.LogRecord, label: str) -> bool:
    """True unless the record names another pool: those that name one say "pool %s" first."""
    if not str(record.msg).startswith("pool %s"):
        return True
    return isinstance(record.args, tuple) and record.args[:1] == (label,)
