"""List and cancel the blocks that a run has left.

RUN is the directory of a run, such as runinfo/007. A program that ends cancels its jobs by itself; one that was killed
by kill -9, or with its machine, can't.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator
from typing import Any

from parsl_pool.errors import ParslPoolError
from parsl_pool.run_directory import JOBS_LEFT, goes_on
from parsl_pool.scaling.journal import JobRecord, JournalRead, journals_in

FAILED = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The sub-commands, and what each takes."""
    actions = parser.add_subparsers(title="actions", dest="action", metavar="ACTION", required=True)

    below = actions.add_parser("list", help="the blocks of a run, and what became of them")
    below.add_argument("place", metavar="RUN")
    below.add_argument("--json", action="store_true", help="for programs")
    below.set_defaults(act=_list)

    below = actions.add_parser("cancel", help="end what is left of them; exit status 1 if something could not be ended")
    below.add_argument("place", metavar="RUN")
    below.add_argument("--force", action="store_true", help="also while the run goes on")
    below.set_defaults(act=_cancel)


def run(options: argparse.Namespace) -> int:
    """Do it; gives the exit status."""
    return int(options.act(options))


def _list(options: argparse.Namespace) -> int:
    for journal in _journals(options.place):
        for job in journal.jobs:
            if options.json:
                print(json.dumps({"executor": journal.label, "provider": journal.provider_name, **job._asdict()}))
            else:
                print(f"{journal.label}: {_described(job)}")
    return 0


def _described(job: JobRecord) -> str:
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(job.submitted))
    state = job.state or ("not known to have ended" if job.job else "perhaps submitted: its id was not written down")
    return f"block {job.block}, job {job.job or '?'}, {job.name}, {when}: {state}"


def _cancel(options: argparse.Namespace) -> int:
    if goes_on(options.place) and not options.force:
        raise ParslPoolError(f"{options.place}: this run goes on; its program ends its blocks (or give --force)")
    are_all = True
    for journal in _journals(options.place):
        for text, is_well in _ended(journal):
            print(f"{journal.label}: {text}")
            are_all = are_all and is_well
    if are_all:
        mark = os.path.join(options.place, JOBS_LEFT)
        if os.path.exists(mark):
            os.unlink(mark)
    return 0 if are_all else FAILED


def _ended(journal: JournalRead) -> Iterator[tuple[str, bool]]:
    """End what is left: what is to be said of each, and whether nothing of it is left."""
    if not journal.left:
        yield "nothing is left", True
        return
    provider = journal.provider()
    try:
        for job in _with_ids(journal, provider):
            if not job.job:
                journal.ended(job.block, "NEVER")
                yield f"block {job.block}: the scheduler knows of no job {job.name}", True
                continue
            state = _end(provider, job.job)
            if state:
                journal.ended(job.block, state)
            yield f"block {job.block}, job {job.job}: {state or 'could not be cancelled'}", bool(state)
    finally:
        provider.close()


def _with_ids(journal: JournalRead, provider: Any) -> Iterator[JobRecord]:
    """Also of those that were being submitted when the program was killed."""
    for job in journal.left:
        found = provider.find(job.name) if not job.job else []
        yield job._replace(job=found[0]) if found else job


def _end(provider: Any, job: str) -> str:
    """The job's state, if it is over, or surely will be; "" else."""
    if provider.ends_with_client:
        return "ENDED with its program"
    provider.adopt([job])
    (status,) = provider.status([job])
    if status.terminal:
        return f"{status.status_name} before"
    (done,) = provider.cancel([job])
    return "CANCELLED" if done else ""


def _journals(place: str) -> list[JournalRead]:
    found = journals_in(place)
    if not found:
        raise ParslPoolError(f"{place}: no run that had blocks has left its list there")
    return found
