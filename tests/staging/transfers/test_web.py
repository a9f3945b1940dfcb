"""Files of web servers: fetched whole or not at all, whatever the server does."""

import base64
import hashlib
import logging
import pickle
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from parsl_pool.errors import ConfigurationError, TransferFailed
from parsl_pool.staging.transfers.options import Transfer
from parsl_pool.staging.transfers.web import fetch
from tests.eventually import eventually
from tests.services.certificates import Authority
from tests.services.web_faults import (
    Act,
    Handler,
    WebFaults,
    chunked,
    falls_silent,
    gives,
    hangs_up,
    sends_on,
    serves,
    trickles,
    tunnels,
)
from tests.staging.transfers.conftest import BODY, QUICK

pytestmark = pytest.mark.timeout(60)

HALF = len(BODY) // 2


def of_fetch(url: str, target: Path, options: Transfer = QUICK) -> str:
    """What the error says; nothing of the file is left then."""
    before = sorted(target.parent.iterdir()) if target.parent.is_dir() else []
    with pytest.raises(TransferFailed) as raised:
        fetch(url, target, options)
    assert (sorted(target.parent.iterdir()) if target.parent.is_dir() else []) == before
    assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)
    return str(raised.value)


# ---- what goes well


@pytest.mark.parametrize("body", [b"", b"x", BODY], ids=["empty", "byte", "megabyte"])
def test_a_file_comes_whole_and_nothing_is_left_beside_it(body: bytes, server: WebFaults, target: Path) -> None:
    server.plan("/data", serves(body))
    fetch(server.url("/data"), target, QUICK)
    assert target.read_bytes() == body
    assert list(target.parent.iterdir()) == [target]


def test_a_body_without_a_length_comes_whole(server: WebFaults, target: Path) -> None:
    server.plan("/data", chunked(b"abc" * 1000, b"def"))
    fetch(server.url("/data"), target, QUICK)
    assert target.read_bytes() == b"abc" * 1000 + b"def"


def test_a_body_that_ends_with_the_connection_comes_whole(server: WebFaults, target: Path) -> None:
    def act(handler: Handler) -> None:
        handler.head(200, Connection="close")
        handler.wfile.write(BODY)

    server.plan("/data", act)
    fetch(server.url("/data"), target, QUICK)
    assert target.read_bytes() == BODY


def test_an_older_file_is_replaced_at_once(server: WebFaults, target: Path) -> None:
    target.write_text("old")
    server.plan("/data", serves(b"new"))
    fetch(server.url("/data"), target, QUICK)
    assert target.read_bytes() == b"new"


@pytest.mark.parametrize(
    "given, asked",
    [
        ("/a b.csv", "/a%20b.csv"),
        ("/a%20b.csv", "/a%20b.csv"),
        ("/größe.csv", "/gr%C3%B6%C3%9Fe.csv"),
        ("/100%.csv", "/100%25.csv"),
        ("/a?b=c d&e=/f", "/a?b=c%20d&e=/f"),
        ("/a%23b%3Fc", "/a%23b%3Fc"),
        ("/a#part", "/a"),
        ("/a;b,c'd(e)", "/a;b,c'd(e)"),
    ],
)  # fmt: skip
def test_names_are_quoted_where_they_have_to_be(given: str, asked: str, server: WebFaults, target: Path) -> None:
    server.plan(asked, serves(b"x"))
    fetch(server.url(given), target, QUICK)
    assert target.read_bytes() == b"x"


def test_nothing_is_asked_to_be_compressed(server: WebFaults, target: Path) -> None:
    server.plan("/data", serves(b"x"))
    fetch(server.url("/data"), target, QUICK)
    assert server.requests[0].headers["accept-encoding"] == "identity"


# ---- what passes


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 522])
def test_a_server_in_trouble_is_asked_again(status: int, server: WebFaults, target: Path) -> None:
    server.plan("/data", gives(b"busy", status), gives(b"busy", status, Retry_After=0), serves(BODY))
    fetch(server.url("/data"), target, QUICK)
    assert target.read_bytes() == BODY and len(server.requests) == 3


