"""A channel to a machine that takes tokens of Globus Auth: one with Globus' SSH service."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from parsl_pool.errors import AuthException, OptionalModuleMissing
from parsl_pool.providers.channels.ssh import SSHChannel
from parsl_pool.providers.channels.ssh_login import Asker, Questions

_PROMPT = "oauth token"
_PACKAGE = "oauth_ssh"


class OAuthSSHChannel(SSHChannel):
    """As `SSHChannel`; the login is by a token, which `oauth-ssh-token authorize HOST` gets beforehand.

    Args:
        hostname, username, script_dir, envs, port: see `SSHChannel`.
        options: the others of `SSHChannel`, by name.

    Needs the extra "oauth-ssh": ``pip install parsl_pool[oauth-ssh]``.
    """

    def __init__(
        self,
        hostname: str,
        username: str | None = None,
        script_dir: str | os.PathLike[str] | None = None,
        envs: Mapping[str, str] | None = None,
        port: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(hostname, username, script_dir=script_dir, envs=envs, port=port, **options)
        if not _is_there():
            raise OptionalModuleMissing(["oauth-ssh"], "OAuthSSHChannel (extra: oauth-ssh)")

    def _asker(self) -> Asker:
        # Only now, and anew for each connection: it may have to be refreshed, which asks a server.
        tokens, constants = import_module(f"{_PACKAGE}.oauth_ssh_token"), import_module(f"{_PACKAGE}.constants")
        try:
            token = tokens.find_access_token(self.hostname)
        except Exception as problem:  # of its own kind; the text says what to do
            raise AuthException("there is no token for it", problem, self.hostname) from problem
        command = {"command": {"op": "login", "access_token": token}, "version": constants.PROTOCOL_VERSION}
        answer = base64.b64encode(json.dumps(command).encode()).decode()

        def give(title: str, instructions: str, questions: Questions) -> list[str]:
            # What the service says after that comes as questions too.
            return [answer if _PROMPT in question.lower() else "" for question, _ in questions]

        return give


def _is_there() -> bool:
    try:
        return find_spec(_PACKAGE) is not None
    except ValueError:  # as `sys.modules` says of what is not to be had
        return False
