"""What is logged, where the user wants it. By itself the project logs nowhere but in its run directories."""

from __future__ import annotations

import logging
import os
from typing import TextIO

_FORMAT = "%(asctime)s.%(msecs)03d %(name)s:%(lineno)d [%(levelname)s] %(message)s"
_TIME = "%Y-%m-%d %H:%M:%S"


def set_stream_logger(
    name: str = "parsl_pool", level: int = logging.DEBUG, format_string: str | None = None, stream: TextIO | None = None
) -> logging.Logger:
    """Have what is logged under this name written to a stream.

    Args:
        stream: where to; None: standard error.

    Returns:
        The logger.
    """
    return _add(name, level, format_string, logging.StreamHandler(stream))


def set_file_logger(
    filename: str | os.PathLike[str],
    name: str = "parsl_pool",
    level: int = logging.DEBUG,
    format_string: str | None = None,
) -> logging.Logger:
    """Have what is logged under this name written to a file, at its end. Its directory is made if need be.

    Returns:
        The logger.

    Raises:
        OSError: the file can't be written.
    """
    path = os.fspath(filename)
    if os.path.dirname(path):
        os.makedirs(os.path.dirname(path), exist_ok=True)
    return _add(name, level, format_string, logging.FileHandler(path))


def _add(name: str, level: int, format_string: str | None, handler: logging.Handler) -> logging.Logger:
    logger = logging.getLogger(name)
    handler.setLevel(level)
    handler.setFormatter(logging.Formatter(format_string or _FORMAT, _TIME))
    logger.addHandler(handler)
    if logger.getEffectiveLevel() > level:
        logger.setLevel(level)
    return logger
