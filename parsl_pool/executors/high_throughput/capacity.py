"""What the nodes of an executor can hold, as far as that is known before a task is sent."""

from __future__ import annotations

from typing import Any

from parsl_pool.interchange.request import Asked
from parsl_pool.resources import MPI_KEYS, wrong


def check(executor: Any, asked: Asked) -> None:
    """Raise InvalidResourceSpecification for what the executor can't give."""
    for key in MPI_KEYS:
        if key in asked.given:
            raise wrong(executor, f"{key} is for MPI programs", asked.given)
