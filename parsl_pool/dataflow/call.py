"""A call on its way into the flow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from parsl_pool.files import File


class Call(NamedTuple):
    """A call as the user has made it.

    Attributes:
        fn, args, kwargs: the call: what records tell, and what decides whether two calls are the same.
        runs_as: (fn, args, kwargs) of what is launched instead; None: the call itself.
        task: its number, if it was needed before.
        stdout, stderr, outputs: for the future's attributes of these names; a File as stdout or stderr is brought out.
        written: the Files that stand for `outputs` among the arguments; empty: these themselves.
        is_app: an app's: some of its keywords are special.
        is_command: a bash app's: what runs is a shell.
        sandbox: path of the directories that its tries have, without what tells one from another; None: they have none.
    """

    fn: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    runs_as: tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]] | None = None
    task: int | None = None
    stdout: str | File | None = None
    stderr: str | File | None = None
    outputs: tuple[File, ...] = ()
    written: tuple[File, ...] = ()
    is_app: bool = False
    is_command: bool = False
    sandbox: str | None = None
