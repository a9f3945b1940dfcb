"""A real FTP server (pyftpdlib) on a port of loopback, in a process of its own.

    python -m tests.services.ftp_server FOLDER OPTIONS       runs it; OPTIONS is JSON, see `Options`

Anonymous may read, "me" with the password "open-sesame" may write too. Commands that came are in FOLDER/../commands.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
USER, PASSWORD = "me", "open-sesame"


@dataclasses.dataclass(frozen=True)
class Options:
    """What is wrong with it, and whether it speaks TLS.

    Attributes:
        address: where it listens.
        certificate: a file with certificate and key: TLS is asked for by AUTH TLS, and must be.
        cut_after: bytes after which the connections of the first `cuts` downloads end.
        change: what is in the file from the first cut on.
        busy: how many connections are turned away at first.
        without: commands that it does not know.
    """

    address: str = "127.0.0.1"
    certificate: str = ""
    cut_after: int = 0
    cuts: int = 0
    change: str = ""
    busy: int = 0
    without: tuple[str, ...] = ()


def why_not() -> str:
    """Why there can be none; "" if there can."""
    if importlib.util.find_spec("pyftpdlib") is None:
        return "there is no pyftpdlib (it is in the extra 'test')"
    return ""


class FtpServer:
    """One that runs, until `stop`."""

    def __init__(self, folder: Path, options: Options) -> None:
        self.folder = folder / "files"
        self.folder.mkdir(parents=True)
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(self.folder), json.dumps(dataclasses.asdict(options))],
            stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True, cwd=ROOT,
        )  # fmt: skip
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        self.address = options.address
        self._scheme = "ftps" if options.certificate else "ftp"

    def url(self, path: str, user: str = "") -> str:
        return f"{self._scheme}://{user}{self.address}:{self.port}/{path}"

    def commands(self) -> list[str]:
        """Those that came, but for the ones that are the same in every session."""
        dull = {"USER", "PASS", "TYPE", "PASV", "EPSV", "QUIT", "AUTH", "PBSZ", "PROT"}
        file = self.folder.parent / "commands"
        lines = file.read_text().splitlines() if file.exists() else []
        return [line for line in lines if line.split()[0] not in dull]

    def stop(self) -> None:
        self._process.kill()
        self._process.communicate()


def main() -> None:
    folder, options = Path(sys.argv[1]), Options(**json.loads(sys.argv[2]))
    authorizer = importlib.import_module("pyftpdlib.authorizers").DummyAuthorizer()
    authorizer.add_anonymous(str(folder))
    authorizer.add_user(USER, PASSWORD, str(folder), perm="elradfmwMT")
    handler = _handler(folder, options)
    handler.authorizer = authorizer
    server = importlib.import_module("pyftpdlib.servers").FTPServer((options.address, 0), handler)
    print(server.address[1], flush=True)
    server.serve_forever()


def _handler(folder: Path, options: Options) -> Any:
    handlers: Any = importlib.import_module("pyftpdlib.handlers")
    left = {"cuts": options.cuts, "busy": options.busy}

    class Data(handlers.DTPHandler):  # type: ignore[misc]  # it has no types
        def send(self, data: bytes) -> Any:
            if left["cuts"] and self.tot_bytes_sent + len(data) > options.cut_after:
                left["cuts"] -= 1
                if options.change:
                    for file in folder.iterdir():
                        file.write_text(options.change)
                self.cmd_channel.close()
                return 0
            return super().send(data)

    class Ftp(handlers.TLS_FTPHandler if options.certificate else handlers.FTPHandler):  # type: ignore[misc]  # likewise
        use_sendfile = False

        def on_connect(self) -> None:
            if left["busy"]:
                left["busy"] -= 1
                self.respond("421 Too many of you.")
                self.close_when_done()

        def pre_process_command(self, line: str, cmd: str, arg: str) -> None:
            with (folder.parent / "commands").open("a") as log:
                log.write(f"{cmd} {arg}\n")
            if cmd in options.without:
                self.respond("502 Not known here.")
            else:
                super().pre_process_command(line, cmd, arg)

    if options.certificate:
        Ftp.certfile = options.certificate
        Ftp.tls_control_required = Ftp.tls_data_required = True
    else:
        Ftp.dtp_handler = Data
    return Ftp


if __name__ == "__main__":
    main()
