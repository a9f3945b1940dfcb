"""The table of faults, where the disk is what is wrong: full, or one that can't be written to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.services.web_faults import WebFaults, serves, takes
from tests.staging import full_disk

pytestmark = pytest.mark.timeout(100)

ROOT = Path(__file__).parents[2]
UNSHARE = ["unshare", "--mount", "--propagation", "private"]
lacks = "" if os.geteuid() == 0 and subprocess.run([*UNSHARE, "true"], capture_output=True).returncode == 0 else "it"


@pytest.mark.skipif(bool(lacks), reason="no mount namespaces here (they need root)")
def test_a_disk_that_is_full_or_read_only_costs_the_tasks_that_need_it(tmp_path: Path) -> None:
    with WebFaults() as server:
        server.plan("/large", serves(bytes(2_000_000)))
        server.plan("/small", serves(b"small"))
        server.plan("/small?other", serves(b"other"))
        server.plan("/out", takes([]))
        urls = [server.url(path) for path in ("/large", "/small", "/out")]
        done = subprocess.run(
            [*UNSHARE, sys.executable, full_disk.__file__, str(tmp_path), *urls], capture_output=True, text=True,
            timeout=90, env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=tmp_path,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(each["kind"], each["way"]) for each in said] == [
        (kind, way) for kind in full_disk.KINDS for way in full_disk.WAYS
    ]
    for each in said:
        assert urls[0] in each["large"] and "No space left on device" in each["large"], each
        assert each["working"] in each["large"], each
        assert "No space left on device" in each["written"], each  # the task's own error, as it wrote
        assert sum(each["left"]) < 4096, each  # a few words about a file that was there
        assert each["small"] == each["again"] == 5, each
        assert f"{urls[1]}?other" in each["read-only"] and "Read-only file system" in each["read-only"], each
