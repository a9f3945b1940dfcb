"""How much lies in a working directory, and what goes when it is too much: held against a simple model."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings, stateful
from hypothesis import strategies as st

from parsl_pool.staging import kept, room
from parsl_pool.staging.transfers.errand import fetching
from parsl_pool.staging.transfers.local_files import Landing
from parsl_pool.staging.transfers.options import USUAL
from tests.services.web_faults import WebFaults, serves
from tests.staging import fill_working_dir
from tests.staging.transfers.test_this_side import UNSHARE, lacks, run

pytestmark = pytest.mark.timeout(120)

UNIT = 1000
MOST = 10 * UNIT


class Use:
    """One that lasts."""

    def __init__(self, file: str, version: int, holds: AbstractContextManager[None]) -> None:
        self.file, self.version, self.holds = file, version, holds


class Model(stateful.RuleBasedStateMachine):
    """Some files, of one to four units each, which change; uses of them, which last."""

    FILES = st.sampled_from("abcdef")

    def __init__(self) -> None:
        super().__init__()
        self._held = ExitStack()
        self.directory = Path(self._held.enter_context(tempfile.TemporaryDirectory()))
        patch = self._held.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(room, "size_of", lambda state: state.st_size)  # blocks are each file system's own matter
        self.versions = dict.fromkeys("abcdef", 1)  # of the originals
        self.transfers = self.count = 0
        self.here: dict[str, int] = {}  # versions of files that are kept; the longest unused first
        self.uses: dict[int, Use] = {}
        self.left: set[tuple[str, int]] = set()  # of uses that are over, and still have a folder

    def teardown(self) -> None:
        for number in list(self.uses):
            self.end(number)
        self._held.close()

    def contents(self, file: str, version: int) -> bytes:
        return f"{file}{version:09}".encode() * (UNIT // 10) * ("abcdef".index(file) % 4 + 1)

    def fetch(self, file: str, target: Path) -> None:
        with Landing(target, fetching(f"odd:{file}", target, USUAL)) as landing:
            version = f"version {self.versions[file]}"
            if landing.known == version:
                landing.unchanged()
            else:
                self.transfers += 1
                landing.began(version, None)
                landing.write(self.contents(file, self.versions[file]))
            landing.settle()

    def path(self, file: str, number: int) -> Path:
        return self.directory / file / str(number) / "x"

    @stateful.rule(file=FILES)
    def begin(self, file: str) -> None:
        self.count += 1
        before, version = self.transfers, self.versions[file]
        path = str(self.path(file, self.count))
        holds = kept.used(kept.Wanted(f"odd:{file}", path, lambda target: self.fetch(file, target), MOST))
        holds.__enter__()
        assert self.transfers - before == (self.here.get(file) != version)
        self.left = {each for each in self.left if each[0] != file}
        self.note(file, version)
        self.uses[self.count] = Use(file, version, holds)
        self.evict()

    def note(self, file: str, version: int) -> None:
        """It is used now."""
        self.here.pop(file, None)
        self.here[file] = version

    def evict(self) -> None:
        """When there is too much: files that nobody uses, the longest unused first, until a tenth is free."""
        in_use = {use.file for use in self.uses.values()}
        if self.total() > MOST:
            for file in [each for each in self.here if each not in in_use]:
                if self.total() <= MOST - MOST // 10:
                    break
                del self.here[file]
                self.left = {each for each in self.left if each[0] != file}

    def total(self) -> int:
        files = {(use.file, use.version) for use in self.uses.values()} | set(self.here.items()) | self.left
        return sum(len(self.contents(*each)) for each in files)

    @stateful.precondition(lambda self: self.uses)
    @stateful.rule(data=st.data())
    def finish(self, data: Any) -> None:
        self.end(data.draw(st.sampled_from(sorted(self.uses))))

    def end(self, number: int) -> None:
        use = self.uses.pop(number)
        use.holds.__exit__(None, None, None)
        self.left.add((use.file, use.version))
        self.note(use.file, self.here[use.file])

    @stateful.rule(file=FILES)
    def change(self, file: str) -> None:
        self.versions[file] += 1

    @stateful.rule()
    def lose_the_numbers(self) -> None:
        """As if whoever was to write them had been killed."""
        (self.directory / ".room").unlink(missing_ok=True)

    @stateful.invariant()
    def what_is_used_is_there_as_it_was(self) -> None:
        for number, use in self.uses.items():
            assert self.path(use.file, number).read_bytes() == self.contents(use.file, use.version)

    @stateful.invariant()
    def the_rest_is_what_was_used_last(self) -> None:
        assert {path.parents[1].name for path in self.directory.glob("*/kept/x")} == set(self.here)

    @stateful.invariant()
    def all_that_is_there_is_counted(self) -> None:
        sizes = {path.stat().st_ino: path.stat().st_size for path in self.directory.rglob("x")}
        assert sum(sizes.values()) == self.total()


Model.TestCase.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)
TestModel = Model.TestCase


@pytest.fixture
def server() -> Iterator[WebFaults]:
    with WebFaults() as server:
        yield server


@pytest.mark.skipif(bool(lacks), reason="no mount namespaces here (they need root)")
def test_a_full_disk_is_emptied_of_what_nobody_uses_and_else_named(server: WebFaults, tmp_path: Path) -> None:
    server.plan("*", serves(bytes(300_000)))
    said = run(fill_working_dir.__file__, str(tmp_path), server.url(""), before=UNSHARE).splitlines()
    assert said[:2] == ["one after another: 300000 300000 300000 300000 300000", "fewer files than that: True"]
    assert said[2] == (
        f"all at once: {server.url('/4')}: could not be fetched to {tmp_path}/4/kept/x: {tmp_path}/4/kept can't be "
        f"written to: No space left on device; nothing in {tmp_path} could be removed to make room: the other files "
        "that were brought there are in use"
    )
    assert said[3:] == ["half files: []", "afterwards: 300000"]


def test_bytes_are_counted_as_they_are_on_the_disk(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    for name in ("kept", "1", "2"):
        (folder / name).mkdir(parents=True)
    (folder / "kept" / ".fetching").touch()
    (folder / "kept" / "x").write_bytes(b"x" * 100_000)
    for use in "12":
        os.link(folder / "kept" / "x", folder / use / "x")  # no bytes of their own
    with open(folder / "kept" / ".part", "wb") as part:  # being fetched
        part.truncate(50_000)
    (found,) = room.found(str(tmp_path))
    on_disk = (folder / "kept" / "x").stat().st_blocks * 512
    assert found.size == max(100_000, on_disk) + 50_000 and on_disk >= 100_000
