"""CPython's own tests of concurrent.futures, run against ParslPoolExecutor.

test_cpython_suite.py    one pytest test per suite class and pool    (or: python -m tests.cpython)
    runner.py            runs a class in a child process, watches the clock, judges the outcomes
        child.py         in the child: puts our pool in place, runs unittest, reports each event
            pools.py     the pools that can be put in place
            default_context.py   more classes: pools without mp_context
            app_future.py        our futures in the tests of Future
        suite.py         where this interpreter's suite is, and which classes it must have
    exclusions.py        the tests that we fail on purpose, each with its reason
"""
