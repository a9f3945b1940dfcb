"""What real schedulers print, in the form in which their users and manuals have published it; the names are made up."""

from collections.abc import Mapping

import pytest

from parsl_pool.providers.channels.base import CommandResult
from parsl_pool.providers.cluster import ClusterProvider
from parsl_pool.providers.cobalt import CobaltProvider
from parsl_pool.providers.condor import CondorProvider
from parsl_pool.providers.grid_engine import GridEngineProvider
from parsl_pool.providers.lsf import LSFProvider, _from_history
from parsl_pool.providers.pbspro import PBSProProvider
from parsl_pool.providers.seen import Seen, is_over
from parsl_pool.providers.slurm import SlurmProvider
from parsl_pool.providers.states import JobState
from parsl_pool.providers.torque import TorqueProvider

PBSPRO = """\
Job Id: 7600424.pbs02
    Job_Name = parsl_pool.site.0
    Job_Owner = ada@login001.example.org
    resources_used.cpupercent = 103
    resources_used.cput = 00:04:10
    resources_used.mem = 12508kb
    resources_used.ncpus = 8
    resources_used.walltime = 00:04:07
    job_state = F
    queue = c1_workq
    Resource_List.ncpus = 8
    Resource_List.select = 4:ncpus=2:mem=1gb:mpiprocs=2
    Resource_List.walltime = 00:05:00
    substate = 92
    Variable_List = PBS_O_SYSTEM=Linux,PBS_O_SHELL=/bin/bash,
\tPBS_O_HOME=/home/ada,PBS_O_LOGNAME=ada,PBS_O_WORKDIR=/home/ada/runinfo,
\tPBS_O_PATH=/software/bin:/home/ada/local/bin:/usr/lib64/qt-3.3/bin:/opt/
\tpbs/default/bin:/usr/bin:/bin,PBS_O_QUEUE=c1_workq
    comment = Job run at Tue Dec 13 at 14:09 on (node0088:ncpus=2:mem=1048576kb
\t:ngpus=0)+(node0094:ncpus=2:mem=1048576kb:ngpus=0) and finished
    etime = Tue Dec 13 14:09:32 2016
    run_count = 1
    Exit_status = 0
    Submit_arguments = /home/ada/runinfo/parsl_pool.site.0.sh

Job Id: 49223.pbs02
    Job_Name = parsl_pool.site.1
    resources_used.walltime = 00:00:36
    job_state = F
    Resource_List.walltime = 00:00:30
    substate = 93
    comment = Job run at Wed Jun 24 at 15:33 on (n001:ncpus=1) and fa
\tiled
    Exit_status = 271

Job Id: 49224.pbs02
    Job_Name = parsl_pool.site.2
    resources_used.walltime = 00:00:12
    job_state = F
    Resource_List.walltime = 00:30:00
    comment = Job run at Wed Jun 24 at 15:33 on (n001:ncpus=1) and terminated
    Exit_status = 271

Job Id: 49225.pbs02
    Job_Name = parsl_pool.site.3
    job_state = F
    substate = 91
    comment = Not Running: Job would conflict with reservation or top job and terminated

Job Id: 49226.pbs02
    job_state = Q
    comment = Not Running: Insufficient amount of resource: ncpus

Job Id: 49227[].pbs02
    job_state = B
    comment = Job Array Began at Wed Jun 24 at 15:33

Job Id: 69302.pbs02
    job_state = H
    depend = afterok:69301.pbs02@pbs02
    Hold_Types = s

Job Id: 69303.pbs02
    job_state = R
    resources_used.walltime = 01:30:22
    Resource_List.walltime = 24:00:00
    comment = Job run at Tue May 07 at 09:31 on (cn02:ncpus=16)
"""

TORQUE = """\
Job Id: 179.host
    Job_Name = STDIN
    Job_Owner = ada@host
    job_state = C
    queue = batchq
    ctime = Fri Aug 29 14:55:55 2008
    exec_host = node1/0
    Resource_List.nodes = node1
    Variable_List = PBS_O_HOME=/home/ada,PBS_O_LOGNAME=ada,
        PBS_O_PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin,PBS_O_HOST=host,
        BASH_FUNC_module()=() {  eval `/usr/bin/modulecmd bash $*`
}
    sched_hint = Post job file processing error; job 179.host on host node1/0Ba
        d UID for job execution MSG=cannot find user 'ada' in password file
    etime = Fri Aug 29 14:55:55 2008
    exit_status = -1

Job Id: 48[].torque01.example.org
    job_state = C
    comment = Job 48[].torque01 deleted because its dependency of arr
        ay 43[].torque01 can never be satisfied
    exit_status = 271

Job Id: 180.host
    job_state = C
    resources_used.walltime = 00:20:01
    Resource_List.walltime = 00:20:00
    exit_status = -11

Job Id: 181.host
    job_state = C
    resources_used.walltime = 1:00:20:01
    Resource_List.walltime = 24:20:00
    exit_status = 143

Job Id: 182.host
    job_state = Q
"""

