"""A server that speaks as S3 does: moto's, which keeps what it gets in memory,
and verifies signatures. It is large, and so in no extra.

    python3 -m venv ~/moto && ~/moto/bin/pip install 'moto[s3]>=5.2.5' flask flask-cors
    PATH=~/moto/bin:$PATH python -m pytest tests/services/test_stores.py
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import urllib.request
from pathlib import Path
from urllib.parse import urlencode

from parsl_pool.staging.transfers.s3 import Account
from tests.eventually import eventually

_MAY_ALL = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
_USER = (
    {"Action": "CreateUser"},
    {"Action": "PutUserPolicy", "PolicyName": "all", "PolicyDocument": json.dumps(_MAY_ALL)},
    {"Action": "CreateAccessKey"},
)


def why_not() -> str:
    """Why there can be none; "" if there can."""
    return "" if shutil.which("moto_server") else "there is no moto_server on PATH (see tests/services/moto_server.py)"


def environment_of_its_own() -> dict[str, str]:
    """Without the modules that these tests may have been given."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


class Moto:
    """One that is being started, and is up when `wait` has returned, until `stop`. It takes seconds to load."""

    def __init__(self, place: Path, address: str = "127.0.0.1") -> None:
        self.folder = place
        place.mkdir()
        with socket.socket() as free:
            free.bind((address, 0))
            self.port: int = free.getsockname()[1]
        self.address = address
        self.endpoint = f"http://{address}:{self.port}"
        self.account = Account("", "", "", "us-east-1", self.endpoint)
        with (place / "log").open("w") as log:
            self._process = subprocess.Popen(
                ["moto_server", "-H", address, "-p", str(self.port)], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**environment_of_its_own(), "INITIAL_NO_AUTH_ACTION_COUNT": str(len(_USER))},
            )  # fmt: skip

    def wait(self) -> None:
        """Raises RuntimeError: it does not start; perhaps what has its name only says where it once was."""
        eventually(lambda: self._process.poll() is not None or self._answers(), within=60)
        if self._process.poll() is not None:
            raise RuntimeError(f"moto_server does not start: {(self.folder / 'log').read_text()[-500:]}")
        answers = [self._introduced(action) for action in _USER]
        key, secret = (re.search(f"<{name}>(.*?)</{name}>", answers[-1]) for name in ("AccessKeyId", "SecretAccessKey"))
        assert key is not None and secret is not None, answers
        self.account = Account(key[1], secret[1], "", "us-east-1", self.endpoint)

    def _introduced(self, action: dict[str, str]) -> str:
        # It wants to see a signature; of the first actions it does not look at that.
        headers = {"Authorization": "AWS4-HMAC-SHA256 Credential=test/20200101/us-east-1/iam/aws4_request, "
                                    "SignedHeaders=host, Signature=x"}  # fmt: skip
        body = urlencode({"Version": "2010-05-08", "UserName": "user", **action}).encode()
        with urllib.request.urlopen(urllib.request.Request(self.endpoint, body, headers), timeout=30) as answer:
            text: str = answer.read().decode()
            return text

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection((self.address, self.port), 5):
            return True
        return False

    def environment(self) -> dict[str, str]:
        """By which its clients find it."""
        return {
            "AWS_ENDPOINT_URL_S3": self.endpoint, "AWS_ACCESS_KEY_ID": self.account.key,
            "AWS_SECRET_ACCESS_KEY": self.account.secret, "AWS_REGION": self.account.region,
        }  # fmt: skip

    def stop(self) -> None:
        self._process.kill()
        self._process.wait(10)
