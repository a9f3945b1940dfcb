"""Proving to a machine who we are: keys, an agent's keys, questions, a password, in this order.

A server may ask for several of them, one after the other.
"""

from __future__ import annotations

import base64
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import Any, NamedTuple

import paramiko

from parsl_pool.errors import AuthException, described
from parsl_pool.loggers import careful_logger

log = careful_logger(__name__)

Questions = list[tuple[str, bool]]
"""Texts, and whether what is typed may be seen."""
Asker = Callable[[str, str, Questions], Sequence[str]]
"""Gets a title, instructions and questions, gives the answers."""

_KEY, _ASKED, _PASSWORD = "publickey", "keyboard-interactive", "password"


class Login(NamedTuple):
    """What there is to prove it by."""

    user: str
    password: str | None
    passphrase: str | None  # of keys; None: the password may be it
    keys: list[str]  # files
    only_these_keys: bool
    ask: Asker | None  # a person who can be asked
    skip: bool  # the server is to let us in as we are


class _Attempt(NamedTuple):
    """One way to prove it, not tried yet. `run` gives what the server asks for besides: nothing if it lets us in."""

    transport: paramiko.Transport
    method: str
    what: str
    run: Callable[[], list[str]]


class _Unusable(Exception):
    """There is no such way after all."""


class _Story:
    """What was tried, for the error in which it ends."""

    def __init__(self, login: Login, hostname: str) -> None:
        self._user, self._hostname = login.user, hostname
        self.tried: list[str] = []
        self.unanswered: list[str] = []

    def end(self, asked_for: Sequence[str], problem: BaseException | str = "") -> AuthException:
        wants = f"it takes {_or(asked_for)}; " if asked_for else ""
        tried = "; ".join(self.tried) or "nothing, there was nothing to try"
        nobody = f"; nobody was there to answer {', '.join(map(repr, self.unanswered))}" if self.unanswered else ""
        hint = "; an SSHInteractiveLoginChannel has you answer its questions" if _ASKED in asked_for else ""
        text = f"it does not let {self._user} in: {wants}tried: {tried}{nobody}{hint}"
        return AuthException(text, problem, self._hostname)


def log_in(transport: paramiko.Transport, login: Login, hostname: str) -> None:
    """Try one way after the other.

    Raises:
        AuthException: none is left.
        paramiko.SSHException, EOFError: the connection ended.
    """
    story = _Story(login, hostname)
    try:
        asked_for = transport.auth_none(login.user)
    except paramiko.BadAuthenticationType as problem:
        asked_for = problem.allowed_types
    if not asked_for:
        return
    if login.skip:
        raise AuthException(f"skip_auth=True, and it asks for {_or(asked_for)}", "", hostname)
    agent = _agent()
    try:
        attempts = list(_attempts(transport, login, agent, story))
        while asked_for:
            attempt = next((each for each in attempts if each.method in asked_for), None)
            if attempt is None:
                raise story.end(asked_for)
            attempts.remove(attempt)
            asked_for = _try(attempt, asked_for, story)
    finally:
        if agent is not None:
            agent.close()


def _try(attempt: _Attempt, asked_for: list[str], story: _Story) -> list[str]:
    """What the server asks for now."""
    try:
        more = attempt.run()
    except _Unusable as problem:
        story.tried.append(f"{attempt.what}: {problem}")
        return asked_for
    except paramiko.BadAuthenticationType as problem:
        story.tried.append(f"{attempt.what}: not taken")
        return list(problem.allowed_types)
    except paramiko.AuthenticationException as problem:
        story.tried.append(f"{attempt.what}: refused")
        if not attempt.transport.is_active():  # a server has enough after some attempts
            raise story.end([], problem) from problem
        return asked_for
    if more:
        story.tried.append(f"{attempt.what}: accepted, but it wants more")
    return list(more)


def _or(methods: Sequence[str]) -> str:
    return " or ".join(methods)


def _agent() -> paramiko.Agent | None:
    if not os.environ.get("SSH_AUTH_SOCK"):
        return None
    try:
        return paramiko.Agent()
    except (paramiko.SSHException, OSError) as problem:  # an old socket's name: keys in files may do
        log.debug("the SSH agent can't be used: %s", problem)
        return None


