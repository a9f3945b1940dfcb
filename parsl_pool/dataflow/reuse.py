"""What the flow asks of whoever remembers results."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from parsl_pool.dataflow.record import Options
from parsl_pool.futures import AppFuture


class Key(Protocol):
    """What tells one call from another."""

    digest: bytes


class Reuse(Protocol):
    """Remembers the results of calls."""

    def key_of(
        self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], options: Options, is_app: bool
    ) -> Key | None:
        """The key of this call; None: there are futures among the arguments, or nothing is kept.

        Raises:
            TypeError: an argument of a kind that is not known.
        """

    def find(self, key: Key) -> Any:
        """The outcome of the same call; None if it is not known."""

    def begin(self, key: Key, future: AppFuture[Any]) -> Any:
        """The outcome of the same call, or the future of one that is under way; None: this one is under way now."""

    def keep(self, key: Key, outcome: object) -> None:
        """Its outcome is there."""

    def ended(self, key: Key) -> None:
        """The call that begin() has said to be under way is so no more, and there is nothing to keep."""

    def close(self) -> None:
        """The pool has ended."""


class NoReuse:
    """Remembers nothing."""

    def key_of(
        self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], options: Options, is_app: bool
    ) -> Key | None:
        """There is none."""
        return None

    def find(self, key: Key) -> Any:
        """Nothing is known."""
        return None

    def begin(self, key: Key, future: AppFuture[Any]) -> Any:
        """Nothing is known."""
        return None

    def keep(self, key: Key, outcome: object) -> None:
        """Forget it."""

    def ended(self, key: Key) -> None:
        """Nothing was kept."""

    def close(self) -> None:
        """Nothing was opened."""
