"""What `parsl-pool globus-auth` does."""

from __future__ import annotations

from collections.abc import Sequence

from parsl_pool.errors import ConfigurationError, StagingError
from parsl_pool.staging.globus import login as logins
from parsl_pool.staging.globus import tokens
from parsl_pool.staging.globus.tokens import COMMAND, Login


def authorize(client_id: str | None, scopes: Sequence[str], anew: bool) -> None:
    """See to it that there is a login that is enough; ask the user if it takes that.

    Raises:
        StagingError, ConfigurationError: there is none; the text says why.
    """
    logins.check_installed(COMMAND)
    for scope in scopes:
        if not scope.startswith(logins.SCOPE):
            raise ConfigurationError(f"--scope must be one of Globus' transfers, {logins.SCOPE}..., got {scope!r}")
    stored = _stored(anew)
    if stored is not None and not anew and _is_enough(stored, client_id, scopes):
        return
    client_id = logins.client_id_of(client_id, stored)
    if not logins.is_interactive():
        raise StagingError(f"nobody is there to log in to Globus: run '{COMMAND}' in a terminal")
    wanted = tuple(dict.fromkeys((logins.SCOPE, *(stored.scopes if stored is not None else ()), *scopes)))
    tokens.save(logins.get_by_browser(client_id, wanted, logins.say, logins.ask))
    print(f"logged in to Globus: {tokens.path()}")


def _stored(anew: bool) -> Login | None:
    try:
        return tokens.load()
    except StagingError:
        if anew:
            return None  # it is replaced
        raise


def _is_enough(stored: Login, client_id: str | None, scopes: Sequence[str]) -> bool:
    """Renew it, if so."""
    if client_id not in (None, stored.client_id) or not set(scopes) <= set(stored.scopes):
        return False
    try:
        tokens.save(logins.renewed(stored))
    except logins.LoginEnded as problem:
        logins.say(f"{problem}")
        return False
    print(f"already logged in to Globus: {tokens.path()}")
    return True
