"""Logins that need answers, against a played server: see `played_sshd`."""

import base64
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from parsl_pool.errors import AuthException, OptionalModuleMissing
from parsl_pool.providers import OAuthSSHChannel, SSHChannel, SSHInteractiveLoginChannel
from tests.services.played_sshd import PlayedSshd
from tests.services.sshd import make_key

CODE = (["Verification code: "], ["123456"])


@pytest.fixture
def new_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., PlayedSshd]]:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    made: list[PlayedSshd] = []

    def new(*arguments: Any, **options: Any) -> PlayedSshd:
        made.append(PlayedSshd(tmp_path, *arguments, **options))
        return made[-1]

    yield new
    for server in made:
        server.stop()


@pytest.fixture
def channel_to(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    made: list[SSHChannel] = []

    def new(server: PlayedSshd, cls: type[SSHChannel] = SSHChannel, **options: Any) -> Any:
        basic = {"port": server.port, "host_keys_filename": server.known_hosts, "config_filename": os.devnull,
                 "username": "me", "key_filename": tmp_path / "no-key"}  # fmt: skip
        made.append(cls("127.0.0.1", **{**basic, **options}))
        return made[-1]

    yield new
    for channel in made:
        channel.close()


def works(channel: SSHChannel) -> bool:
    return channel.execute_wait("echo yes").stdout == "yes\n"


def test_a_password(new_server: Callable[..., PlayedSshd], channel_to: Callable[..., Any]) -> None:
    server = new_server(["password"], password="right")
    assert works(channel_to(server, password="right"))
    with pytest.raises(AuthException, match=r"it takes password; tried: the password: refused"):
        channel_to(server, password="wrong").execute_wait("true")
    with pytest.raises(AuthException, match="tried: nothing, there was nothing to try"):
        channel_to(server).execute_wait("true")


def test_a_password_that_is_asked_for_as_a_question(
    new_server: Callable[..., PlayedSshd], channel_to: Callable[..., Any]
) -> None:
    server = new_server(["keyboard-interactive"], [(["Password: "], ["right"])])
    assert works(channel_to(server, password="right"))


def test_a_second_factor_that_nobody_answers(
    new_server: Callable[..., PlayedSshd], channel_to: Callable[..., Any], tmp_path: Path
) -> None:
    server = new_server(["publickey", "keyboard-interactive"], [CODE])
    with pytest.raises(AuthException, match=r"key .*accepted, but it wants more; an SSHInteractiveLoginChannel has"):
        channel_to(server, key_filename=make_key(tmp_path / "mine")).execute_wait("true")


def test_more_questions_than_a_password_answers(
    new_server: Callable[..., PlayedSshd], channel_to: Callable[..., Any]
) -> None:
    server = new_server(["keyboard-interactive"], [(["Password: "], ["right"]), CODE])
    with pytest.raises(AuthException, match="nobody was there to answer 'Verification code:'"):
        channel_to(server, password="right").execute_wait("true")


def test_a_second_factor_is_asked_for_once(
    new_server: Callable[..., PlayedSshd], channel_to: Callable[..., Any], tmp_path: Path
) -> None:
    server = new_server(["publickey", "keyboard-interactive"], [CODE])
    asked: list[Any] = []

    def ask(title: str, instructions: str, questions: list[tuple[str, bool]]) -> list[str]:
        asked.append((title, instructions, questions))
        return ["123456"]

    channel = channel_to(
        server, SSHInteractiveLoginChannel, key_filename=make_key(tmp_path / "mine"), ask=ask
    )
    assert works(channel) and works(channel)
    assert asked == [("Welcome", "Please", [("Verification code: ", False)])]
    server.cut()
    with pytest.raises(AuthException):
        for _ in range(3):  # the first ones may find out that it was cut
            channel.execute_wait("true")
    assert len(asked) == 1
    channel.login()
    assert works(channel) and len(asked) == 2


@pytest.mark.parametrize("mistake", [lambda *_: [], lambda *_: [5], lambda *_: (_ for _ in ()).throw(EOFError)])
def test_answers_that_are_none(
    new_server: Callable[..., PlayedSshd], channel_to: Callable[..., Any], mistake: Any
) -> None:
    server = new_server(["keyboard-interactive"], [CODE])
    channel = channel_to(server, SSHInteractiveLoginChannel, ask=mistake)
    with pytest.raises(AuthException, match=r"ask\(\) gave something else|nobody is there to answer"):
        channel.execute_wait("true")


def test_a_server_that_lets_us_in_as_we_are(
    new_server: Callable[..., PlayedSshd], channel_to: Callable[..., Any]
) -> None:
    assert works(channel_to(new_server([]), skip_auth=True))


def test_a_server_that_does_not(new_server: Callable[..., PlayedSshd], channel_to: Callable[..., Any]) -> None:
    with pytest.raises(AuthException, match="skip_auth=True, and it asks for password"):
        channel_to(new_server(["password"], password="x"), skip_auth=True, password="x").execute_wait("true")


def test_kerberos_is_not_to_be_had() -> None:
    with pytest.raises(OptionalModuleMissing, match="gssapi_auth=True: needs paramiko before"):
        SSHChannel("host", gssapi_auth=True)


def test_tokens_need_a_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "oauth_ssh", None)
    with pytest.raises(OptionalModuleMissing, match=r"OAuthSSHChannel \(extra: oauth-ssh\): needs oauth-ssh"):
        OAuthSSHChannel("host")


def test_a_token(
    new_server: Callable[..., PlayedSshd], channel_to: Callable[..., Any], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The package's part, which keeps the tokens, is played; nothing here can reach Globus."""
    (tmp_path / "oauth_ssh").mkdir()
    (tmp_path / "oauth_ssh" / "__init__.py").write_text("")
    (tmp_path / "oauth_ssh" / "constants.py").write_text("PROTOCOL_VERSION = '0'\n")
    tokens = tmp_path / "oauth_ssh" / "oauth_ssh_token.py"
    tokens.write_text("def find_access_token(host):\n    return 'token of ' + host\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    command = {"command": {"op": "login", "access_token": "token of 127.0.0.1"}, "version": "0"}
    answer = base64.b64encode(json.dumps(command).encode()).decode()
    server = new_server(["keyboard-interactive"], [(["Enter your OAuth token: "], [answer]), (["{}"], [""])])
    assert works(channel_to(server, OAuthSSHChannel))
    for name in [name for name in sys.modules if name.startswith("oauth_ssh")]:
        monkeypatch.delitem(sys.modules, name)
