import getpass
import os
import pickle
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from parsl_pool.errors import AuthException, BadHostKeyException, ConfigurationError, SSHException
from parsl_pool.providers.channels.ssh import SSHChannel
from tests.eventually import eventually
from tests.services.sshd import Sshd, make_key, public

pytestmark = pytest.mark.service

NewChannel = Callable[..., SSHChannel]


def works(channel: SSHChannel) -> bool:
    return channel.execute_wait("echo yes") == (0, "yes\n", "")


def test_what_the_configuration_of_ssh_says_of_a_host_holds(channel: SSHChannel) -> None:
    assert works(channel)


def test_what_the_program_says_goes_before_it(sshd: Sshd, channel_to: NewChannel, tmp_path: Path) -> None:
    sshd.config.write_text("Host *\n  Port 1\n  IdentityFile /nowhere\n  UserKnownHostsFile /nowhere\n")
    channel = channel_to(
        "127.0.0.1", port=sshd.port, key_filename=str(sshd.key), host_keys_filename=sshd.known_hosts
    )
    assert works(channel)


def test_files_that_the_configuration_includes(sshd: Sshd, channel_to: NewChannel) -> None:
    (sshd.folder / "more").mkdir()
    sshd.config.rename(sshd.folder / "more" / "a")
    sshd.config.write_text("Host other\n  Port 1\n  Include nothing/*\nHost *\n  Include more/*\n")
    assert works(channel_to())


