"""A scheduler's commands, played: jobs are processes of this machine, what is printed has the real commands' form.

Installed under the commands' names into a directory on PATH. A job is a directory below $FAKE_JOBS: `name`, `pid`,
`code` once it has ended, `deleted` if by a command. What the real commands print, where no real one could be asked, is
from their manuals. Files in $FAKE_JOBS change what the commands do:

    say             text that each prints first, as a login's banner
    slow-NAME       how many seconds that one takes after it has printed
    mute-NAME       it prints nothing
    fail-NAME       it fails
    refuse          what the submit command says on stderr, instead of taking a job
    blind           jobs fail at once and write nothing, as on nodes that do not see the run's directory
    cut-off         jobs run in a network namespace of their own, in which nothing can be reached
    forget          the queue forgets jobs that have ended
"""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

JOBS = Path(os.environ["FAKE_JOBS"])


class Job:
    """A job by its number."""

    def __init__(self, number: str) -> None:
        self.number = number
        self.place = JOBS / "jobs" / number

    def read(self, what: str) -> str:
        file = self.place / what
        return file.read_text() if file.exists() else ""

    @property
    def name(self) -> str:
        return self.read("name")

    @property
    def state(self) -> str:
        """One of: held, running, done, failed, deleted."""
        if self.read("deleted"):
            return "deleted"
        if self.read("code"):
            return "done" if int(self.read("code")) == 0 else "failed"
        return "running" if self.read("pid") else "held"

    @property
    def is_over(self) -> bool:
        return self.state in ("done", "failed", "deleted")

    def delete(self) -> None:
        pid = self.read("pid")
        if not self.is_over:
            (self.place / "deleted").write_text("yes")
            if pid:
                os.killpg(int(pid), signal.SIGTERM)


def submit(script: str, name: str, out: str, err: str) -> Job:
    if (JOBS / "refuse").exists():
        sys.exit((JOBS / "refuse").read_text())
    (JOBS / "jobs").mkdir(exist_ok=True)
    number = 100 + len(list((JOBS / "jobs").iterdir()))
    job = Job(str(number))
    job.place.mkdir()
    (job.place / "name").write_text(name)
    if (JOBS / "blind").exists():
        (job.place / "pid").write_text("0")
        (job.place / "code").write_text("1")
    elif "hold" not in Path(script).read_text().split():
        apart = ["unshare", "--net"] if (JOBS / "cut-off").exists() else []
        run = f"{shlex.quote(script)}; echo $? >{job.place}/c && mv {job.place}/c {job.place}/code"
        with open(out or os.devnull, "ab") as stdout, open(err or os.devnull, "ab") as stderr:
            process = subprocess.Popen(
                [*apart, "/bin/bash", "-c", f"trap : TERM; /bin/bash {run}"], stdin=subprocess.DEVNULL, stdout=stdout,
                stderr=stderr, start_new_session=True,
            )  # fmt: skip
        (job.place / "pid").write_text(str(process.pid))
    return job


def known() -> list[Job]:
    return [Job(path.name) for path in sorted((JOBS / "jobs").glob("*"))]


def listed(numbers: list[str]) -> list[Job]:
    forget = (JOBS / "forget").exists()
    jobs = {job.number: job for job in known() if not (forget and job.is_over)}
    return [jobs[number] for number in numbers if number in jobs]


def directives(script: str, prefix: str) -> dict[str, str]:
    """Options in a script's head: ``-N name`` and ``--name=value`` alike."""
    found = {}
    for line in Path(script).read_text().splitlines():
        if line.startswith(f"{prefix} "):
            option, _, value = line[len(prefix) + 1 :].replace("=", " ", 1).partition(" ")
            if option in found:
                option = f"{option} more"
            found[option] = value.strip().strip('"').replace("%%", "%")
    return found


def numbers(words: list[str]) -> list[str]:
    return [found[0] for word in words if (found := re.match(r"\d+", word))]


# ---- Slurm


def sbatch(words: list[str]) -> int:
    asked = directives(words[-1], "#SBATCH")
    if asked.get("--partition") == "nosuch":
        print("sbatch: error: invalid partition specified: nosuch", file=sys.stderr)
        return 1
    job = submit(words[-1], asked["--job-name"], asked["--output"], asked["--error"])
    print(f"Submitted batch job {job.number}")
    return 0