# What `bjobs -noheader -o "jobid stat exit_code exit_reason delimiter='|'"` gives.
LSF = """\
Cannot connect to LSF. Please wait ...
4711|RUN|-|-
4712|PEND|-|-
4713|DONE|-|-
4714|EXIT|7|-
4715|EXIT|140|TERM_RUNLIMIT: job killed after reaching LSF run time limit
4716|EXIT|143|TERM_OWNER: job killed by owner
4717|EXIT||TERM_ADMIN: Job killed by root or LSF administrator
4718|EXIT|137|TERM_MEMLIMIT: job killed after reaching LSF memory usage limit
4719|UNKWN|-|-
4720|SSUSP|-|-
"""

LSF_HISTORIES: dict[str, Seen] = {
    # Lines are broken at 80 characters.
    "Thu Mar 13 17:32:05: Done successfully. The CPU time used is 0.1 seconds;": Seen(JobState.COMPLETED, "done", 0),
    "Thu Jun 12 16:10:38: Exited with exit\n                     code 143. The CPU time used is 0.1 seconds;": Seen(
        JobState.FAILED, "exit code 143", 143
    ),
    "Thu Mar 13 17:32:05: Signal <KILL> requested by user or administrator <ada>;\n"
    "Thu Mar 13 17:32:06: Exited by signal 2. The CPU time used is 0.1 seconds;\n"
    "Thu Mar 13 17:32:06: Completed <exit>; TERM_OWNER: job killed by owner;": Seen(
        JobState.CANCELLED, "TERM_OWNER", 130
    ),
    "Mon May  6 22:58:03: Exited by signal 12. The CPU time used is 0.1 seconds;\n"
    "Mon May  6 22:58:03: Completed <exit>; TERM_RUNLIMIT: job killed after reaching LSF run time limit;": Seen(
        JobState.TIMEOUT, "TERM_RUNLIMIT", 140
    ),
    "Thu Jun 12 15:49:02: Unknown; unable to reach the execution host;\nThu Jun 12 16:10:38: Exited; job has been "
    "forced to exit;": Seen(JobState.FAILED, "exited", None),
}

# `-af:,` puts a comma after a value, and there is a blank between two values all the same.
CONDOR = """\
12, 0, 2, undefined, undefined
13, 0, 4, 0, undefined
13, 1, 1, undefined, undefined
14, 0, 5, undefined, Error from slot1@n1: Failed to execute '/home/ada/x.sh': (errno=8: 'Exec format error')
15, 0, 7, undefined, undefined
"""
CONDOR_HISTORY = """\
16, 0, 4, 0, undefined
17, 0, 4, 7, undefined
18, 0, 3, undefined, via condor_rm (by user ada)
19, 0, 3, undefined, the block has reached its walltime
20, 0, 4, 0, undefined
20, 1, 4, 1, undefined
"""

COBALT = """\
JobID   State      \n===================
 104927  running    \n 104928  queued     \n 104929  user_hold  \n 104930  dep_fail   \n"""


def states(seen: Mapping[str, Seen]) -> dict[str, str]:
    return {job_id: job.state.name for job_id, job in seen.items()}


def test_pbs_professional() -> None:
    seen = PBSProProvider().queue(PBSPRO)
    assert states(seen) == {
        "7600424": "COMPLETED", "49223": "TIMEOUT", "49224": "FAILED", "49225": "CANCELLED", "49226": "PENDING",
        "49227[]": "RUNNING", "69302": "HELD", "69303": "RUNNING",
    }  # fmt: skip
    assert seen["7600424"].reason.endswith("(node0088:ncpus=2:mem=1048576kb:ngpus=0)+(node0094:ncpus=2:mem=1048576kb"
                                           ":ngpus=0) and finished")  # fmt: skip
    assert seen["49223"] == Seen(JobState.TIMEOUT, "Job run at Wed Jun 24 at 15:33 on (n001:ncpus=1) and failed", 271)
    assert seen["49226"].reason == "Not Running: Insufficient amount of resource: ncpus"