@pytest.mark.parametrize("act", [hangs_up, gives(b"", 503)], ids=["hangs up", "503"])
def test_trouble_that_lasts_is_an_error_after_the_last_retry(act: Act, server: WebFaults, target: Path) -> None:
    server.plan("/data", act)
    text = of_fetch(server.url("/data"), target)
    assert text.startswith(f"{server.url('/data')}: could not be fetched to {target}: ")
    assert text.endswith("(tried 3 times)") and len(server.requests) == 3


def test_a_wait_that_is_too_long_is_not_waited(server: WebFaults, target: Path) -> None:
    server.plan("/data", gives(b"come back tomorrow", 503, Retry_After=86_400))
    text = of_fetch(server.url("/data"), target)
    assert "HTTP 503 Service Unavailable: come back tomorrow" in text
    assert "asks to be left alone for 86400 s, and longest_pause is 2" in text and len(server.requests) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 451, 501])
def test_a_refusal_is_an_error_at_once_with_the_server_s_words(status: int, server: WebFaults, target: Path) -> None:
    page = b"<html><style>p {x: y}</style><body><p>No such\n planet &amp; star</p></body></html>"
    server.plan("/data", gives(page, status, Content_Type="text/html"))
    text = of_fetch(server.url("/data"), target)
    assert f"HTTP {status} " in text and text.endswith(": No such planet & star")
    assert len(server.requests) == 1


def test_a_server_that_is_down_is_named(target: Path, nobody: str) -> None:
    text = of_fetch(f"http://{nobody}/data", target)
    assert f"cannot connect to {nobody}: Connection refused (tried 3 times)" in text


def test_a_host_whose_name_is_none_is_named(target: Path) -> None:
    text = of_fetch("http://a..b/data", target)
    assert "cannot connect to a..b:80: " in text and "tried" not in text


# ---- cuts


def test_what_was_cut_goes_on_where_it_was(server: WebFaults, target: Path) -> None:
    server.plan("/data", serves(BODY, cut_after=HALF), serves(BODY, cut_after=1000), serves(BODY))
    fetch(server.url("/data"), target, QUICK)
    assert target.read_bytes() == BODY
    asked = [(request.headers.get("range"), request.headers.get("if-range")) for request in server.requests]
    assert asked == [(None, None), (f"bytes={HALF}-", '"one"'), (f"bytes={HALF + 1000}-", '"one"')]


def test_a_date_that_is_old_enough_is_a_version_too(server: WebFaults, target: Path) -> None:
    old = "Tue, 15 Nov 1994 12:45:26 GMT"
    first = serves(BODY, None, HALF, Last_Modified=old)
    server.plan("/data", first, serves(BODY, old, ETag=None, Last_Modified=old))
    fetch(server.url("/data"), target, QUICK)
    assert target.read_bytes() == BODY
    assert server.requests[1].headers["if-range"] == old


def test_a_file_that_changed_meanwhile_comes_from_its_start(server: WebFaults, target: Path) -> None:
    server.plan("/data", serves(BODY, cut_after=HALF), serves(b"new", '"two"'))
    fetch(server.url("/data"), target, QUICK)
    assert target.read_bytes() == b"new"
    assert server.requests[1].headers["range"] == f"bytes={HALF}-"


@pytest.mark.parametrize("tag", [None, 'W/"weak"'])
def test_without_a_version_it_comes_from_its_start(tag: str | None, server: WebFaults, target: Path) -> None:
    server.plan("/data", serves(BODY, tag, cut_after=HALF), serves(BODY, tag))
    fetch(server.url("/data"), target, QUICK)
    assert target.read_bytes() == BODY
    assert "range" not in server.requests[1].headers


@pytest.mark.parametrize(
    "headers",
    [
        {"Content_Range": f"bytes 0-{len(BODY) - 1}/{len(BODY)}"},
        {"Content_Range": f"bytes {HALF}-{len(BODY) - 1}/{len(BODY)}", "ETag": '"two"'},
        {"Content_Range": f"bytes {HALF}-{len(BODY) - 2}/{len(BODY)}"},
        {"Content_Range": "bytes"},
        {},
    ],
    ids=["other part", "other version", "less", "no sense", "no word of it"],
)
def test_a_part_that_does_not_fit_is_not_added(headers: dict[str, str], server: WebFaults, target: Path) -> None:
    part = gives(b"z" * HALF, 206, **{"ETag": '"one"', **headers})
    server.plan("/data", serves(BODY, cut_after=HALF), part, serves(BODY))
    fetch(server.url("/data"), target, QUICK)
    assert target.read_bytes() == BODY
    assert "range" not in server.requests[2].headers


