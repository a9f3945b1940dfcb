"""The project's own loggers: what a handler or filter of the user's raises never reaches who logs.

Standard handlers deal with their own errors. Those that users write may not, and some of what is logged is logged in
the threads that bring everybody's results.
"""

from __future__ import annotations

import logging
from typing import Any


class _Careful:
    """Put before a logger's class: it tells of errors as standard handlers do, on stderr."""

    def handle(self, record: logging.LogRecord) -> None:
        try:
            super().handle(record)  # type: ignore[misc]  # that of a Logger
        except (Exception, SystemExit):  # of a handler or filter; told next
            logging.Handler().handleError(record)


def careful_logger(name: str) -> logging.Logger:
    """The logger of that name, made such that whoever logs gets no errors of handlers."""
    logger = logging.getLogger(name)
    kind: Any = type(logger)  # the program may have set one of its own
    if not issubclass(kind, _Careful):
        logger.__class__ = type(kind.__name__, (_Careful, kind), {})
    return logger


def tell_of(logger: logging.Logger, text: str, *arguments: object) -> None:
    """Log the error that is being handled, by somebody else's logger."""
    try:
        logger.exception(text, *arguments)
    except (Exception, SystemExit):  # of a handler or filter, as above
        record = logger.makeRecord(logger.name, logging.ERROR, "", 0, text, arguments, None)
        logging.Handler().handleError(record)
