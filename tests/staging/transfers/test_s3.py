"""Objects of S3: what is asked of a server that was told to answer as S3 does, and Amazon's own example of a signature.

No real S3 was asked.
"""

import hashlib
from pathlib import Path

import pytest

from parsl_pool.errors import ConfigurationError, TransferFailed
from parsl_pool.staging.transfers.s3 import Account, _place, fetch, send
from parsl_pool.staging.transfers.urls import Url
from tests.services.web_faults import Act, WebFaults, gives, serves, takes
from tests.staging.transfers.conftest import BODY, QUICK

pytestmark = pytest.mark.timeout(60)

MD5 = hashlib.md5(BODY).hexdigest()


@pytest.fixture(autouse=True)
def account(monkeypatch: pytest.MonkeyPatch, server: WebFaults, tmp_path: Path) -> None:
    for name in ("AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_REGION", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {
        "AWS_ACCESS_KEY_ID": "KEYKEY", "AWS_SECRET_ACCESS_KEY": "SECRETSECRET", "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_ENDPOINT_URL_S3": server.url(""), "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials"),
        "AWS_CONFIG_FILE": str(tmp_path / "config"), "AWS_EC2_METADATA_DISABLED": "true",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)


def test_a_signature_is_as_in_amazon_s_example() -> None:
    """Amazon S3 API reference, "Signature Calculations for the Authorization Header", GET Object."""
    account = Account("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "", "us-east-1", "")
    url = Url("https", "examplebucket.s3.amazonaws.com", None, None, None, "/test.txt", "")
    empty = hashlib.sha256().hexdigest()
    headers = account.signed("GET", url, empty, "20130524T000000Z", {"range": "bytes=0-9"})
    assert headers["Authorization"].endswith(
        "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
    )


def test_an_object_comes_whole_and_goes_on_where_it_was_cut(server: WebFaults, target: Path) -> None:
    server.plan("/bucket/a%20b/c%2B%3F", serves(BODY, f'"{MD5}"', cut_after=1000), serves(BODY, f'"{MD5}"'))
    fetch("s3://bucket/a b/c+?", target, QUICK)
    assert target.read_bytes() == BODY
    assert server.requests[1].headers["range"] == "bytes=1000-"
    for request in server.requests:
        assert request.headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=KEYKEY/")
        assert (
            "/eu-west-1/s3/aws4_request,SignedHeaders=host;x-amz-content-sha256;x-amz-date,"
            in (request.headers["authorization"])
        )


def test_the_md5_that_an_etag_is_is_verified(server: WebFaults, target: Path) -> None:
    server.plan("/bucket/key", serves(BODY[::-1], f'"{MD5}"'))
    with pytest.raises(TransferFailed, match=f"the md5 of what came is .*, and the server says {MD5}"):
        fetch("s3://bucket/key", target, QUICK)
    assert not list(target.parent.iterdir())


@pytest.mark.parametrize("tag, headers", [(f"{MD5}-3", {}), (MD5, {"x_amz_server_side_encryption": "aws:kms"})])
def test_an_etag_that_is_no_md5_is_only_a_version(
    tag: str, headers: dict[str, str], server: WebFaults, target: Path
) -> None:
    server.plan("/bucket/key", serves(BODY[::-1], f'"{tag}"', None, **headers))
    fetch("s3://bucket/key", target, QUICK)
    assert target.read_bytes() == BODY[::-1]


def test_a_file_is_sent_with_its_checksum(server: WebFaults, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(BODY)
    came: list[bytes] = []
    server.plan("/bucket/key", takes(came, 200))
    send(tmp_path / "source", "s3://bucket/key", QUICK)
    assert came == [BODY]
    assert server.requests[0].headers["x-amz-content-sha256"] == hashlib.sha256(BODY).hexdigest()


def test_a_refusal_has_the_server_s_words_and_no_secret(server: WebFaults, target: Path) -> None:
    page = b"<?xml version='1.0'?><Error><Code>NoSuchKey</Code><Message>No such key.</Message></Error>"
    server.plan("/bucket/key", gives(page, 404, Content_Type="application/xml"))
    with pytest.raises(TransferFailed) as raised:
        fetch("s3://bucket/key", target, QUICK)
    words = "HTTP 404 Not Found: NoSuchKey No such key."
    assert str(raised.value) == f"s3://bucket/key: could not be fetched to {target}: the server says: {words}"


def test_keys_of_the_user_s_files_and_none(
    server: WebFaults, target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.plan("/bucket/key", serves(b"x"))
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    fetch("s3://bucket/key", target, QUICK)
    assert "authorization" not in server.requests[0].headers
    (tmp_path / "credentials").write_text(
        "[default]\naws_access_key_id = OTHER\n[lab]\naws_access_key_id = LAB\naws_secret_access_key = s%s\n"
        "aws_session_token = TOKEN\n"
    )
    monkeypatch.setenv("AWS_PROFILE", "lab")
    fetch("s3://bucket/key", target, QUICK)
    assert "Credential=LAB/" in server.requests[1].headers["authorization"]
    assert server.requests[1].headers["x-amz-security-token"] == "TOKEN"


WRONG_REGION = (
    b"<?xml version='1.0'?><Error><Code>AuthorizationHeaderMalformed</Code><Message>The authorization header is "
    b"malformed; the region 'eu-west-1' is wrong; expecting 'eu-central-1'</Message>"
    b"<Region>eu-central-1</Region></Error>"
)


@pytest.mark.parametrize(
    "answer",
    [
        gives(WRONG_REGION, 400, Content_Type="application/xml"),
        gives(b"<Error><Code>PermanentRedirect</Code></Error>", 301, x_amz_bucket_region="eu-central-1"),
    ],
    ids=["malformed", "redirect"],
)
def test_a_bucket_of_another_region_is_asked_for_there(server: WebFaults, target: Path, answer: Act) -> None:
    server.plan("/bucket/key", answer, serves(BODY, cut_after=1000), serves(BODY))
    fetch("s3://bucket/key", target, QUICK)
    assert target.read_bytes() == BODY
    signed = [request.headers["authorization"].split("/")[2] for request in server.requests]
    assert signed == ["eu-west-1", "eu-central-1", "eu-central-1"]


def test_a_file_for_another_region_is_sent_there(server: WebFaults, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(BODY)
    came: list[bytes] = []
    server.plan("/bucket/key", gives(WRONG_REGION, 400, Content_Type="application/xml"), takes(came, 200))
    send(tmp_path / "source", "s3://bucket/key", QUICK)
    assert came == [BODY]


def test_a_server_that_always_names_another_region_is_refused(server: WebFaults, target: Path) -> None:
    server.plan("/bucket/key", gives(WRONG_REGION, 400, Content_Type="application/xml"))
    with pytest.raises(TransferFailed, match="HTTP 400 Bad Request: AuthorizationHeaderMalformed"):
        fetch("s3://bucket/key", target, QUICK)
    assert len(server.requests) == 2


def test_amazon_s_hosts_are_those_of_the_region() -> None:
    for region, bucket, host in [
        ("eu-west-1", "lab", "lab.s3.eu-west-1.amazonaws.com"),
        ("cn-north-1", "lab", "lab.s3.cn-north-1.amazonaws.com.cn"),
        ("eu-west-1", "my.lab", "s3.eu-west-1.amazonaws.com"),
    ]:
        assert _place(f"s3://{bucket}/key", Account("", "", "", region, "")).host == host
    with pytest.raises(ConfigurationError, match="AWS_REGION must be a region"):
        _place("s3://lab/key", Account("", "", "", "evil.org/", ""))


def test_keys_may_be_in_the_file_of_settings(
    server: WebFaults, target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.plan("/bucket/key", serves(b"x"))
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    (tmp_path / "config").write_text("[default]\naws_access_key_id = MINE\naws_secret_access_key = secret\n")
    fetch("s3://bucket/key", target, QUICK)
    assert "Credential=MINE/" in server.requests[0].headers["authorization"]


@pytest.mark.parametrize("url", ["s3://bucket", "s3://bucket/", "s3:///key", "s3://me@host/key", "http://host/key"])
def test_a_url_without_an_object_is_wrong(url: str, target: Path) -> None:
    with pytest.raises(ConfigurationError, match="s3://BUCKET/KEY"):
        fetch(url, target)
