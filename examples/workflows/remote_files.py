"""Files from servers: one is sorted, one is converted. The tasks find them as plain files, whatever brings them.

`remote_files.py URL URL` takes yours, of the web or of an FTP server; without, this program serves two itself.
"""

import sys
import tempfile
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import parsl_pool
from parsl_pool import Config, File, HighThroughputExecutor, bash_app, python_app


@python_app
def in_order(inputs=(), outputs=()):
    with open(inputs[0]) as given, open(outputs[0], "w") as made:
        made.writelines(sorted(given))


@bash_app
def convert(inputs=(), outputs=()):
    return f"tr a-z A-Z < {inputs[0]} > {outputs[0]}"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@contextmanager
def served(folder):
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        Thread(target=server.serve_forever).start()
        yield [f"http://127.0.0.1:{server.server_port}/{name}" for name in ("unsorted.txt", "small.txt")]
        server.shutdown()


def main(urls):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "unsorted.txt").write_text("pear\napple\nfig\n")
        (folder / "small.txt").write_text("small letters\n")
        executor = HighThroughputExecutor(max_workers_per_node=2, working_dir=folder / "working")
        with served(folder) as ours, parsl_pool.load(Config([executor])):
            unsorted, small = urls or ours
            done = [
                in_order(inputs=[File(unsorted)], outputs=[File(folder / "sorted.txt")]),
                convert(inputs=[File(small)], outputs=[File(folder / "large.txt")]),
            ]
            for task in done:
                print(Path(task.outputs[0].result()).read_text(), end="")


if __name__ == "__main__":
    main(sys.argv[1:])
