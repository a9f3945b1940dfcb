"""A channel to a machine that asks questions at the login: a second factor, a code, a one-time password."""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

from parsl_pool import checks
from parsl_pool.errors import AuthException
from parsl_pool.providers.channels.ssh import SSHChannel
from parsl_pool.providers.channels.ssh_login import Asker, Questions

_ASK = checks.optional(checks.function)


class SSHInteractiveLoginChannel(SSHChannel):
    """As `SSHChannel`, and what the server asks is asked of you.

    You are asked once: by the first use of the channel, or by `login()`. When the connection was cut, a new one is made
    if that needs no answers; else it is an `AuthException` until somebody calls `login()` again.

    Args:
        hostname, username, password, script_dir, envs: see `SSHChannel`.
        ask: gets a title, instructions, and pairs (question, whether what is typed may be seen); gives the answers.
            None: it asks on the terminal.
        patience: seconds that you may think.
        options: the others of `SSHChannel`, by name.
    """

    def __init__(
        self,
        hostname: str,
        username: str | None = None,
        password: str | None = None,
        script_dir: str | os.PathLike[str] | None = None,
        envs: Mapping[str, str] | None = None,
        *,
        ask: Callable[[str, str, Questions], list[str]] | None = None,
        patience: float = 300,
        **options: Any,
    ) -> None:
        super().__init__(hostname, username, password, script_dir, envs, **options)
        self._ask = _ASK("ask", ask)
        self._patience_s = checks.seconds("patience", patience)
        self._may_ask = True

    def login(self) -> None:
        """Makes the connection now, and asks what the server asks. Raises ChannelError."""
        self._may_ask = True
        self.close()
        self._connected()

    def _asker(self) -> Asker | None:
        return self._person if self._may_ask else None

    def _person(self, title: str, instructions: str, questions: Questions) -> list[str]:
        self._may_ask = False
        ask = self._ask if self._ask is not None else _at_terminal
        try:
            answers = list(ask(title, instructions, questions))
        except EOFError as problem:
            raise AuthException("nobody is there to answer what it asks", problem, self.label) from problem
        if len(answers) != len(questions) or not all(isinstance(answer, str) for answer in answers):
            raise AuthException(f"it asks {len(questions)} questions, and ask() gave something else", "", self.label)
        return answers

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__({**state, "_may_ask": True})


def _at_terminal(title: str, instructions: str, questions: Questions) -> list[str]:
    for text in filter(None, (title.strip(), instructions.strip())):
        print(text, file=sys.stderr)
    return [input(question) if is_shown else getpass.getpass(question) for question, is_shown in questions]
