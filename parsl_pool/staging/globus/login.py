"""Who we are for Globus: tokens that the user gets by a browser, once, and that are renewed from then on."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from socket import gethostname
from typing import Any

from parsl_pool.errors import ConfigurationError, OptionalModuleMissing, StagingError
from parsl_pool.loggers import careful_logger
from parsl_pool.staging.globus import tokens
from parsl_pool.staging.globus.tokens import COMMAND, Login

log = careful_logger("parsl_pool.staging.globus")

TRANSFER = "transfer.api.globus.org"
SCOPE = f"urn:globus:auth:scope:{TRANSFER}:all"
CLIENT_VARIABLE = "PARSL_POOL_GLOBUS_CLIENT"
APPS_PAGE = "https://app.globus.org/settings/developers"
_SILENCE_S = 60.0


def check_installed(who: str) -> None:
    """Raise OptionalModuleMissing if there is no globus_sdk."""
    try:
        is_there = find_spec("globus_sdk") is not None
    except ValueError:  # as `sys.modules` says of what is not to be had
        is_there = False
    if not is_there:
        raise OptionalModuleMissing(["globus-sdk"], f"{who} (extra: globus; pip install 'parsl_pool[globus]')")


def sdk() -> Any:
    """The module globus_sdk: an optional one, and half a second to load."""
    return import_module("globus_sdk")


def transport() -> Any:
    """How its clients talk: a server that says nothing is not waited for for ever."""
    return import_module("globus_sdk.transport").RequestsTransport(http_timeout=_SILENCE_S)


def patience() -> Any:
    """How often its clients try again by themselves: once, for tokens that have expired. The rest is the Mover's."""
    return import_module("globus_sdk.transport").RetryConfig(max_retries=1, backoff=lambda _: 0.0)


def client_of(client_id: str) -> Any:
    """The SDK's client of Globus Auth."""
    return sdk().NativeAppAuthClient(client_id, transport=transport(), retry_config=patience())


def get_by_browser(
    client_id: str, scopes: Sequence[str], say: Callable[[str], object], ask: Callable[[str], str]
) -> Login:
    """Have the user log in, anywhere; they bring us a code.

    Raises:
        StagingError: Globus does not take it.
    """
    client = client_of(client_id)
    try:
        name = f"parsl_pool on {gethostname()}"
        client.oauth2_start_flow(list(scopes), refresh_tokens=True, prefill_named_grant=name)
        say(f"Open this page in a browser, on any machine, and log in:\n\n{client.oauth2_get_authorize_url()}\n")
        code = ask("Enter the code that it shows: ").strip()
        if not code:
            raise StagingError(f"no code, no login to Globus: run '{COMMAND}' again")
        with telling("Globus does not take the code"):
            answer = client.oauth2_exchange_code_for_tokens(code)
        return _login_of(client_id, tuple(scopes), answer)
    finally:
        client.transport.close()


def renewed(login: Login) -> Login:
    """The same with a new access token.

    Raises:
        LoginEnded: Globus takes it no more.
        StagingError: it could not be asked.
    """
    client = client_of(login.client_id)
    try:
        with telling("Globus does not renew the login"):
            answer = client.oauth2_refresh_token(login.refresh_token)
        return _login_of(login.client_id, login.scopes, answer, login.refresh_token)
    finally:
        client.transport.close()


def authorizer_of(login: Login, auth_client: Any) -> Any:
    """What signs the SDK's requests; renews the login when it is needed, and keeps it."""

    def keep(answer: Any) -> None:
        now = _login_of(login.client_id, login.scopes, answer, login.refresh_token)
        try:
            stored = tokens.load()
            if stored is None or stored.refresh_token == login.refresh_token:  # else somebody has logged in since
                tokens.save(now)
        except (OSError, StagingError) as problem:  # a home that is full: who comes next renews it again
            log.warning("the renewed login to Globus could not be kept: %s", problem)

    return sdk().RefreshTokenAuthorizer(
        login.refresh_token, auth_client, access_token=login.access_token, expires_at=login.expires_at,
        on_refresh=keep,
    )  # fmt: skip


def _login_of(client_id: str, scopes: tuple[str, ...], answer: Any, refresh_token: str | None = None) -> Login:
    try:
        mine = answer.by_resource_server[TRANSFER]
        return Login(
            client_id, scopes, mine.get("refresh_token") or refresh_token or "", mine["access_token"],
            int(mine["expires_at_seconds"]),
        )  # fmt: skip
    except KeyError:  # without its words: they may have the contents
        raise StagingError(f"Globus has given no token for {TRANSFER}: run '{COMMAND} --force'") from None


class LoginEnded(StagingError):
    """Globus takes the login no more."""


@contextmanager
def telling(what: str) -> Iterator[None]:
    """Errors of the SDK, as a user reads them."""
    try:
        yield
    except sdk().GlobusError as error:
        words = said_by(error)
        if isinstance(error, sdk().GlobusAPIError) and 400 <= error.http_status < 500 and error.http_status != 429:
            raise LoginEnded(f"{what}: {words}: run '{COMMAND} --force'") from None  # its cause has the request
        raise StagingError(f"{what}: {words}") from None


def said_by(error: Any) -> str:
    """What an error of the SDK says. Never the request: that has tokens."""
    if isinstance(error, sdk().GlobusAPIError):
        words = "; ".join(dict.fromkeys(filter(None, [error.code, *error.messages])))
        return f"{error.http_status} {words or error.http_reason}".strip()
    cause = getattr(error, "underlying_exception", None)
    return f"{type(error).__name__}: {error if cause is None else cause}"


def is_interactive() -> bool:
    """Whether somebody can be asked: there is a terminal, and we are in the foreground of the program."""
    on_terminal = sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()
    return on_terminal and threading.current_thread() is threading.main_thread()


def say(text: str) -> None:
    """Tell the user, beside what the program prints."""
    print(text, file=sys.stderr, flush=True)


def ask(question: str) -> str:
    """Have the user type a line. Raises StagingError if nobody is there."""
    print(question, end="", file=sys.stderr, flush=True)
    line = sys.stdin.readline()
    if not line:
        raise StagingError(f"nobody has typed the code: run '{COMMAND}' in a terminal")
    return line


def client_id_of(given: str | None, login: Login | None) -> str:
    """The application to log in with. Raises ConfigurationError if nobody says which."""
    known = given or os.environ.get(CLIENT_VARIABLE) or (login.client_id if login is not None else None)
    if not known:
        raise ConfigurationError(
            f"Globus wants to know an application to log in with: register one ('thick client') at {APPS_PAGE}, and "
            f"give its client UUID, as '{COMMAND} --client-id UUID' or in the variable {CLIENT_VARIABLE}"
        )
    return known


def ensure() -> None:
    """There is a login, or the user is asked for one, if there is somebody to ask.

    Raises:
        StagingError: there is none.
    """
    if tokens.load() is not None:
        return
    if not is_interactive():
        raise StagingError(f"there is no login to Globus on this machine: run '{COMMAND}' in a terminal, once")
    tokens.save(get_by_browser(client_id_of(None, None), (SCOPE,), say, ask))
