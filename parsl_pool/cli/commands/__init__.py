"""The sub-commands of `parsl-pool`, a module each: to add one is to add a file here.

A module has a docstring, whose first line is the command's help; `add_arguments(parser)`; and `run(options)`, which
prints to stdout and returns the exit status. It may raise ParslPoolError or OSError, whose texts the user gets. What
is slow to load is imported in `run`.
"""
