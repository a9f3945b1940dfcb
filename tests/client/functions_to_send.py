"""Functions of an importable module: they go by reference."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from parsl_pool import python_app


def double(x: int) -> int:
    return 2 * x


@python_app
def decorated(x: int) -> int:
    return 2 * x


doubled = python_app(double)


def counting(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, with a count of its calls."""
    calls: list[int] = []

    @wraps(function)
    def inner(*args: Any) -> tuple[Any, int]:
        calls.append(1)
        return function(*args), len(calls)

    return inner


class Adder:
    def __init__(self, more: int) -> None:
        self.more = more

    def __call__(self, x: int) -> int:
        return x + self.more

    def add(self, x: int) -> int:
        return x + self.more

    @classmethod
    def make(cls, more: int) -> "Adder":
        return cls(more)

    @staticmethod
    def three() -> int:
        return 3
