"""A server that speaks as S3 does: moto's, which keeps what it gets in memory. It is large, and so in no extra.

    python3 -m venv ~/moto && ~/moto/bin/pip install 'moto[s3]' flask flask-cors
    PATH=$PATH:~/moto/bin python -m pytest tests/services/test_stores.py
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
from pathlib import Path

from tests.eventually import eventually


def why_not() -> str:
    """Why there can be none; "" if there can."""
    return "" if shutil.which("moto_server") else "there is no moto_server on PATH (see tests/services/moto_server.py)"


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
        with (place / "log").open("w") as log:
            self._process = subprocess.Popen(
                ["moto_server", "-H", address, "-p", str(self.port)], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
            )  # fmt: skip

    def wait(self) -> None:
        """Raises RuntimeError: it does not start; perhaps what has its name only says where it once was."""
        eventually(lambda: self._process.poll() is not None or self._answers(), within=60)
        if self._process.poll() is not None:
            raise RuntimeError(f"moto_server does not start: {(self.folder / 'log').read_text()[-500:]}")

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection((self.address, self.port), 5):
            return True
        return False

    def environment(self) -> dict[str, str]:
        """By which its clients find it."""
        return {
            "AWS_ENDPOINT_URL_S3": self.endpoint, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
        }  # fmt: skip

    def stop(self) -> None:
        self._process.kill()
        self._process.wait(10)
