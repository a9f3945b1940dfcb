"""The initializer and its arguments, for the workers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from parsl_pool.interchange import serialize


def dump_initializer(initializer: Callable[..., object], initargs: tuple[Any, ...]) -> tuple[bytes, list[int]]:
    """The bytes for Settings, and the descriptors that multiprocessing objects among the arguments need.

    Raises:
        SerializationError: one of them can't be pickled.
    """
    return serialize.join(serialize.dump_value((initializer, initargs), "the initializer")), []