SLURM = {"held": "PENDING", "running": "RUNNING", "done": "COMPLETED", "failed": "FAILED", "deleted": "CANCELLED"}


def squeue(words: list[str]) -> int:
    named = [word.partition("=")[2] for word in words if word.startswith("--name=")]
    if named:
        print(*(job.number for job in known() if job.name == named[0]), sep="\n")
        return 0
    asked = next(word for word in words if word.startswith("--jobs=")).partition("=")[2].split(",")
    jobs = listed(asked)
    for job in jobs:
        print(f"{job.number}|{SLURM[job.state]}|{'JobHeldUser' if job.state == 'held' else 'None'}")
    if not jobs:
        print("slurm_load_jobs error: Invalid job id specified", file=sys.stderr)
    return 0 if jobs else 1


def scancel(words: list[str]) -> int:
    for number in words:
        Job(number).delete()
    return 0


def sacct(words: list[str]) -> int:
    print("Slurm accounting storage is disabled", file=sys.stderr)
    return 1


# ---- PBS, Torque, Grid Engine, Cobalt: the same names

PBS = {"held": "H", "running": "R", "done": "F", "failed": "F", "deleted": "F"}
GRID_ENGINE = {"held": "hqw", "running": "r"}
COBALT = {"held": "user_hold", "running": "running"}
FLAVOUR = os.environ.get("FAKE_FLAVOUR", "pbs")


def qsub(words: list[str]) -> int:
    script = words[-1]
    if FLAVOUR == "grid_engine":
        asked = directives(script, "#$")
        job = submit(script, asked["-N"], asked["-o"], asked["-e"])
        print(f'Your job {job.number} ("{asked["-N"]}") has been submitted')
    elif FLAVOUR == "cobalt":
        options = dict(zip(words[:-1:2], words[1:-1:2]))
        job = submit(script, options["--jobname"], options["-o"], options["-e"])
        print(job.number)
    else:
        asked = directives(script, "#PBS")
        job = submit(script, asked["-N"], asked["-o"], asked["-e"])
        print(f"{job.number}.server.example.org")
    return 0


def qstat(words: list[str]) -> int:
    if FLAVOUR == "grid_engine":
        return _grid_engine_qstat(words)
    asked = numbers(words)
    jobs = listed(asked)
    if FLAVOUR == "cobalt" and words[:2] == ["--header", "JobName:JobID"]:
        print("JobName   JobID\n===================")
        for job in known():
            print(f"{job.name}  {job.number}" if not job.is_over else "")
        return 0
    if FLAVOUR == "cobalt":
        print("JobID   State\n===================")
        for job in jobs:
            if not job.is_over:
                print(f" {job.number}   {COBALT[job.state]}  ")
        return 0
    for job in jobs:
        print(f"Job Id: {job.number}.server\n    Job_Name = {job.name}\n    job_state = {PBS[job.state]}")
        if job.read("code"):
            print(f"    Exit_status = {job.read('code').strip()}")
        if job.state == "held":
            print("    comment = Job held by user on Sat Nov 21 at 19:00,\n\tuntil it is released")
    for number in set(asked) - {job.number for job in jobs}:
        print(f"qstat: Unknown Job Id {number}.server", file=sys.stderr)
    return 0 if len(jobs) == len(asked) else 153


def _grid_engine_qstat(words: list[str]) -> int:
    if words[0] == "-j":
        named = [job for job in known() if job.name == words[1]]
        for job in named or listed(words[1].split(",")):
            print(f"{'=' * 62}\njob_number:                 {job.number}")
            print("scheduling info:            Job is in hold state" if job.state == "held" else "")
        return 0
    print("job-ID  prior   name       user         state submit/start at     queue      slots ja-task-ID\n" + "-" * 90)
    for job in known():
        if not job.is_over:
            state = GRID_ENGINE[job.state]
            print(f"{job.number:>7} 0.55500 {job.name[:10]} user {state:5} 11/21/2026 19:19:39 all.q@host   1")
    return 0


def qacct(words: list[str]) -> int:
    job = Job(words[1])
    code = job.read("code").strip()
    if not code:
        print(f"error: job id {words[1]} not found", file=sys.stderr)
        return 1
    print(f"{'=' * 62}\njobname      {job.name}\nfailed       0    \nexit_status  {code}                   ")
    return 0


def qdel(words: list[str]) -> int:
    for number in numbers(words):
        Job(number).delete()
    return 0


