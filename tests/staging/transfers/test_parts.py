"""The parts of transfers that need no server: URLs, headers, options, waiting."""

import email.utils
import pickle
import time
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parsl_pool.errors import ConfigurationError, InternalError, TransferFailed
from parsl_pool.staging.transfers import web_answers
from parsl_pool.staging.transfers.errand import TRICKLE, Errand, Pace, Passing, Refused
from parsl_pool.staging.transfers.options import Transfer
from parsl_pool.staging.transfers.urls import parsed, shown
from parsl_pool.staging.transfers.web_heads import Headers


@pytest.mark.parametrize(
    "url, text",
    [
        ("https://host/a%20b?x=1", "https://host/a%20b?x=1"),
        ("https://me:secret@host:8080/x", "https://me:***@host:8080/x"),
        ("https://ghp_token@host/x", "https://***@host/x"),
        ("ftp://me@host/x", "ftp://me@host/x"),
        ("sftp://me:se@cret@host/x", "sftp://me:***@host/x"),
        ("https://host/x?AWSAccessKeyId=k&Expires=3&Signature=s", "https://host/x?AWSAccessKeyId=***&Expires=3&Signature=***"),
        ("https://host/x?sv=1&sig=s#part", "https://host/x?sv=1&sig=***"),
        ("http://me:a/b@host/x", "http://***@host/x"),
        ("http://[::1/x", "http://[::1/x"),
        ("/a/path", "/a/path"),
        ("sftp://me:s#cret@host/a#b?key=c", "sftp://me:***@host/a#b?key=c"),
        ("http://host/" + "x" * 1000, "http://host/" + "x" * 588 + "..."),
    ],
)  # fmt: skip
def test_what_is_shown_of_a_url(url: str, text: str) -> None:
    assert shown(url) == text


def test_the_parts_of_a_url_do_not_show_its_password() -> None:
    url = parsed("https://me:se%2Fcret@[::1]:81/a b?token=t", "https")
    assert (url.user, url.password, url.host_port, url.path, url.query) == (
        "me", "se/cret", "[::1]:81", "/a%20b", "?token=t",
    )  # fmt: skip
    assert "cret" not in repr(url) and "token" not in repr(url)
    assert url.without_secrets("no se/cret, no se%2Fcret, no bWU6c2UvY3JldA==") == "no ***, no ***, no ***"


@pytest.mark.parametrize(
    "url, name",
    [
        ("https://host/a%20b?c#d", "/a b"), ("ftp://host/a#b?c", "/a#b?c"), ("sftp://me:s#s@host/a%23b", "/a#b"),
        ("rsync://host/m/100%", "/m/100%"),
    ],
)  # fmt: skip
def test_the_name_of_a_file(url: str, name: str) -> None:
    assert parsed(url, "https", "ftp", "sftp", "rsync").name == name


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text("ab/:.-0159~_", max_size=20), st.text("ab:.-0159_", max_size=12), st.sampled_from(["http", "https"]))
def test_the_parts_of_a_plain_url_are_those_of_any_other(path: str, place: str, scheme: str) -> None:
    url = f"{scheme}://{place}/{path}"
    try:
        parts = parsed(f"{url}?x", "http", "https")
    except ConfigurationError:
        with pytest.raises(ConfigurationError):
            parsed(url, "http", "https")
    else:
        assert parsed(url, "http", "https") == replace(parts, query="")


@pytest.mark.parametrize(
    "headers, version",
    [
        ({"ETag": '"a"', "Last-Modified": "x"}, '"a"'),
        ({"ETag": 'W/"a"'}, ""),
        ({}, ""),
        ({"Last-Modified": "Tue, 15 Nov 1994 12:45:26 GMT", "Date": "Tue, 15 Nov 1994 12:47:00 GMT"},
         "Tue, 15 Nov 1994 12:45:26 GMT"),
        ({"Last-Modified": "Tue, 15 Nov 1994 12:45:26 GMT", "Date": "Tue, 15 Nov 1994 12:45:27 GMT"}, ""),
        ({"Last-Modified": "Tue, 15 Nov 1994 12:45:26 GMT"}, ""),
        ({"Last-Modified": "yesterday", "Date": "today"}, ""),
    ],
)  # fmt: skip
def test_the_version_of_a_file(headers: dict[str, str], version: str) -> None:
    assert web_answers.version(of(headers)) == version


