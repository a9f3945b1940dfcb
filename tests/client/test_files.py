"""`File`."""

import os
import pickle
from concurrent.futures import Future
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsl_pool import File
from parsl_pool.errors import ConfigurationError
from parsl_pool.futures.data_future import DataFuture


@pytest.mark.parametrize(
    ("url", "scheme", "netloc", "path", "filename"),
    [
        ("a.txt", "file", "", "a.txt", "a.txt"),
        ("/tmp/x/a.txt", "file", "", "/tmp/x/a.txt", "a.txt"),
        ("file:///tmp/a.txt", "file", "", "/tmp/a.txt", "a.txt"),
        ("file:/tmp/a.txt", "file", "", "/tmp/a.txt", "a.txt"),
        ("file:///tmp/a#1?.txt", "file", "", "/tmp/a#1?.txt", "a#1?.txt"),
        ("https://host:8000/data/a.csv?x=1", "https", "host:8000", "/data/a.csv", "a.csv"),
        ("ftp://host/a", "ftp", "host", "/a", "a"),
        ("globus://endpoint/~/a", "globus", "endpoint", "/~/a", "a"),
        ("s3://bucket/a b#1?%20é", "s3", "bucket", "/a b#1?%20é", "a b#1?%20é"),
        ("sftp://me@host:22/~/a#1", "sftp", "me@host:22", "/~/a#1", "a#1"),
        ("zip:/data/a.zip/in/side", "zip", "", "/data/a.zip/in/side", "side"),
        ("file:///tmp/a%20b", "file", "", "/tmp/a%20b", "a%20b"),
        ("HTTP://Host/%41", "http", "Host", "/%41", "%41"),
        ("odd:name?x#y", "file", "", "odd:name?x#y", "odd:name?x#y"),
        (Path("x") / "y", "file", "", os.path.join("x", "y"), "y"),
    ],
)
def test_urls(url: "str | Path", scheme: str, netloc: str, path: str, filename: str) -> None:
    file = File(url)
    assert (file.scheme, file.netloc, file.path, file.filename) == (scheme, netloc, path, filename)


@given(st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0:"), min_size=1))
def test_any_path_without_a_colon_is_a_path(path: str) -> None:
    assert File(path).filepath == path


def test_it_is_a_path_but_not_a_text(tmp_path: Path) -> None:
    file = File(tmp_path / "a")
    (tmp_path / "a").write_text("text")
    with open(file) as opened:
        assert opened.read() == "text"
    assert str(file) == os.fspath(file) == str(tmp_path / "a")
    assert not isinstance(file, str)


def test_what_lies_elsewhere_has_no_path_here() -> None:
    file = File("https://host/a")
    with pytest.raises(ValueError, match="https://host/a has no path here"):
        file.filepath  # noqa: B018  # asking is the point
    file.local_path = "/tmp/a"
    assert file.filepath == "/tmp/a" == str(file)
    copy = file.cleancopy()
    assert copy.local_path is None and copy.url == file.url
    assert copy == file and hash(file) == hash(copy) and file != File("https://host/b") and file != file.url
    assert pickle.loads(pickle.dumps(file)).local_path == "/tmp/a"


@pytest.mark.parametrize("bad", ["", b"x", 5, None, "a\0b", "file://home/me/x", "http://[::1/a"])
def test_what_is_no_file(bad: object) -> None:
    with pytest.raises(ConfigurationError):
        File(bad)  # type: ignore[arg-type]  # that is the point


def test_a_password_is_not_shown() -> None:
    file = File("sftp://me:open-sesame@host/a:b@c")
    assert repr(file) == "<File sftp://me:***@host/a:b@c>" and file.url == "sftp://me:open-sesame@host/a:b@c"
    assert "sesame" not in repr(DataFuture(Future(), file))
    with pytest.raises(ValueError) as raised:
        _ = file.filepath
    assert "sesame" not in str(raised.value)
    assert repr(File("https://host/a:b@c")) == "<File https://host/a:b@c>"
