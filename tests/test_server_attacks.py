"""The attacks of strangers on `lrpmirror serve` and `lrpmirror sim`, as processes, each as it was first done."""

import os
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Timer

import httpx
import pytest
import trustme
from cli_support import simulated_bbs, started
from patience import PATIENCE
from test_replica_cli import first_line, said, serving
from test_server_http import request

from lrpmirror.model import ActualLRP
from lrpmirror.wire.proto import requests_pb2 as pb

SCHEDULING = "/v1/desired_lrp_scheduling_infos/list"


@contextmanager
def sim(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start the simulation, for as long as the block lasts, and not for ever."""
    pipe = subprocess.PIPE
    process = started("sim", "--listen", "127.0.0.1:0", "--pace", "0", *arguments, stdout=pipe, stderr=pipe)
    limit = Timer(PATIENCE, process.kill)
    limit.start()
    try:
        yield process
    finally:
        limit.cancel()
        process.kill()
        process.communicate()


@contextmanager
def both(*arguments: str) -> Iterator[tuple[subprocess.Popen[bytes], str, str]]:
    """Start a replica with an ops port; return it with both of its URLs, when it is live."""
    with (
        simulated_bbs() as simulation,
        serving("--bbs-url", simulation.url, "--ops-listen", "127.0.0.1:0", *arguments) as process,
    ):
        url, ops = first_line(process), said(process, "readyz at").split()[-1]
        said(process, "live:")
        yield process, url, ops


def connect(url: str) -> socket.socket:
    parts = httpx.URL(url)
    return socket.create_connection((parts.host, parts.port), timeout=PATIENCE)


def ask(url: str, raw: bytes) -> bytes:
    """Send bytes on a connection of their own, and return what is answered until the server closes it."""
    with connect(url) as stream:
        stream.sendall(raw)
        stream.shutdown(socket.SHUT_WR)
        received = b""
        while data := stream.recv(65536):
            received += data
        return received


def get(url: str) -> httpx.Response:
    return httpx.get(url, trust_env=False, timeout=PATIENCE)


def ends_well(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert b"Traceback" not in err


def test_head_and_connect_end_no_process() -> None:
    with both() as (process, url, ops):
        for where, path in ((url, "/v1/ping"), (url, "/v1/events"), (ops, "/healthz"), (ops, "/"), (ops, "/metrics")):
            for method in ("HEAD", "CONNECT", "OPTIONS", "TRACE", "BREW"):
                assert ask(where, request(method, path)).startswith(b"HTTP/1.1 ")
        assert ask(ops, request("HEAD", "/healthz")).endswith(b"\r\n\r\n")
        assert get(f"{ops}/healthz").text == "alive\n"
        assert b"405" in (refused := ask(ops, request("POST", "/healthz")))
        assert b"Allow: GET, HEAD\r\n" in refused
        found = get(f"{ops}/metrics").text
        assert 'lrpmirror_server_replies_total{server="ops",status="501"} 6.0' in found
        assert 'lrpmirror_server_connections{server="bbs"}' in found
        assert "lrpmirror_server_failures_total{" not in found
        ends_well(process)


def test_head_and_connect_do_not_end_the_simulation() -> None:
    with sim() as process:
        url = first_line(process)
        for path in ("/healthz", "/v1/ping", "/v1/events"):
            for method in ("HEAD", "CONNECT"):
                assert ask(url, request(method, path)).startswith(b"HTTP/1.1 ")
        assert b" 200 " in ask(url, request("POST", "/v1/ping"))
        ends_well(process)


def test_a_cell_with_thousands_of_digits_is_on_the_page() -> None:
    with simulated_bbs() as simulation:
        cell = "cell-" + "9" * 4301
        simulation.call(lambda: simulation.diego.adopt([ActualLRP(process_guid="p", cell_id=cell, epoch="e")]))
        with serving("--bbs-url", simulation.url, "--ops-listen", "127.0.0.1:0") as process:
            ops = said(process, "readyz at").split()[-1]
            said(process, "live:")
            assert cell[:300] + "…" in [each["cell_id"] for each in get(f"{ops}/page/state").json()["cells"]]
            ends_well(process)


def test_a_state_file_whose_name_is_no_text_is_told_of(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/\xff"
    Path(os.fsdecode(path)).write_bytes(b"no state")
    with both("--state-file", os.fsdecode(path)) as (process, _, ops):
        assert "\\udcff" in get(f"{ops}/readyz").json()["last_error"]
        assert "\\udcff" in get(f"{ops}/page/state").json()["last_error"]
        ends_well(process)


@pytest.mark.parametrize(
    ("names", "status"),
    [(["a"] * 1_000_000, 413), (["a"] * 100_000, 200), (["a" * number for number in range(1, 900)], 200)],
)
def test_one_request_does_not_freeze_a_server(names: list[str], status: int) -> None:
    body = pb.DesiredLRPsRequest(app_guids=names).SerializeToString()
    with simulated_bbs() as simulation, serving("--bbs-url", simulation.url) as process:
        url = first_line(process)
        said(process, "live:")
        for where in (url, simulation.url):
            reply = ask(where, request("POST", SCHEDULING, f"Content-Length: {len(body)}", body=body[: 1024 * 1024]))
            assert reply.startswith(b"HTTP/1.1 %d " % status)
            assert b" 200 " in ask(where, request("POST", "/v1/ping"))


def test_half_heads_leave_descriptors_to_the_mirror_and_room_for_others() -> None:
    with ExitStack() as stack:
        simulation = stack.enter_context(simulated_bbs())
        limits = "--ops-listen", "127.0.0.1:0", "--bbs-url", simulation.url
        process = stack.enter_context(serving(*limits, files=256))
        url, ops = first_line(process), said(process, "readyz at").split()[-1]
        said(process, "live:")
        for where in [*[url] * 300, *[ops] * 200]:
            stack.enter_context(connect(where)).sendall(b"GET / HTTP/1.1\r\nHost")
        assert get(f"{ops}/readyz").status_code == 200
        assert b" 200 " in ask(url, request("POST", "/v1/ping"))
        simulation.call(simulation.served.host.cut)
        said(process, "stale:")
        said(process, "live:")
        assert len(list(Path(f"/proc/{process.pid}/fd").iterdir())) < 256
        ends_well(process)


# Certificates


def test_a_server_takes_up_renewed_files_and_looks_again_at_sighup(tmp_path: Path) -> None:
    ca, server, client = (tmp_path / name for name in ("ca.pem", "server.pem", "client.pem"))
    authority = trustme.CA()
    authority.cert_pem.write_to_path(ca)
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(server)
    authority.issue_cert("client").private_key_and_cert_chain_pem.write_to_path(client)
    trusting = ssl.create_default_context(cafile=ca)
    trusting.load_cert_chain(client, client)

    def shown(url: str) -> bytes | None:
        with connect(url) as plain, trusting.wrap_socket(plain, server_hostname="127.0.0.1") as stream:
            return stream.getpeercert(binary_form=True)

    files = ("--server-ca-file", str(ca), "--server-cert-file", str(server), "--server-key-file", str(server))
    with sim(*files) as process:
        url = first_line(process)
        before = shown(url)
        assert shown(url) == before
        server.write_bytes(authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.bytes())
        assert shown(url) not in {before, None}
        process.send_signal(signal.SIGHUP)
        assert "are those in use" in said(process, "SIGHUP")
        server.write_bytes(server.read_bytes()[:100])
        process.send_signal(signal.SIGHUP)
        assert "cannot be used: TLS certificate" in said(process, "SIGHUP")
        assert shown(url)
        server.write_bytes(authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.bytes())
        process.send_signal(signal.SIGHUP)
        assert "are taken up" in said(process, "SIGHUP: ")
        ends_well(process)


def test_sighup_ends_no_replica_and_loses_no_state(tmp_path: Path) -> None:
    path = tmp_path / "state"
    with both("--state-file", str(path)) as (process, _, ops):
        process.send_signal(signal.SIGHUP)
        assert "there are no TLS files" in said(process, "SIGHUP")
        assert get(f"{ops}/readyz").status_code == 200
        ends_well(process)
    assert path.exists()