def qselect(words: list[str]) -> int:
    print(*(f"{job.number}.server" for job in known() if words[:1] != ["-N"] or job.name == words[1]), sep="\n")
    return 0


# ---- LSF

LSF = {"held": "PSUSP", "running": "RUN", "done": "DONE", "failed": "EXIT", "deleted": "EXIT"}


def bsub(words: list[str]) -> int:
    script = words[-1] if words else os.readlink("/proc/self/fd/0")
    asked = directives(script, "#BSUB")
    job = submit(script, asked["-J"], asked["-o"], asked["-e"])
    print(f"Job <{job.number}> is submitted to queue <normal>.")
    return 0


def bjobs(words: list[str]) -> int:
    if words[-2] == "-J":
        print(*(job.number for job in known() if job.name == words[-1]), sep="\n")
        return 0
    asked = numbers(words)
    jobs = listed(asked)
    if "-p" in words:
        print("JOBID   USER    STAT  QUEUE      FROM_HOST   JOB_NAME   SUBMIT_TIME")
        for job in jobs:
            print(f"{job.number}    user1   PSUSP normal     hostA       x          Oct 15 10:01")
            print(" The job was suspended by the user while pending;")
    else:
        for job in jobs:
            code = job.read("code").strip() if job.state == "failed" else "-"
            print(f"{job.number}|{LSF[job.state]}|{code}|-")
    for number in set(asked) - {job.number for job in jobs}:
        print(f"Job <{number}> is not found", file=sys.stderr)
    return 0 if len(jobs) == len(asked) else 255


def bhist(words: list[str]) -> int:
    job = Job(words[-1])
    if not job.is_over:
        print("No matching job found", file=sys.stderr)
        return 255
    fold = "\n                     "
    end = f"Done success{fold}fully"
    if job.state != "done":
        end = f"Exited with exit co{fold}de {job.read('code').strip() or 143}"
    print(f"Job <{job.number}>, Job Name <{job.name}>\nSat Nov 21 19:00:00: {end}. The CPU time used is 0.1 seconds;")
    return 0


def bkill(words: list[str]) -> int:
    return qdel(words)


# ---- HTCondor

CONDOR = {"held": 5, "running": 2, "done": 4, "failed": 4, "deleted": 3}


def condor_submit(words: list[str]) -> int:
    facts = dict(re.findall(r"^([+\w]+) = (.*)$", Path(words[-1]).read_text(), re.MULTILINE))
    job = submit(facts["executable"], facts["batch_name"], facts["output"], facts["error"])
    print(f"Submitting job(s).\n1 job(s) submitted to cluster {job.number}.")
    return 0


def condor_q(words: list[str]) -> int:
    if words[0] == "-constraint":
        print(*(job.number for job in known() if words[1] == f'JobBatchName == "{job.name}"'), sep="\n")
        return 0
    for job in listed(numbers(words)):
        if not job.is_over:
            _condor_line(job, "via condor_hold (by user user1)" if job.state == "held" else "undefined")
    return 0


def condor_history(words: list[str]) -> int:
    for job in known():
        if job.number in numbers(words) and job.is_over:
            _condor_line(job, "via condor_rm (by user user1)" if job.state == "deleted" else "undefined")
    return 0


def _condor_line(job: Job, reason: str) -> None:
    print(f"{job.number}, 0, {CONDOR[job.state]}, {job.read('code').strip() or 'undefined'}, {reason}")


def condor_rm(words: list[str]) -> int:
    return qdel(words)


def main() -> int:
    command = os.path.basename(sys.argv[0])
    with open(JOBS / "calls", "a") as calls:
        calls.write(shlex.join([command, *sys.argv[1:]]) + "\n")
    if (JOBS / "say").exists():
        print((JOBS / "say").read_text())
    if (JOBS / f"mute-{command}").exists():
        sys.stdout = open(os.devnull, "w")
    code: int = globals()[command](sys.argv[1:]) if not (JOBS / f"fail-{command}").exists() else 1
    if code and (JOBS / f"fail-{command}").exists():
        print(f"{command}: cannot connect to server", file=sys.stderr)
    if (JOBS / f"slow-{command}").exists():
        sys.stdout.flush()
        time.sleep(float((JOBS / f"slow-{command}").read_text()))
    return code


if __name__ == "__main__":
    sys.exit(main())
