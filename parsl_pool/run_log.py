"""The client's log in the directory of a run: what the pool's logger says, from WARNING on unless the program asks
for more. The interchange and managers have logs of their own beside it."""

from __future__ import annotations

import logging
import os
import sys

from parsl_pool.interchange.log_file import LogFile


class _Handler(logging.Handler):
    """Puts records into a file that stays within bounds."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._file = LogFile(path, _complain)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._file.line(self.format(record))
        except Exception:  # a message that can't be formatted: told as logging always tells it
            self.handleError(record)

    def close(self) -> None:
        super().close()
        self._file.close()


class RunLog:
    """Writes what concerns one executor to `parsl_pool.log` in a directory.

    The `parsl_pool` logger's level is left alone: `logging.getLogger("parsl_pool").setLevel("INFO")` adds the lives
    of blocks and managers. A file that can't be written costs a line on stderr, and nothing else.
    """

    def __init__(self, directory: str, label: str) -> None:
        """Begin."""
        self.path = os.path.join(directory, "parsl_pool.log")
        self._handler = _Handler(self.path)
        self._handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
        self._handler.addFilter(lambda record: concerns(record, label))
        logging.getLogger("parsl_pool").addHandler(self._handler)

    def close(self) -> None:
        """End."""
        logging.getLogger("parsl_pool").removeHandler(self._handler)
        self._handler.close()


def _complain(text: str) -> None:
    print(f"parsl_pool {text}", file=sys.stderr)


def concerns(record: logging.LogRecord, label: str) -> bool:
    """True unless the record names another pool: those that name one say "pool %s" first."""
    if not str(record.msg).startswith("pool %s"):
        return True
    return isinstance(record.args, tuple) and record.args[:1] == (label,)
