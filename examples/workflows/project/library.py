"""What is computed: apps, which know nothing of where they run."""

from parsl_pool import python_app


@python_app
def increment(x):
    return x + 1
