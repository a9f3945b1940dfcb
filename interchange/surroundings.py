"""The environment of a task that has something for itself: set while it runs, and as before when it is over."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from parsl_pool.errors import BadMessage
from parsl_pool.interchange import fields, wire


@contextmanager
def entered(body: bytes) -> Iterator[bytes]:
    """Set what a SETTLED frame says; gives the TASKS body in it. Raises BadMessage."""
    variables, tasks = opened(body)
    before = {name: os.environ.get(name) for name, _ in variables}
    os.environ.update(variables)
    try:
        yield tasks
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def opened(body: bytes) -> tuple[list[tuple[str, str]], bytes]:
    """Names and values of the variables, and the rest. Raises BadMessage."""
    if len(body) < 4:
        raise BadMessage("Settled: no size")
    end = 4 + wire.LENGTH.unpack_from(body)[0]
    (variables,) = fields.read("S", body[4:end])
    pairs = [(name, value) for name, _, value in (variable.partition("=") for variable in variables)]
    return pairs, body[end:]