def test_a_file_that_became_shorter_comes_from_its_start(server: WebFaults, target: Path) -> None:
    server.plan("/data", serves(BODY, cut_after=HALF), gives(b"", 416, Content_Range="bytes */3"), serves(b"new"))
    fetch(server.url("/data"), target, QUICK)
    assert target.read_bytes() == b"new"


@pytest.mark.parametrize(
    "act, words",
    [
        (gives(b"half", Content_Length=8), "4 of 8 bytes are missing"),
        (chunked(b"abc", is_whole=False), "the connection was cut in the middle"),
    ],
    ids=["length", "chunks"],
)
def test_a_file_that_never_comes_whole_is_an_error(act: Act, words: str, server: WebFaults, target: Path) -> None:
    server.plan("/data", act)
    assert words in of_fetch(server.url("/data"), target)
    assert len(server.requests) == 3


@pytest.mark.parametrize("act", [falls_silent(b"half"), falls_silent(status=None)], ids=["body", "head"])
def test_a_server_that_falls_silent_is_given_up(act: Act, server: WebFaults, target: Path) -> None:
    server.plan("/data", act)
    text = of_fetch(server.url("/data"), target, Transfer(silence=0.1, retries=1, pause=0))
    assert "it does not answer in time (tried 2 times)" in text
    eventually(lambda: len(server.requests) == 2)


def test_a_server_that_trickles_is_given_up(server: WebFaults, target: Path) -> None:
    server.plan("/data", trickles)
    text = of_fetch(server.url("/data"), target, Transfer(silence=0.4, retries=0))
    # A machine that has much to do may let a byte come too late; see test_parts.py for the rest.
    assert text.endswith(("next to nothing came for 0.4 s", "it does not answer in time"))


# ---- checksums


def coded(name: str, body: bytes) -> str:
    return base64.b64encode(hashlib.new(name, body).digest()).decode()


