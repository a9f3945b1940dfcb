"""Bounds on what a pool may ask of a cluster."""

from parsl_pool.providers import JobState
from parsl_pool.scaling.fuses import Fuses
from tests.scaling.kept import Make, Place, Queue, come_up, look


def test_when_the_node_hours_are_used_up_all_blocks_end_and_no_others_start(poller_of: Make, place: Place) -> None:
    provider = Queue(init_blocks=2, max_blocks=5, nodes_per_block=4)
    provider.state = JobState.RUNNING
    place.waiting = 100
    poller = poller_of(provider, strategy="simple", fuses=Fuses(node_hours=2.0), start_s=1e6)
    look(poller, 0.2)
    come_up(poller, "0", "1")
    look(poller, 300.0)
    assert not place.drained
    place.can_drain = False
    look(poller, 100.0)
    look(poller, 10.0)
    assert sorted(place.drained) == ["0", "1"] and len(provider.cancelled) == 5 and len(provider.submitted) == 5
    for block in "01":
        poller.manager_gone(block, f"m{block}", "n1", "told to end", running=[])
    look(poller)
    assert "max_node_hours=2 are used up" in str(place.given_up[0])


def test_no_more_jobs_are_submitted_an_hour_than_the_user_allows(poller_of: Make, place: Place) -> None:
    provider = Queue(init_blocks=0, max_blocks=50)
    place.waiting = 100
    poller = poller_of(provider, strategy="simple", fuses=Fuses(submissions_per_hour=7))
    for _ in range(5):
        look(poller)
    assert len(provider.submitted) == 7 and "max_submissions_per_hour=7" in "\n".join(poller.explain())
