"""Files from task to task: some that make numbers, one that puts them together, one that sums them up."""

import tempfile
from pathlib import Path

import parsl_pool
from parsl_pool import Config, File, HighThroughputExecutor, bash_app, python_app


@bash_app
def generate(count, outputs=()):
    return f"seq 1 {count} > {outputs[0]}"


@bash_app
def concatenate(inputs=(), outputs=()):
    return f"cat {' '.join(map(str, inputs))} > {outputs[0]}"


@python_app
def total(inputs=()):
    return sum(int(line) for line in open(inputs[0]))


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with parsl_pool.load(Config([HighThroughputExecutor(max_workers_per_node=2)])):
            parts = [generate(10 * n, outputs=[File(folder / f"part{n}")]) for n in range(1, 6)]
            whole = concatenate(inputs=[part.outputs[0] for part in parts], outputs=[File(folder / "whole")])
            print(total(inputs=[whole.outputs[0]]).result())


if __name__ == "__main__":
    main()
