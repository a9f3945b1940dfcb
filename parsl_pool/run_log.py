"""The log of a run, in its directory: what the pool's logger says, from WARNING on unless the program asks for more."""

from __future__ import annotations

import logging
import os


class RunLog:
    """Writes what concerns one executor to `parsl_pool.log` in a directory.

    The `parsl_pool` logger's level is left alone: `logging.getLogger("parsl_pool").setLevel("INFO")` adds the lives
    of blocks and managers.
    """

    def __init__(self, directory: str, label: str) -> None:
        """Begin. Raises OSError if the file can't be made."""
        self.path = os.path.join(directory, "parsl_pool.log")
        self._handler = logging.FileHandler(self.path)
        self._handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
        self._handler.addFilter(lambda record: concerns(record, label))
        logging.getLogger("parsl_pool").addHandler(self._handler)

    def close(self) -> None:
        """End."""
        logging.getLogger("parsl_pool").removeHandler(self._handler)
        self._handler.close()


def concerns(record: logging.LogRecord, label: str) -> bool:
    """True unless the record names another pool: those that name one say "pool %s" first."""
    if not str(record.msg).startswith("pool %s"):
        return True
    return isinstance(record.args, tuple) and record.args[:1] == (label,)
