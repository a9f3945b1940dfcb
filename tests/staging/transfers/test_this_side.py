"""What may be wrong on this side of a transfer: a full disk, a read-only one, little memory."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.services.web_faults import WebFaults, serves
from tests.staging.transfers import fill_disk

pytestmark = pytest.mark.timeout(60)

ROOT = Path(__file__).parents[3]
UNSHARE = ["unshare", "--mount", "--propagation", "private"]
lacks = "" if os.geteuid() == 0 and subprocess.run([*UNSHARE, "true"], capture_output=True).returncode == 0 else "it"


def run(*command: str, before: Sequence[str] = ()) -> str:
    done = subprocess.run(
        [*before, sys.executable, *command], capture_output=True, text=True, timeout=50, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(bool(lacks), reason="no mount namespaces here (they need root)")
@pytest.mark.parametrize("kind, words", [("small", "No space left on device"), ("read-only", "Read-only file system")])
def test_a_disk_that_takes_no_more_is_an_error_at_once(
    kind: str, words: str, server: WebFaults, folder: Path
) -> None:
    server.plan("/data", serves(bytes(1_000_000)))
    said = run(fill_disk.__file__, str(folder), server.url("/data"), kind, before=UNSHARE)
    assert said == (
        f"{server.url('/data')}: could not be fetched to {folder / 'data'}: {folder} can't be written to: {words}\n"
        "left: []\n"
    )
    assert len(server.requests) == (1 if kind == "small" else 0)


# Not ru_maxrss: that is at least what the parent had when it forked.
MEMORY = """
import re, sys
from pathlib import Path
from parsl_pool.staging.transfers.web import fetch

def peak_kb():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])

fetch(sys.argv[1] + "/small", Path(sys.argv[2]) / "small")
before = peak_kb()
fetch(sys.argv[1] + "/large", Path(sys.argv[2]) / "large")
print(peak_kb() - before)
"""


def test_memory_does_not_grow_with_the_file(server: WebFaults, folder: Path) -> None:
    server.plan("/small", serves(bytes(1_000_000)))
    server.plan("/large", serves(bytes(64_000_000)))
    grown_kb = int(run("-c", MEMORY, server.url(""), str(folder)))
    assert (folder / "large").stat().st_size == 64_000_000
    assert grown_kb < 8_000


def test_a_transfer_loads_little() -> None:
    script = "import sys, parsl_pool.staging.transfers.by_scheme; print(*sys.modules)"
    loaded = {name.split(".")[0] for name in run("-c", script).split()}
    assert not loaded & {"paramiko", "http", "ftplib", "ssl", "zmq", "asyncio"}
