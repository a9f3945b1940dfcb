"""For a login node whose sshd forwards ports to its loopback only: passes on what comes to its other addresses.

Program: `relay_program PORT HOST...`. Listens at that port of each host, and brings what comes there to 127.0.0.1:PORT.
Sent there as text, for a Python of its own, perhaps an old one: nothing here is newer than 3.6. It ends with the
SSH connection: nobody reads its standard output any more then.
"""

import asyncio
import select
import socket
import sys

PIECE = 1 << 16
LOOK_S = 1
TRIES = 4
GONE_S = 60


async def pass_on(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    try:
        while True:
            data = await source.read(PIECE)
            if not data:
                break
            target.write(data)
            await target.drain()
    except OSError:
        pass  # either end has gone
    finally:
        target.close()


def keep_an_eye(writer: asyncio.StreamWriter) -> None:
    """The system is to end the connection when that machine is gone without a word."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_KEEPIDLE"):  # else after two hours
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, GONE_S)


async def serve(port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    keep_an_eye(writer)
    try:
        there, back = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        writer.close()
        return
    ways = [asyncio.ensure_future(pass_on(reader, back)), asyncio.ensure_future(pass_on(there, writer))]
    await asyncio.wait(ways)


async def main(port: int, hosts: "list[str]") -> None:
    servers = []
    left = {host: "" for host in hosts}
    for _ in range(TRIES):
        for host in list(left):
            try:
                server = await asyncio.start_server(lambda reader, writer: serve(port, reader, writer), host, port)
            except OSError as problem:  # the sshd listens there itself, or one like this that has not ended yet
                left[host] = str(problem)
            else:
                servers.append(server)
                del left[host]
        if not left:
            break
        await asyncio.sleep(LOOK_S)
    for host, reason in left.items():
        sys.stderr.write(f"{host}: {reason}\n")
    poller = select.poll()
    poller.register(1, 0)
    while servers and not poller.poll(0):
        await asyncio.sleep(LOOK_S)


if __name__ == "__main__":
    asyncio.new_event_loop().run_until_complete(main(int(sys.argv[1]), sys.argv[2:]))
