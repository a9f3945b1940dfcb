"""Objects of S3, and of whatever speaks as it does: s3://BUCKET/KEY.

Keys, region and endpoint are those of the environment and of ~/.aws, as for Amazon's own tools: AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_PROFILE, AWS_REGION, AWS_ENDPOINT_URL_S3. Where there are none and
botocore is installed (extra `s3`), it is asked, for it knows how machines and containers of Amazon's get theirs.
Without any, requests are not signed: that is enough for public buckets.
"""

from __future__ import annotations

import binascii
import configparser
import hashlib
import hmac
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote, urlsplit

from parsl_pool.errors import ConfigurationError
from parsl_pool.staging.transfers import web_answers, web_kept
from parsl_pool.staging.transfers.errand import Refused, fetching, sending
from parsl_pool.staging.transfers.local_files import Source
from parsl_pool.staging.transfers.options import USUAL, Transfer
from parsl_pool.staging.transfers.urls import Url, shown
from parsl_pool.staging.transfers.web import fetch_from, send_to
from parsl_pool.staging.transfers.web_heads import Headers
from parsl_pool.staging.transfers.web_requests import Answer, Requests

_MOST = 5 * 2**30
_REGION = "[a-z0-9-]{1,40}"
_EXPECTED = re.compile(rf"expecting '({_REGION})'")
_EMPTY = hashlib.sha256().hexdigest()


def fetch(url: str, target: Path, options: Transfer = USUAL) -> None:
    """Bring an object to a path. Raises TransferFailed, ConfigurationError."""
    account = Account.found()
    place = _place(url, account)
    requests = _Regional(url, account, options)
    fetch_from(place, target, requests, fetching(url, target, options), _checksums)


def send(source: Path, url: str, options: Transfer = USUAL) -> None:
    """Send a file to be an object, whole or not at all; S3 verifies its checksum.

    Raises TransferFailed, ConfigurationError.
    """
    account = Account.found()
    place = _place(url, account)
    errand = sending(source, url, options)
    with Source(source, errand) as file:
        if file.size > _MOST:
            raise errand.failed(f"it has {file.size:,} bytes, and S3 takes at most {_MOST:,} at once")
        send_to(place, file, _Regional(url, account, options), errand)


class _Regional(Requests):
    """Asks again, if the bucket is in another region than was thought, and S3 says in which."""

    def __init__(self, url: str, account: Account, options: Transfer) -> None:
        super().__init__(web_kept.connections(options), options, account.sign)
        self._object, self._account = url, account
        self._is_known = False  # from S3 itself: the region, not only what we were told

    def ask(self, method: str, url: Url, headers: Mapping[str, str], source: Source | None = None) -> Answer:
        """See the base class; the URL is the object's, wherever that is."""
        answer = super().ask(method, _place(self._object, self._account), headers, source)
        if self._is_known or answer.status not in (301, 400):
            return answer
        with answer:
            words = answer.words()
        region = answer.headers.get("x-amz-bucket-region") or "".join(_EXPECTED.findall(words)[:1])
        if not re.fullmatch(_REGION, region) or region == self._account.region:
            raise Refused(f"the server says: {words}")
        self._is_known, self._account = True, replace(self._account, region=region)
        self._sign = self._account.sign
        return self.ask(method, url, headers, source)


def _checksums(headers: Headers) -> list[web_answers.Checksum]:
    """What the web says, and the ETag where it is an MD5: of objects that came at once, with keys of the server's."""
    found = web_answers.checksums(headers)
    tag = headers.get("ETag").strip('" ')
    kind = headers.get("x-amz-server-side-encryption") or "AES256"
    own_key = headers.get("x-amz-server-side-encryption-customer-algorithm")
    if re.fullmatch("[0-9a-f]{32}", tag) and kind == "AES256" and not own_key:
        found.append(web_answers.Checksum("md5", binascii.unhexlify(tag), True))
    return found


