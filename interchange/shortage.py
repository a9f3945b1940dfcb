"""What the system refuses, in words that say which limit it is and who can raise it."""

from __future__ import annotations

import errno

_LIMITS = {
    errno.EMFILE: "a process may have no more open files: see RLIMIT_NOFILE, `ulimit -n`",
    errno.ENFILE: "this machine can have no more open files",
    errno.EAGAIN: "there can be no more processes or threads: see RLIMIT_NPROC, `ulimit -u`, or a container's limit",
    errno.ENOMEM: "no more memory: see RLIMIT_AS, `ulimit -v`, or a container's limit",
    errno.EFBIG: "files may not be so large, and shared memory counts as one: see RLIMIT_FSIZE, `ulimit -f`",
    errno.ENOSPC: "the file system is full",
    errno.EDQUOT: "the user's disk quota is used up",
}


def describe(problem: BaseException) -> str:
    """The error, and the limit that it speaks of if it is one."""
    text = str(problem) or type(problem).__name__
    if isinstance(problem, MemoryError):
        limit: str | None = _LIMITS[errno.ENOMEM]
    elif isinstance(problem, RuntimeError) and "new thread" in text:
        limit = _LIMITS[errno.EAGAIN]
    else:
        limit = _LIMITS.get(getattr(problem, "errno", None) or 0)
    return f"{text} ({limit})" if limit else text


def allow_files(count: int) -> None:
    """Have this process and its children open so many files, or as many as they may: the usual limit is for
    programs that use select(2)."""
    import resource  # not every process needs it

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (ValueError, OSError):
            return  # macOS has another, hidden limit
