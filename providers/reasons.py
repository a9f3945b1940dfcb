"""Why a job waits, in plain words: what the short reasons mean that schedulers give.

Slurm's are those of squeue(1), "JOB REASON CODES". The other schedulers give sentences themselves.
"""

from __future__ import annotations

import re

_MEANINGS = {
    "Priority": "jobs with a higher priority are before it",
    "Resources": "it is next, as soon as enough nodes are free",
    "None": "the scheduler has not looked at it yet",
    "Dependency": "it waits for another job",
    "BeginTime": "its time to begin has not come; a job that is requeued waits for some minutes",
    "Licenses": "it waits for a licence",
    "Reservation": "it waits for its reservation to begin",
    "JobHeldUser": "it is held, by you: scontrol release",
    "JobHeldAdmin": "it is held, by an administrator",
    "JobLaunchFailure": "it could not be started on its nodes; ask the administrators",
    "NonZeroExitCode": "it ended with an exit code that is not 0",
    "PartitionDown": "the partition is closed for now: wait, or take another partition",
    "PartitionInactive": "the partition is closed for now, and will not start jobs: take another partition",
    "PartitionNodeLimit": "it asks for more nodes than the partition gives to a job: lower nodes_per_block",
    "PartitionTimeLimit": "it asks for more time than the partition allows: lower walltime",
    "PartitionConfig": "it asks for what the partition does not have",
    "ReqNodeNotAvail": "the nodes that it may use are down, or reserved for a maintenance before its walltime is over",
    "NodeDown": "a node that it needs is down",
    "BadConstraints": "no node has what it asks for: see constraint, cores_per_node, mem_per_node, scheduler_options",
    "InvalidAccount": "the account is not one of yours on this cluster",
    "InvalidQOS": "the qos is not one that this account may use",
    "TimeLimit": "it has reached its walltime",
    "SystemFailure": "the scheduler or a node failed",
    "FrontEndDown": "no front end of the cluster is up",
    "Cleaning": "it is being requeued, and its last run is cleaned up",
    "Prolog": "its nodes are being prepared",
    "QOSNotAllowed": "the partition does not take jobs of this qos",
    "AccountNotAllowed": "the partition does not take jobs of this account",
}
_LIMIT = re.compile(r"(?P<whose>Assoc|QOS)(?P<what>\w*?)(?:Limit|Max\w*)")
_WHOSE = {"Assoc": "the account", "QOS": "the qos"}
_CLEAR = frozenset(
    "PartitionNodeLimit PartitionTimeLimit PartitionConfig PartitionInactive BadConstraints InvalidAccount InvalidQOS "
    "QOSNotAllowed AccountNotAllowed JobHeldUser JobHeldAdmin JobLaunchFailure".split()
)


def meaning(reason: str) -> str:
    """In plain words; "" for a reason that speaks for itself, or is not known here."""
    word = _word(reason)
    if word in _MEANINGS:
        return _MEANINGS[word]
    found = _LIMIT.match(word)
    return f"{_WHOSE[found['whose']]} has reached a limit ({word}): its other jobs have to end first" if found else ""


def with_meaning(reason: str) -> str:
    """The scheduler's word, and what it means if that is known."""
    said = meaning(reason)
    return f"{reason} ({said})" if said else reason


def needs_somebody(reason: str) -> bool:
    """True if the job will not start however long it waits, unless somebody changes something."""
    return _word(reason) in _CLEAR


def _word(reason: str) -> str:
    """The code at its beginning: more may stand behind a comma or colon, such as the names of nodes."""
    return re.split(r"[,:; ]", reason.strip(" ()"), maxsplit=1)[0]
