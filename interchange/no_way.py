"""What a manager says that can't reach its interchange: where it tried, what came of that, and what can be done.

It says so on its own stderr. That is the job's, so it comes to the client with the rest of what is known of the block.
"""

from __future__ import annotations

from parsl_pool.interchange import race, reach

_MOST = 10  # a summary of a job's output has 2,048 characters

_REMEDIES = """\
What can be done (docs/guide/addresses.md has more):
  - Is none of these the client's address as this machine sees it? Say which one is, by address= of the executor: an
    address, a host name, or an interface of the client's machine, such as address="ib0".
  - Does a firewall stand between? Have it open some ports of the client's machine, and say which: worker_port_range=.
  - Does no way at all lead from here to there? With a provider that uses SSH: address="tunnel"."""


def explanation(who: str, host: str, seconds: float, troubles: dict[str, str], ask_s: float) -> str:
    """In words. troubles: what zmq has told of each address. What the network says it does not tell: that is asked."""
    shown = dict(list(troubles.items())[:_MOST])
    silent = [address for address, trouble in shown.items() if trouble == race.SILENT and address.startswith("tcp:")]
    answers = reach.ask(silent, ask_s)
    lines = [f"  {address}: {_told(address, trouble, answers)}" for address, trouble in shown.items()]
    if len(troubles) > _MOST:
        lines.append(f"  and {len(troubles) - _MOST} more")
    return "\n".join([
        f"parsl_pool manager {who}: no interchange can be reached from {host}; for {seconds:.0f} s it tried",
        *(lines or ["  nothing: its ticket names no address"]),
        _REMEDIES,
    ])  # fmt: skip


def _told(address: str, trouble: str, answers: dict[str, str]) -> str:
    if address not in answers:
        return trouble
    return answers[address] or "somebody answers now, and did not when that was tried"