def _place(url: str, account: Account) -> Url:
    """The object's URL on the web."""
    scheme, _, rest = url.partition("://")
    bucket, _, key = rest.partition("/")
    if scheme.lower() != "s3" or not key or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]+", bucket):
        raise ConfigurationError(f"{shown(url)} must be s3://BUCKET/KEY")
    path = "/" + quote(key, safe="/-_.~")
    if not account.endpoint and "." not in bucket:  # certificates are for names with one part in that place
        return Url("https", f"{bucket}.{_amazons(account.region)}", None, None, None, path, "")
    parts = urlsplit(account.endpoint or f"https://{_amazons(account.region)}")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError(f"AWS_ENDPOINT_URL_S3 must be a URL of the web, got {shown(account.endpoint)}")
    above = f"{parts.path.rstrip('/')}/{bucket}"
    return Url(parts.scheme, parts.hostname, parts.port, None, None, f"{above}{path}", "")


def _amazons(region: str) -> str:
    """The host of S3 in a region. Raises ConfigurationError."""
    if not re.fullmatch(_REGION, region):
        raise ConfigurationError(f"AWS_REGION must be a region, such as eu-west-1, got {shown(region)}")
    return f"s3.{region}.amazonaws.com{'.cn' if region.startswith('cn-') else ''}"


@dataclass(frozen=True, repr=False)
class Account:
    """Who asks, and where; never shown."""

    key: str
    secret: str
    token: str
    region: str
    endpoint: str  # "": Amazon's

    @staticmethod
    def found() -> Account:
        """That of the environment and of the user's files."""
        keys = _profile("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials")
        settings = _profile("AWS_CONFIG_FILE", "~/.aws/config")
        variables = os.environ
        region = variables.get("AWS_REGION") or variables.get("AWS_DEFAULT_REGION") or settings.get("region", "")
        endpoint = variables.get("AWS_ENDPOINT_URL_S3") or variables.get("AWS_ENDPOINT_URL") or ""
        who: tuple[str, str, str] = ("", "", "")
        if variables.get("AWS_ACCESS_KEY_ID"):
            who = (variables["AWS_ACCESS_KEY_ID"], variables.get("AWS_SECRET_ACCESS_KEY", ""),
                   variables.get("AWS_SESSION_TOKEN", ""))  # fmt: skip
        elif (keys := keys if keys.get("aws_access_key_id") else settings).get("aws_access_key_id"):
            who = (keys["aws_access_key_id"], keys.get("aws_secret_access_key", ""), keys.get("aws_session_token", ""))
        else:
            who = _asked()
        return Account(*who, region or "us-east-1", endpoint or settings.get("endpoint_url", ""))

    def sign(self, method: str, url: Url, source: Source | None) -> dict[str, str]:
        """Headers that prove who asks: Signature Version 4."""
        if not self.key:
            return {}
        body = _EMPTY if source is None else source.digest("sha256").hexdigest()
        now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        return self.signed(method, url, body, now, {})

    def signed(self, method: str, url: Url, body: str, now: str, more: dict[str, str]) -> dict[str, str]:
        """The same for a body of this SHA-256 at this time, with more headers that are signed too."""
        default = {"http": 80, "https": 443}[url.scheme]
        host = url.host if url.port in (None, default) else url.host_port
        headers = {"host": host, "x-amz-content-sha256": body, "x-amz-date": now, **more}
        if self.token:
            headers["x-amz-security-token"] = self.token
        names = ";".join(sorted(headers))
        lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
        request = "\n".join([method, url.path, url.query.removeprefix("?"), lines, names, body])
        scope = f"{now[:8]}/{self.region}/s3/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
        key = f"AWS4{self.secret}".encode()
        for part in (now[:8], self.region, "s3", "aws4_request"):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
        headers["Authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={self.key}/{scope},SignedHeaders={names},Signature={signature}"
        )
        del headers["host"]  # is sent anyway
        return headers


def _profile(variable: str, usual: str) -> dict[str, str]:
    """What a file says of the user's profile."""
    name = os.environ.get("AWS_PROFILE") or "default"
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read(os.path.expanduser(os.environ.get(variable) or usual), encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError):
        return {}  # Amazon's own tools tell of what is wrong with it
    for section in (name, f"profile {name}"):
        if parser.has_section(section):
            return dict(parser.items(section))
    return {}


def _asked() -> tuple[str, str, str]:
    """What botocore knows."""
    try:
        from botocore.session import Session  # type: ignore[import-not-found, unused-ignore]  # late: it is an extra
    except ImportError:
        return "", "", ""
    found = Session().get_credentials()
    if found is None:
        return "", "", ""
    frozen = found.get_frozen_credentials()
    return frozen.access_key, frozen.secret_key, frozen.token or ""
