"""What gives access to a file is told to nobody but its server."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.services.web_faults import WebFaults, gives, serves, takes
from tests.staging import tell_all

pytestmark = pytest.mark.timeout(100)

ROOT = Path(__file__).parents[2]
PASSWORD, TOKEN = "open-sesame", "tok3n-of-mine"


@pytest.mark.timeout(100)
def test_a_run_tells_no_password_and_no_token_anywhere(tmp_path: Path) -> None:
    code = base64.b64encode(f"me:{PASSWORD}".encode()).decode()
    words = f"{PASSWORD} and {code} are wrong".encode()
    with WebFaults() as server:
        urls = [server.url(f"/{name}?sig={TOKEN}", user=f"me:{PASSWORD}@") for name in ("in", "no", "out", "not")]
        server.plan(f"/in?sig={TOKEN}", serves(b"contents"))
        server.plan(f"/no?sig={TOKEN}", gives(words, 403))
        server.plan(f"/out?sig={TOKEN}", takes([]))
        server.plan(f"/not?sig={TOKEN}", gives(words, 500))
        done = subprocess.run(
            [sys.executable, tell_all.__file__, str(tmp_path), *urls], capture_output=True, text=True, timeout=90,
            env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=tmp_path,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        given = {request.headers.get("authorization") for request in server.requests}
    assert given == {f"Basic {code}"}  # so it has been used
    told = {"stdout": done.stdout.encode(), "stderr": done.stderr.encode()}
    told |= {str(path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    told |= {f"the name of {path}": str(path).encode() for path in tmp_path.rglob("*")}
    assert done.stdout.count("HTTP 403 Forbidden: *** and *** are wrong") >= 6  # told, but without that
    assert len(told) > 50
    for secret in (PASSWORD, TOKEN, code):
        assert not [where for where, text in told.items() if secret.encode() in text], secret
