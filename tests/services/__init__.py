"""Real services for tests, each started privately for one session of tests: schedulers, with their daemons and nodes.

    python -m tests.services slurm       starts one by hand, until Ctrl-C, and says what to put into the environment

What is needed (root, Debian's packages, name spaces of the kernel) is looked at by `missing` of each service: where
something isn't there, the tests that need the service are skipped, and say what was missing.
"""
