"""The BBS in a process of its own, as the benchmarks see it."""

import http.client
import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import trustme

from benchmarks.server import Script
from lrpmirror import TLS
from lrpmirror.wire.proto import requests_pb2

__all__ = ["ROOT", "STREAM", "Served", "serve"]

ROOT = Path(__file__).parents[1]
"""The folder in which `python -m benchmarks` runs."""

STREAM = "/v1/events/lrp_instances.r1"


class Served:
    """A server that runs."""

    def __init__(self, folder: Path, port: int) -> None:
        self._port = port
        self.url = f"https://127.0.0.1:{port}"
        self.tls = TLS(ca=folder / "ca.pem", cert=folder / "client.pem")
        self.context = ssl.create_default_context(cafile=folder / "ca.pem")
        self.context.load_cert_chain(folder / "client.pem")

    def go(self, *, rate: float = 0.0, number: int = 0) -> None:
        """Start the open streams.

        All frames as fast as they are taken, then the end; or with `rate` so many paced events a second, `number` of
        them, and no end.
        """
        self._say(f"/go?rate={rate}&number={number}")

    def cut(self) -> None:
        """Cut the streams that are open."""
        self._say("/cut")

    def _say(self, path: str) -> None:
        connection = http.client.HTTPSConnection("127.0.0.1", self._port, context=self.context)
        connection.request("POST", path)
        connection.getresponse().read()
        connection.close()

    def own_rate(self, frames: int) -> float:
        """Return how many events a second the server sends to who throws them away, without even decrypting them."""
        with (
            socket.create_connection(("127.0.0.1", self._port)) as plain,
            self.context.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
            socket.socket(fileno=os.dup(connection.fileno())) as below,
        ):
            connection.sendall(f"POST {STREAM} HTTP/1.1\r\nHost: bbs\r\nContent-Length: 0\r\n\r\n".encode())
            connection.recv(65_536)
            self.go()
            began = time.perf_counter()
            while below.recv(1 << 20):
                pass
            return frames / (time.perf_counter() - began)


@contextmanager
def serve(script: Script) -> Iterator[Served]:
    """Run a server in a process of its own, with certificates made for it."""
    script.bodies["/v1/ping"] = requests_pb2.PingResponse(available=True).SerializeToString()
    with TemporaryDirectory(prefix="benchmark-") as name:
        folder = Path(name)
        (folder / "script").write_bytes(msgspec.msgpack.encode(script))
        authority = trustme.CA()
        authority.cert_pem.write_to_path(folder / "ca.pem")
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
        authority.issue_cert("client").private_key_and_cert_chain_pem.write_to_path(folder / "client.pem")
        command = [sys.executable, "-m", "benchmarks.server", str(folder)]
        with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:  # noqa: S603 - our own module
            try:
                line = process.stdout.readline() if process.stdout else b""
                yield Served(folder, int(line))
            finally:
                process.kill()