HEADERS: dict[str, Callable[[bytes], Any]] = {
    "Content_MD5": lambda body: coded("md5", body),
    "Digest": lambda body: f"unixsum=30637, SHA-256={coded('sha256', body)}",
    "Repr_Digest": lambda body: f"sha-512=:{coded('sha512', body)}:,sha-256=:{coded('sha256', b'no one looks')}:",
    "Content_Digest": lambda body: f"sha-256=:{coded('sha256', body)}:",
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_checksum_is_verified(name: str, server: WebFaults, target: Path) -> None:
    server.plan("/data", serves(BODY, **{name: HEADERS[name](b"damaged")}), serves(BODY, **{name: HEADERS[name](BODY)}))
    fetch(server.url("/data"), target, QUICK)
    assert target.read_bytes() == BODY and len(server.requests) == 2
    assert "range" not in server.requests[1].headers


@pytest.mark.parametrize("name", HEADERS)
def test_a_checksum_that_never_fits_is_an_error(name: str, server: WebFaults, target: Path) -> None:
    server.plan("/data", serves(BODY, **{name: HEADERS[name](b"damaged")}))
    assert "of what came is " in of_fetch(server.url("/data"), target)


@pytest.mark.parametrize("name", HEADERS)
def test_a_checksum_of_the_file_holds_for_its_parts_together(name: str, server: WebFaults, target: Path) -> None:
    right = {name: HEADERS[name](BODY)}
    damaged = BODY[:HALF] + b"?" + BODY[HALF + 1:]
    server.plan("/data", serves(BODY, cut_after=HALF, **right), serves(damaged), serves(BODY, **right))
    fetch(server.url("/data"), target, QUICK)
    assert target.read_bytes() == BODY and len(server.requests) == 3


def test_a_checksum_of_a_kind_that_we_do_not_know_is_not_looked_at(server: WebFaults, target: Path) -> None:
    server.plan("/data", serves(BODY, Digest="id-crc32c=AAAA", Repr_Digest="sha-256=:???:", Content_MD5="AAAA"))
    fetch(server.url("/data"), target, QUICK)
    assert target.read_bytes() == BODY


# ---- redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_it_goes_where_it_is_sent(status: int, server: WebFaults, target: Path) -> None:
    server.plan("/data", sends_on("/next", status))
    server.plan("/next", sends_on(server.url("/last"), status))
    server.plan("/last", serves(b"x"))
    fetch(server.url("/data"), target, QUICK)
    assert target.read_bytes() == b"x" and server.connections == 1


def test_it_does_not_go_in_circles(server: WebFaults, target: Path) -> None:
    server.plan("/data", sends_on("/data"))
    text = of_fetch(server.url("/data"), target, Transfer(redirects=3))
    assert "sends us on more than 3 times" in text and len(server.requests) == 4


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://127.0.0.1/data", "javascript:alert(1)", "//[bad"])
def test_it_goes_nowhere_but_to_the_web(location: str, server: WebFaults, target: Path) -> None:
    server.plan("/data", sends_on(location))
    assert "the server sends us on to " in of_fetch(server.url("/data"), target)
    assert len(server.requests) == 1


def test_it_does_not_go_from_https_to_http(authority: Authority, server: WebFaults, target: Path) -> None:
    server.plan("/data", serves(b"x"))
    with WebFaults(authority.context()) as secure:
        secure.plan("/data", sends_on(server.url("/data")))
        text = of_fetch(secure.url("/data"), target, Transfer(ca_file=str(authority.file)))
    assert "from https to a scheme without encryption" in text and not server.requests


def test_a_password_is_for_the_server_that_it_was_given_for(server: WebFaults, target: Path) -> None:
    server.plan("/data", sends_on("/here"))
    server.plan("/here", sends_on(server.url("/there", "localhost")))
    server.plan("/there", serves(b"x"))
    fetch(server.url("/data", user="me:open-sesame@"), target, QUICK)
    given = [request.headers.get("authorization") for request in server.requests]
    secret = "Basic " + base64.b64encode(b"me:open-sesame").decode()
    assert given == [secret, secret, None]


# ---- secrets


PLACE_WITH_SECRETS = "/data?token=tttt&X-Amz-Signature=ssss&part=3"


@pytest.mark.parametrize("password", ["open-sesame", "p%40ss%2Fw%23rd"])
def test_a_password_is_never_told(
    password: str, server: WebFaults, target: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    plain = unquote(password)
    coded_one = base64.b64encode(f"me:{plain}".encode()).decode()
    server.plan(PLACE_WITH_SECRETS, gives(f"{plain} {coded_one} is wrong".encode(), 503, Retry_After=0))
    with pytest.raises(TransferFailed) as raised:
        fetch(server.url(PLACE_WITH_SECRETS, user=f"me:{password}@"), target, QUICK)
    told = "".join(traceback.format_exception(raised.value)) + repr(raised.value) + caplog.text
    for secret in (plain, password, coded_one, "tttt", "ssss"):
        assert secret not in told.replace(str(target), ""), secret
    assert "*** *** is wrong" in told
    assert f"http://me:***@127.0.0.1:{server.port}/data?token=***&X-Amz-Signature=***&part=3: " in str(raised.value)


@pytest.mark.parametrize("url", ["http://me:se/cret@host/x", "http://me:secret@host:port/x", "http:///x", "ftp://h/x"])
def test_a_url_that_is_none_is_told_without_its_password(url: str, target: Path) -> None:
    with pytest.raises(ConfigurationError) as raised:
        fetch(url, target)
    assert "secret" not in str(raised.value) and "cret@" not in str(raised.value)


# ---- TLS


@pytest.mark.parametrize(
    "host, is_over, is_trusted, words",
    [
        ("127.0.0.1", False, False, "self-signed certificate"),
        ("127.0.0.1", True, True, "certificate has expired"),
        ("elsewhere.example", False, True, "IP address mismatch"),
    ],
    ids=["unknown authority", "expired", "another host's"],
)  # fmt: skip
def test_a_certificate_that_is_not_valid_is_refused_at_once(
    host: str, is_over: bool, is_trusted: bool, words: str, authority: Authority, target: Path
) -> None:
    with WebFaults(authority.context(host, is_over)) as secure:
        options = Transfer(ca_file=str(authority.file) if is_trusted else None)
        text = of_fetch(secure.url("/data"), target, options)
        assert not secure.requests
    assert "its certificate is not valid: " in text and "give its certificate as ca_file=" in text
    assert words in text or words == "self-signed certificate"  # OpenSSL has several words for that


def test_a_certificate_of_an_authority_that_is_trusted_is_good(authority: Authority, target: Path) -> None:
    with WebFaults(authority.context()) as secure:
        secure.plan("/data", serves(BODY, cut_after=HALF), serves(BODY))
        fetch(secure.url("/data"), target, Transfer(ca_file=str(authority.file), pause=0))
    assert target.read_bytes() == BODY


def test_a_file_without_certificates_is_a_wrong_option(target: Path, tmp_path: Path) -> None:
    (tmp_path / "ca").write_text("none")
    with pytest.raises(ConfigurationError, match="ca_file must be a file of certificates"):
        fetch("https://127.0.0.1:1/x", target, Transfer(ca_file=str(tmp_path / "ca")))


# ---- proxies


def test_a_proxy_of_the_environment_is_asked(
    server: WebFaults, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://me:open-sesame@127.0.0.1:{server.port}")
    server.plan("http://data.example/file?x=1", serves(b"x"))
    fetch("http://data.example/file?x=1", target, QUICK)
    assert target.read_bytes() == b"x"
    secret = "Basic " + base64.b64encode(b"me:open-sesame").decode()
    assert server.requests[0].headers["proxy-authorization"] == secret
    assert server.requests[0].headers["host"] == "data.example"


def test_no_proxy_is_asked_for_who_needs_none(
    server: WebFaults, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "localhost,127.0.0.1")
    server.plan("/data", serves(b"x"))
    fetch(server.url("/data"), target, QUICK)
    assert target.read_bytes() == b"x"


def test_a_proxy_leads_to_a_server_of_tls(
    server: WebFaults, authority: Authority, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{server.port}")
    with WebFaults(authority.context()) as secure:
        server.plan("*", tunnels)
        secure.plan("/data", serves(b"x"))
        fetch(secure.url("/data"), target, Transfer(ca_file=str(authority.file)))
        assert [request.method for request in server.requests] == ["CONNECT"]
        assert server.requests[0].target == f"127.0.0.1:{secure.port}"
    assert target.read_bytes() == b"x"


@pytest.mark.parametrize("status, tries", [(407, 1), (403, 1), (502, 3)])
def test_a_proxy_that_does_not_lead_there_is_named(
    status: int, tries: int, server: WebFaults, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", f"http://me:open-sesame@127.0.0.1:{server.port}")
    server.plan("*", gives(b"", status))
    text = of_fetch("https://data.example/file", target)
    assert f"by the proxy 127.0.0.1:{server.port}: " in text and str(status) in text and "sesame" not in text
    assert len(server.requests) == tries


@pytest.mark.parametrize("proxy", ["socks5://me:open-sesame@127.0.0.1:1080", "http://me:open-sesame@:80:80"])
def test_a_proxy_of_no_kind_that_we_know_is_an_error(
    proxy: str, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", proxy)
    text = of_fetch("http://data.example/file", target)
    assert "must be http://HOST:PORT" in text and "sesame" not in text


# ---- this side


def test_a_directory_that_is_missing_is_named(server: WebFaults, tmp_path: Path) -> None:
    server.plan("/data", serves(BODY))
    text = of_fetch(server.url("/data"), tmp_path / "none" / "data")
    assert f"{tmp_path / 'none'} can't be written to: No such file or directory" in text
    assert not server.requests


def test_a_target_that_is_a_directory_is_named(server: WebFaults, tmp_path: Path) -> None:
    text = of_fetch(server.url("/data"), tmp_path)
    assert f"{tmp_path} is a directory" in text and not server.requests


def test_an_interrupt_leaves_nothing(server: WebFaults, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", interrupt)
    server.plan("/data", serves(BODY, cut_after=HALF))
    with pytest.raises(KeyboardInterrupt):
        fetch(server.url("/data"), target, QUICK)
    assert not list(target.parent.iterdir())
