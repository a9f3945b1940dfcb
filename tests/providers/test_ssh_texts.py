"""What needs no server: texts that go to other machines and come from there, and files of OpenSSH's."""

import base64
import hashlib
import hmac
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsl_pool.errors import BadHostKeyException, ConfigurationError
from parsl_pool.providers import remote_group
from parsl_pool.providers.channels import known_hosts
from parsl_pool.providers.channels.remote_shell import Answer
from parsl_pool.providers.channels.ssh_config import Said, route, split_jump

MARK = "parsl-pool-77"
KEY = base64.b64encode(b"a key").decode()
OTHER = base64.b64encode(b"another").decode()


@given(
    noise=st.binary(max_size=30), body=st.binary(max_size=200), rest=st.binary(max_size=30),
    cuts=st.lists(st.integers(1, 20), min_size=1, max_size=50),
)  # fmt: skip
def test_an_answer_is_the_same_however_it_is_cut(noise: bytes, body: bytes, rest: bytes, cuts: list[int]) -> None:
    data = noise + b"\n" + f"{MARK} 123\n".encode() + body + f"\n{MARK} 5\n".encode() + rest
    answer, start = Answer(MARK, 1000), 0
    while start < len(data):
        for cut in cuts:
            answer.feed(data[start : start + cut])
            start += cut
    assert (answer.first, answer.last, answer.text()) == ("123", "5", body.decode(errors="replace"))


def test_of_a_long_answer_the_beginning_is_kept_and_its_end_is_found() -> None:
    answer = Answer(MARK, 10)
    answer.feed(f"{MARK} 1\n".encode() + b"x" * 100_000)
    assert len(answer._pending) < 100
    answer.feed(f"\n{MARK} 0\n".encode())
    assert answer.text() == "x" * 10 and answer.last == "0"


def test_an_answer_without_an_end() -> None:
    answer = Answer(MARK, 100)
    answer.feed(f"banner\n{MARK} 1\nhalf".encode())
    assert (answer.last, answer.text()) == (None, "half")


# -- hosts' keys


def check(line: str, folder: Path, host: str = "n1.example.org", port: int = 22, key: str = KEY) -> None:
    (folder / "known").write_text(f"# known\n\n{line}\n")
    known_hosts.check(host, port, known_hosts.name_of(host, port), "ssh-ed25519", key, [str(folder / "known")])


@pytest.mark.parametrize(
    "names",
    ["n1.example.org", "other,N1.EXAMPLE.ORG", "*.example.org", "n?.example.org", "*"],
)
def test_names_that_are_meant(names: str, tmp_path: Path) -> None:
    check(f"{names} ssh-ed25519 {KEY} a comment", tmp_path)


@pytest.mark.parametrize(
    "names", ["n2.example.org", "*.org,!n1.*", "[n1.example.org]:22", "|1|rubbish|rubbish", "n[1]"]
)
def test_names_that_are_not(names: str, tmp_path: Path) -> None:
    with pytest.raises(BadHostKeyException, match="its key is not known"):
        check(f"{names} ssh-ed25519 {KEY}", tmp_path)


def test_a_port_belongs_to_the_name(tmp_path: Path) -> None:
    check(f"[n1.example.org]:2222 ssh-ed25519 {KEY}", tmp_path, port=2222)
    with pytest.raises(BadHostKeyException, match=r"ssh-keyscan -p 2222 -t ed25519 n1.example.org >>.*known"):
        check(f"n1.example.org ssh-ed25519 {KEY}", tmp_path, port=2222)


def test_a_hashed_name(tmp_path: Path) -> None:
    salt = b"x" * 20
    digest = hmac.new(salt, b"n1.example.org", hashlib.sha1).digest()
    check(f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()} ssh-ed25519 {KEY}", tmp_path)


@pytest.mark.parametrize(
    "line, text",
    [
        (f"* ssh-ed25519 {OTHER}", "its key has changed"), (f"* ssh-rsa {OTHER}", "its key is not known"),
        (f"@revoked * ssh-ed25519 {KEY}", "has been revoked"),
        (f"@cert-authority * ssh-ed25519 {KEY}", "not known.*line 3, has an authority .* certificates are not"),
        (f"@cert-authority * ssh-ed25519 {OTHER}", "not known.*host's own key has to be known.* accept it: ssh-key"),
        (f"@cert-authority * ssh-ed25519 {OTHER}\n* ssh-ed25519 {OTHER}", "its key has changed: .*line 4"),
    ],
)  # fmt: skip
def test_keys_that_are_refused(line: str, text: str, tmp_path: Path) -> None:
    with pytest.raises(BadHostKeyException, match=text):
        check(line, tmp_path)


# -- how a host is reached


@pytest.mark.parametrize(
    "text, parts",
    [
        ("gate", (None, "gate", None)), ("me@gate:2222", ("me", "gate", 2222)),
        ("ssh://me@gate:22/", ("me", "gate", 22)),
        ("[fe80::1]:22", (None, "fe80::1", 22)), ("fe80::1", (None, "fe80::1", None)),
    ],
)  # fmt: skip
def test_a_host_to_go_through(text: str, parts: tuple[str | None, str, int | None]) -> None:
    assert split_jump(text) == parts


def test_what_the_first_section_says_holds_and_the_program_goes_before_it(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(
        "Host a*\n Port 2201\n ProxyJump gate1,me@gate2\nHost *\n User=other\n Port 2202\n ProxyCommand nc %h %p\n"
        " IdentityFile ~/.ssh/x\n UserKnownHostsFile /k1 /k2\n GlobalKnownHostsFile none\n"
    )
    one = route("alpha", Said(config=str(config)))
    assert (one.host, one.port, one.user, one.jumps, one.proxy_command) == (
        "alpha", 2201, "other", ["gate1", "me@gate2"], ""
    )  # fmt: skip
    assert one.known_hosts == ["/k1", "/k2"] and one.keys[0].endswith("/.ssh/x") and "~" not in one.keys[0]
    two = route("beta", Said("me", 22, ["/key"], "/known", str(config)))
    assert (two.port, two.user, two.keys, two.known_hosts) == (22, "me", ["/key"], ["/known"])
    assert two.proxy_command == "nc beta 22"


@pytest.mark.parametrize("text", ["Host *\n Port many\n", "nonsense\n", "Include config\n"])
def test_files_that_make_no_sense(text: str, tmp_path: Path) -> None:
    (tmp_path / "config").write_text(text)
    with pytest.raises(ConfigurationError):
        route("alpha", Said(config=str(tmp_path / "config")))


# -- process groups there


def test_guards_are_told_from_others() -> None:
    told = (
        "  12 /bin/sh -c trap : HUP? parsl_pool_guard /bin/bash /home/me/.parsl_pool/run-1/block.0.ab\n"
        "  13 grep -F parsl_pool_guard\n  14 sh -c grep parsl_pool_guard grep /block\n"
    )
    assert remote_group.found(told) == {"/home/me/.parsl_pool/run-1/block.0.ab": 12}
    assert remote_group.seen("alive\nsome words\n") == (True, None, "some words\n")
    assert remote_group.seen("143\n") == (False, 143, "") and remote_group.seen("gone\n") == (False, None, "")