def of(headers: dict[str, str]) -> Headers:
    return Headers(headers.items())


def test_how_long_a_server_asks_to_wait() -> None:
    assert web_answers.wait_s(of({"Retry-After": "7"})) == 7
    assert web_answers.wait_s(of({})) is None and web_answers.wait_s(of({"Retry-After": "soon"})) is None
    assert web_answers.wait_s(of({"Retry-After": "Tue, 15 Nov 1994 12:45:26 GMT"})) == 0
    later = email.utils.formatdate(time.time() + 10_000, usegmt=True)
    assert 9_000 < (web_answers.wait_s(of({"Retry-After": later})) or 0) <= 10_000


@pytest.mark.parametrize(
    "text, found",
    [
        ("bytes 5-9/10", (5, 9, 10)), ("bytes 5-9/*", (5, 9, None)), ("bytes 5-10/10", None), ("bytes 9-5/10", None),
        ("bytes */10", None), ("5-9/10", None), ("", None),
    ],
)  # fmt: skip
def test_the_part_that_an_answer_has(text: str, found: object) -> None:
    assert web_answers.content_range(of({"Content-Range": text})) == found


def test_words_of_a_server_are_short_and_plain() -> None:
    page = of({"Content-Type": "text/html"})
    assert web_answers.words(404, "Not Found", page, b"<p>a\x1b[31m\r\n<b>b</b>") == "HTTP 404 Not Found: a [31m b"
    assert web_answers.words(404, "", of({"Content-Type": "image/png"}), b"\x89PNG") == "HTTP 404"
    assert len(web_answers.words(404, "", page, b"x" * 4096)) < 400


@pytest.mark.parametrize(
    "name, value",
    [
        ("connect_timeout", 0), ("silence", -1), ("silence", "long"), ("retries", -1), ("retries", 1.5),
        ("pause", float("nan")), ("longest_pause", -1), ("redirects", True), ("ca_file", 5), ("ssh_config", b"x"),
    ],
)  # fmt: skip
def test_a_wrong_option_is_named(name: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=f"^{name} must be "):
        Transfer(**{name: value})  # type: ignore[arg-type]  # the mistake


def test_options_travel() -> None:
    options = Transfer(retries=7, ca_file="/ca.pem")
    assert pickle.loads(pickle.dumps(options)) == options


def test_pauses_grow_and_have_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("time.sleep", pauses.append)

    def fails() -> None:
        raise Passing("busy", 3.0 if len(pauses) == 2 else None)

    with pytest.raises(TransferFailed, match=r"^http://host/x: was to be: busy \(tried 11 times\)$"):
        Errand("was to be", "http://host/x", Transfer(retries=10, pause=1, longest_pause=20)).persist(fails)
    low, high = [0.75, 1.5, 3, 6, 12, 20, 20, 20, 20, 20], [1.25, 2.5, 3, 10, 20, 20, 20, 20, 20, 20]
    assert len(pauses) == 10 and all(a <= pause <= b for a, pause, b in zip(low, pauses, high))


def test_what_will_not_pass_is_not_tried_again() -> None:
    calls: list[int] = []

    def fails() -> None:
        calls.append(1)
        raise Refused("never")

    with pytest.raises(TransferFailed, match="was to be: never$"):
        Errand("was to be", "http://host/x", Transfer()).persist(fails)
    assert len(calls) == 1


def test_a_bug_of_ours_is_not_taken_for_a_failure_of_the_transfer() -> None:
    def fails() -> None:
        raise InternalError("x")

    with pytest.raises(InternalError):
        Errand("was to be", "http://host/x", Transfer()).persist(fails)


def test_a_pace_that_leads_nowhere_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    pace = Pace(60)
    for _ in range(100):  # enough each time
        clock[0] += 59
        pace.came(TRICKLE)
    clock[0] += 59
    pace.came(TRICKLE - 1)
    clock[0] += 2
    with pytest.raises(Passing, match="^next to nothing came for 60 s$"):
        pace.came(0)
