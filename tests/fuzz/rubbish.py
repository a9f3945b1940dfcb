"""Frames that nobody should send: drawn by hypothesis, from nothing or from frames that were really sent."""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from hypothesis import strategies as st

from parsl_pool.errors import BadMessage
from parsl_pool.interchange import columns, rubbish, wire
from tests.interchange.frames import results, tasks
from tests.interchange.test_wire import RECORDS


class Frame(NamedTuple):
    """A kind and a body, as they are on every link."""

    kind: int
    body: bytes

    def on_stream(self) -> bytes:
        return wire.HEAD.pack(len(self.body) + 2, self.kind, 0) + self.body

    def on_zmq(self) -> bytes:
        return bytes((self.kind, 0)) + self.body

    def decode(self) -> Any:
        """What it holds. Raises BadMessage."""
        if self.kind == wire.TASKS:
            return columns.Tasks.decode(self.body)
        if self.kind == wire.RESULTS:
            return columns.Results.decode(self.body)
        record = wire.decode(self.kind, self.body)
        rubbish.check(record)
        return record

    def is_for(self, accepted: Collection[type[Any]]) -> bool:
        """True if it decodes to one of these; whoever accepts others doesn't count them as bad."""
        try:
            return type(self.decode()) in accepted
        except BadMessage:
            return False


def on_stream(frame: bytes) -> Frame:
    """A frame as it was sent."""
    return Frame(frame[4], frame[6:])


NO_TASKS = tasks([1 << 40, (1 << 40) + 1], functions=0xFFFF_FFFF).encode()
NO_RESULTS = results([1 << 40, (1 << 40) + 1]).encode()

RANDOM = st.builds(Frame, st.integers(0, 255), st.binary(max_size=60))
OF_RECORDS = RECORDS.map(lambda record: Frame(wire.KIND[type(record)], wire.encode(record)))
OF_COLUMNS = st.sampled_from([Frame(wire.TASKS, NO_TASKS), Frame(wire.RESULTS, NO_RESULTS)])


@st.composite
def mutated(draw: st.DrawFn, frames: st.SearchStrategy[Frame]) -> Frame:
    """A good frame: cut, lengthened, with bits flipped, with a length that lies, or under another kind."""
    kind, body = draw(frames)
    how = draw(st.sampled_from(["as it is", "cut", "longer", "flipped", "lying", "other kind"]))
    if how == "other kind":
        return Frame(draw(st.integers(0, 255)), body)
    if how == "longer":
        return Frame(kind, body + draw(st.binary(min_size=1, max_size=20)))
    if not body or how == "as it is":
        return Frame(kind, body)
    if how == "cut":
        return Frame(kind, body[: draw(st.integers(0, len(body) - 1))])
    position = draw(st.integers(0, len(body) - 1))
    if how == "lying":
        return Frame(kind, body[:position] + b"\xff\xff\xff\x7f" + body[position + 4 :])
    return Frame(kind, body[:position] + bytes([body[position] ^ 1 << draw(st.integers(0, 7))]) + body[position + 1 :])


def frames(recorded: Sequence[Frame] = ()) -> st.SearchStrategy[Frame]:
    """Rubbish of every sort, from random bytes to good records that nobody is to send there."""
    good = [OF_RECORDS, OF_COLUMNS, *([st.sampled_from(recorded)] if recorded else [])]
    return st.one_of(RANDOM, *good, *map(mutated, good))