def test_a_configuration_that_cannot_be_read(channel_to: NewChannel, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere can't be used to reach here: .*ENOENT"):
        channel_to(config_filename=tmp_path / "nowhere").execute_wait("true")


# -- the host's key


def test_an_unknown_key_is_refused_with_a_way_to_accept_it(sshd: Sshd, channel_to: NewChannel) -> None:
    sshd.known_hosts.write_text("")
    channel = channel_to()
    with pytest.raises(BadHostKeyException) as raised:
        channel.execute_wait("true")
    text = str(raised.value)
    assert "its key is not known: it shows ssh-ed25519 SHA256:" in text and raised.value.hostname == "127.0.0.1"
    advice = text.rpartition("accept it: ")[2]
    subprocess.run(advice, shell=True, check=True, stderr=subprocess.DEVNULL)
    channel.close()  # no new attempt is made so soon
    assert works(channel)


def test_a_changed_key_is_refused(sshd: Sshd, channel: SSHChannel, channel_to: NewChannel) -> None:
    assert works(channel)
    sshd.new_host_key()
    with pytest.raises(BadHostKeyException, match=r"has changed: .*known_hosts, line 1, .*Somebody may stand between"):
        channel.execute_wait("true")
    advice = _refusal(channel_to()).rpartition("accept it: ")[2]
    subprocess.run(advice, shell=True, check=True, capture_output=True)
    assert works(channel_to())


def _refusal(channel: SSHChannel) -> str:
    with pytest.raises(BadHostKeyException) as raised:
        channel.execute_wait("true")
    return str(raised.value)


def test_a_revoked_key_is_refused_though_it_is_known(sshd: Sshd, channel_to: NewChannel) -> None:
    line = sshd.known_hosts.read_text()
    sshd.known_hosts.write_text(f"{line}@revoked * {' '.join(line.split()[1:])}\n")
    assert "has been revoked" in _refusal(channel_to())


def test_names_in_the_file_may_be_hashed(sshd: Sshd, channel_to: NewChannel) -> None:
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", sshd.known_hosts], check=True, capture_output=True)
    assert sshd.known_hosts.read_text().startswith("|1|")
    assert works(channel_to())


def test_a_key_under_another_name_of_the_host(sshd: Sshd, channel_to: NewChannel) -> None:
    sshd.known_hosts.write_text(f"n*.example.org,!n2.* {' '.join(public(sshd.host_key).split()[:2])}\n")
    sshd.config.write_text("HostKeyAlias n1.example.org\n" + sshd.config.read_text())
    assert works(channel_to())
    sshd.config.write_text("HostKeyAlias n2.example.org\n" + sshd.config.read_text())
    assert "not known" in _refusal(channel_to())


# -- who we are


def test_a_key_that_the_server_does_not_know(sshd: Sshd, channel_to: NewChannel, tmp_path: Path) -> None:
    channel = channel_to(key_filename=[make_key(tmp_path / "mine"), tmp_path / "none"])
    with pytest.raises(AuthException, match=r"does not let .* in: .*publickey.*tried: the key .*mine: refused"):
        channel.execute_wait("true")
    before = (sshd.folder / "log").read_text().count("Connection from")
    with pytest.raises(AuthException, match="next attempt in"):
        channel.execute_wait("true")
    assert (sshd.folder / "log").read_text().count("Connection from") == before, "who asks too often is locked out"


def test_a_key_with_a_passphrase(sshd: Sshd, channel_to: NewChannel) -> None:
    assert works(channel_to(key_filename=sshd.locked_key, passphrase="phrase"))
    assert works(channel_to(key_filename=sshd.locked_key, password="phrase"))
    with pytest.raises(AuthException, match="needs a passphrase: give passphrase="):
        channel_to(key_filename=sshd.locked_key).execute_wait("true")
    with pytest.raises(AuthException, match="is the passphrase right"):
        channel_to(key_filename=sshd.locked_key, passphrase="wrong").execute_wait("true")


@pytest.fixture
def agent(sshd: Sshd, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """One that has the locked key."""
    path = sshd.folder / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.DEVNULL)
    eventually(path.exists)
    monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
    asker = sshd.folder / "ask"
    asker.write_text("#!/bin/sh\necho phrase\n")
    asker.chmod(0o700)
    subprocess.run(
        ["ssh-add", "-q", sshd.locked_key], check=True, stdin=subprocess.DEVNULL,
        env={**os.environ, "SSH_ASKPASS": str(asker), "SSH_ASKPASS_REQUIRE": "force", "DISPLAY": ":0"},
    )  # fmt: skip
    yield path
    process.terminate()
    process.wait()


@pytest.mark.parametrize("only_these", [True, False])
def test_an_agent_has_the_key(
    sshd: Sshd, agent: Path, channel_to: NewChannel, only_these: bool, tmp_path: Path
) -> None:
    text = sshd.config.read_text().replace(f"IdentityFile {sshd.key}", f"IdentityFile {sshd.locked_key}")
    sshd.config.write_text(text if only_these else text.replace("IdentitiesOnly yes", "IdentitiesOnly no"))
    assert works(channel_to())
    mine = make_key(tmp_path / "mine")
    channel = channel_to(key_filename=mine)
    if only_these:
        with pytest.raises(AuthException):
            works(channel)
    else:
        assert works(channel)


def test_a_certificate_beside_a_key(sshd: Sshd, channel_to: NewChannel, tmp_path: Path) -> None:
    authority, mine = make_key(tmp_path / "authority"), make_key(tmp_path / "mine")
    who = getpass.getuser()
    sign = ["ssh-keygen", "-q", "-s", str(authority), "-I", "me", "-n", who, f"{mine}.pub"]
    subprocess.run(sign, check=True, capture_output=True)
    (sshd.folder / "authorized_keys").write_text(f"cert-authority {public(authority)}")
    assert works(channel_to(key_filename=mine))


# -- the way there


def test_through_another_host(sshd: Sshd, channel_to: NewChannel) -> None:
    sshd.config.write_text(f"Host far\n  ProxyJump here\n  HostName 127.0.0.1\n  Port {sshd.port}\n"
                           + sshd.config.read_text())  # fmt: skip
    channel = channel_to("far")
    assert works(channel)
    assert (sshd.folder / "log").read_text().count("Accepted publickey") == 2
    assert len(sshd.sessions()) >= 2
    channel.close()
    assert eventually(lambda: not sshd.sessions())


def test_through_a_channel_that_is_given(sshd: Sshd, channel: SSHChannel, channel_to: NewChannel) -> None:
    other = channel_to(jump=channel)
    assert works(other) and works(channel)
    other.close()
    assert works(channel)


def test_through_a_command(sshd: Sshd, channel_to: NewChannel) -> None:
    sshd.config.write_text(
        f"Host far\n  HostKeyAlias [127.0.0.1]:{sshd.port}\n"
        f"  ProxyCommand ssh -F {sshd.config} -W 127.0.0.1:{sshd.port} here\n" + sshd.config.read_text()
    )
    channel = channel_to("far")
    assert works(channel)
    assert channel.close() and not channel.close()
    assert works(channel)


def test_a_command_that_is_no_way(sshd: Sshd, channel_to: NewChannel) -> None:
    sshd.config.write_text("Host far\n  ProxyCommand exit 1\n" + sshd.config.read_text())
    with pytest.raises(SSHException, match="far: "):
        channel_to("far").execute_wait("true")


def test_nobody_answers(sshd: Sshd, channel: SSHChannel) -> None:
    sshd.stop()
    with pytest.raises(SSHException, match=rf"here: cannot connect to 127.0.0.1, port {sshd.port}.*refused"):
        channel.execute_wait("true")


# -- copies


def test_a_copy_has_the_options_and_makes_its_own_connection(sshd: Sshd, channel_to: NewChannel) -> None:
    channel = channel_to(password="secret word", script_dir="x")
    assert works(channel)
    copy = pickle.loads(pickle.dumps(channel))
    assert b"secret" not in pickle.dumps(channel)
    assert "secret" not in repr(channel) and copy.script_dir == "x"
    try:
        assert works(copy) and works(channel)
    finally:
        assert copy.close()
    assert (sshd.folder / "log").read_text().count("Accepted publickey") == 2