def test_torque() -> None:
    seen = TorqueProvider().queue(TORQUE)
    assert states(seen) == {
        "179": "FAILED", "48[]": "FAILED", "180": "TIMEOUT", "181": "TIMEOUT", "182": "PENDING",
    }  # fmt: skip
    assert seen["179"].exit_code == -1
    assert seen["48[]"].reason == "Job 48[].torque01 deleted because its dependency of array 43[].torque01 can never " \
        "be satisfied"  # fmt: skip


@pytest.mark.parametrize(
    "printed, job_id", [("7600424.pbs02\n", "7600424.pbs02"), ("banner of 2 lines\n\n12[].pbs02\n", "12[].pbs02")]
)
def test_ids_of_pbs_are_kept_whole_and_compared_by_their_number(printed: str, job_id: str) -> None:
    """Servers shorten what follows the number, or lengthen it, and arrays have brackets."""
    provider = PBSProProvider()
    assert provider.job_id(printed) == job_id
    (key,) = provider.queue(f"Job Id: {job_id}.and.more\n    job_state = R\n")
    assert provider.key(job_id) == key


def test_lsf() -> None:
    seen = LSFProvider().queue(LSF)
    assert states(seen) == {
        "4711": "RUNNING", "4712": "PENDING", "4713": "COMPLETED", "4714": "FAILED", "4715": "TIMEOUT",
        "4716": "CANCELLED", "4717": "CANCELLED", "4718": "FAILED", "4719": "UNKNOWN", "4720": "HELD",
    }  # fmt: skip
    assert seen["4714"].exit_code == 7 and seen["4717"].exit_code is None
    assert LSFProvider().job_id("Please wait ...\nJob <4711> is submitted to default queue <normal>.\n") == "4711"


@pytest.mark.parametrize("text", LSF_HISTORIES)
def test_what_lsf_remembers(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    provider = LSFProvider()
    monkeypatch.setattr(provider, "_run", lambda command: CommandResult(0, text, ""))
    assert provider.history(["4711"]) == {"4711": LSF_HISTORIES[text]}
    assert _from_history("Thu Mar 13 17:32:05: Submitted from host <h>;") is None


def test_htcondor() -> None:
    seen = CondorProvider().queue(CONDOR)
    assert states(seen) == {"12": "RUNNING", "13": "PENDING", "14": "HELD", "15": "HELD"}
    assert seen["14"].reason.startswith("Error from slot1@n1: Failed to execute '/home/ada/x.sh': (errno=8: 'Exec")
    ended = CondorProvider().queue(CONDOR_HISTORY)
    assert states(ended) == {"16": "COMPLETED", "17": "FAILED", "18": "CANCELLED", "19": "TIMEOUT", "20": "FAILED"}
    assert ended["17"].exit_code == 7 and ended["18"].reason == "via condor_rm (by user ada)"
    assert CondorProvider().job_id("Submitting job(s)..\n2 job(s) submitted to cluster 12.\n") == "12"


def test_cobalt() -> None:
    provider = CobaltProvider()
    assert states(provider.queue(COBALT)) == {
        "104927": "RUNNING", "104928": "PENDING", "104929": "HELD", "104930": "HELD",
    }  # fmt: skip
    assert provider.job_id("Job routed to queue \"debug\".\n104927\n") == "104927"


UNKNOWN: list[tuple[ClusterProvider, str]] = [
    (SlurmProvider(), "12|LEVITATING|None\n"),
    (PBSProProvider(), "Job Id: 12.server\n    job_state = Z\n"),
    (TorqueProvider(), "Job Id: 12.server\n    job_state = Z\n"),
    (LSFProvider(), "12|FLOAT|-|-\n"),
    (GridEngineProvider(), "     12 0.55500 name       user         z     11/21/2026 19:19:39 all.q@host   1\n"),
    (CondorProvider(), "12, 0, 99, undefined, undefined\n"),
    (CobaltProvider(), " 12  levitating  \n"),
]


@pytest.mark.parametrize("provider, printed", UNKNOWN, ids=lambda value: getattr(value, "name", "text"))
def test_a_state_that_nobody_knows_is_unknown_and_not_the_end(provider: ClusterProvider, printed: str) -> None:
    seen = provider.queue(printed)["12"]
    assert seen.state is JobState.UNKNOWN and not is_over(seen)