def _attempts(
    transport: paramiko.Transport, login: Login, agent: paramiko.Agent | None, story: _Story
) -> Iterator[_Attempt]:
    user, password = login.user, login.password
    held = _held_keys(agent, login)
    in_agent = {key.asbytes() for key in held}
    for key in held:
        yield _Attempt(
            transport, _KEY, f"the agent's key {_comment(key)}", partial(transport.auth_publickey, user, key)
        )
    for path in login.keys:
        if os.path.exists(path) and _public_part(path) not in in_agent:
            yield _Attempt(transport, _KEY, f"the key {path}", partial(_by_file, transport, path, login))
    if password is not None or login.ask is not None:
        yield _Attempt(
            transport, _ASKED, "answers to its questions", partial(_by_answers, transport, login, story)
        )
    if password is not None:
        yield _Attempt(
            transport, _PASSWORD, "the password", partial(transport.auth_password, user, password, fallback=False)
        )


# -- keys


def _held_keys(agent: paramiko.Agent | None, login: Login) -> list[Any]:
    keys = list(agent.get_keys()) if agent is not None else []
    if not login.only_these_keys:
        return keys
    wanted = {_public_part(path) for path in login.keys}
    return [key for key in keys if key.asbytes() in wanted]


def _comment(key: Any) -> str:
    return str(getattr(key, "comment", "") or key.get_name())


def _public_part(path: str) -> bytes | None:
    """What stands in the file beside it."""
    with suppress(OSError, ValueError, IndexError):
        with open(f"{path}.pub", encoding="utf-8") as file:
            return base64.b64decode(file.read().split()[1])
    return None


def _by_file(transport: paramiko.Transport, path: str, login: Login) -> list[str]:
    return transport.auth_publickey(login.user, _key(path, login))


def _key(path: str, login: Login) -> paramiko.PKey:
    passphrase = login.passphrase if login.passphrase is not None else login.password
    problems = []
    for kind in paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey:
        try:
            key = kind.from_private_key_file(path, passphrase)
            if os.path.exists(f"{path}-cert.pub"):
                key.load_certificate(f"{path}-cert.pub")
            return key
        except paramiko.PasswordRequiredException:
            raise _Unusable("needs a passphrase: give passphrase=, or put the key into an SSH agent") from None
        except (OSError, ValueError, paramiko.SSHException) as problem:  # of another kind, or a wrong passphrase
            problems.append(described(problem, 200))
    raise _Unusable(f"can't be used ({problems[0]})" + (", is the passphrase right?" if passphrase else ""))


# -- questions


def _by_answers(transport: paramiko.Transport, login: Login, story: _Story) -> list[str]:
    """The connection's thread has the questions. They are answered by the thread that logs in: Ctrl-C reaches it."""
    answers = _Answers(login, story)
    if login.ask is None:
        return transport.auth_interactive(login.user, answers)
    inbox: SimpleQueue[Callable[[], list[str]]] = SimpleQueue()
    replies: SimpleQueue[list[str] | None] = SimpleQueue()
    ended: list[Callable[[], list[str]]] = []

    def hand_over(title: str, instructions: str, questions: Questions) -> list[str]:
        inbox.put(lambda: answers(title, instructions, questions))
        reply = replies.get()
        if reply is None:
            raise paramiko.SSHException("nobody answers")
        return reply

    def log_in_by_answers() -> None:
        try:
            more = transport.auth_interactive(login.user, hand_over)
        except (paramiko.SSHException, EOFError, OSError) as problem:
            ended.append(partial(_raise, problem))
        else:
            ended.append(lambda: more)
        inbox.put(list)

    thread = threading.Thread(target=log_in_by_answers, name="parsl-pool-ssh-login", daemon=True)
    thread.start()
    try:
        while True:
            question = inbox.get()
            if ended:
                return ended[0]()
            replies.put(question())
    finally:
        replies.put(None)
        if not ended:
            transport.close()
        thread.join()


def _raise(problem: BaseException) -> list[str]:
    raise problem


class _Answers:
    """Answers a server's questions: the password to a hidden one, the others by a person, if there is one."""

    def __init__(self, login: Login, story: _Story) -> None:
        self._password, self._ask, self._story = login.password, login.ask, story

    def __call__(self, title: str, instructions: str, questions: Questions) -> list[str]:
        """Called by the connection's thread."""
        if not questions:
            return []
        if len(questions) == 1 and not questions[0][1] and self._password is not None:
            password, self._password = self._password, None  # asked again, it was not what was meant
            return [password]
        if self._ask is not None:
            return list(self._ask(title, instructions, questions))
        self._story.unanswered += [text.strip() for text, _ in questions]
        return ["" for _ in questions]
