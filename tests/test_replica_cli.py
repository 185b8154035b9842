"""`lrpmirror serve`, as a process."""

import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Timer

import httpx
import pytest
import trustme
from cli_support import simulated_bbs, started
from patience import PATIENCE

from lrpmirror.cli import main
from lrpmirror.errors import ConfigurationError
from lrpmirror.serve.listening import Address, checked_tls, parse_address


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def serving(
    *arguments: str, listen: str = "127.0.0.1:0", files: int | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Start the command, for as long as the block lasts, and not for ever; with so many open files."""
    pipe = subprocess.PIPE
    process = started("serve", "--listen", listen, *arguments, stdout=pipe, stderr=pipe)
    if files is not None:
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (files, files))
    limit = Timer(PATIENCE, process.kill)
    limit.start()
    try:
        yield process
    finally:
        limit.cancel()
        process.kill()
        process.communicate()


def first_line(process: subprocess.Popen[bytes]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().decode().strip()


def said(process: subprocess.Popen[bytes], what: str) -> str:
    """Read what a process says until it says that."""
    assert process.stderr is not None
    for line in process.stderr:
        if what in line.decode():
            return line.decode()
    pytest.fail(f"it ended without saying {what!r}")


def listed(url: str, *options: str) -> list[str]:
    process = started("domains", "--bbs-url", url, *options, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    return out.decode().splitlines()


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_it_is_stopped_and_ends_quietly(stop: signal.Signals) -> None:
    with simulated_bbs() as simulation, serving("--bbs-url", simulation.url) as process:
        url = first_line(process)
        assert url.startswith("http://127.0.0.1:")
        assert " actual and " in said(process, "live:")
        assert listed(url) == ['"cf-apps"']
        process.send_signal(stop)
        _, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0
        assert b"Traceback" not in err


def test_it_says_that_it_has_lost_the_bbs_and_has_it_again() -> None:
    with simulated_bbs() as simulation, serving("--bbs-url", simulation.url) as process:
        said(process, "live:")
        simulation.call(simulation.served.host.cut)
        assert "stream" in said(process, "stale:")
        said(process, "live:")


def test_with_a_state_file_it_begins_with_what_it_knew(tmp_path: Path) -> None:
    path = tmp_path / "state"
    options = ("--state-file", str(path))
    with simulated_bbs() as simulation:
        with serving("--bbs-url", simulation.url, *options) as process:
            known = said(process, "live:").partition("live: ")[2]
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=PATIENCE)
        assert path.stat().st_mode & 0o777 == 0o600
        url = simulation.url
    with serving("--bbs-url", url, *options) as process:
        assert known.strip() in said(process, "stale:")


def test_metrics_and_health_are_at_an_address_of_their_own() -> None:
    with simulated_bbs() as simulation, serving("--bbs-url", simulation.url, "--ops-listen", "127.0.0.1:0") as process:
        url = said(process, "readyz at").split()[-1]
        said(process, "live:")
        assert httpx.get(f"{url}/readyz", trust_env=False).status_code == 200
        assert "lrpmirror_replica_subscribers" in httpx.get(f"{url}/metrics", trust_env=False).text
        assert httpx.get(f"{url}/healthz", trust_env=False).status_code == 200
        assert httpx.get(f"{url}/v1/ping", trust_env=False).status_code == 404


def test_metrics_and_health_are_beside_the_bbs_paths_where_the_address_is_the_same() -> None:
    address = f"127.0.0.1:{free_port()}"
    with (
        simulated_bbs() as simulation,
        serving("--bbs-url", simulation.url, "--ops-listen", address, listen=address) as process,
    ):
        said(process, "live:")
        assert httpx.get(f"http://{address}/healthz", trust_env=False).status_code == 200
        assert listed(f"http://{address}") == ['"cf-apps"']


def test_it_serves_with_mutual_tls_from_files(tmp_path: Path) -> None:
    ca, server, client = (tmp_path / name for name in ("ca.pem", "server.pem", "client.pem"))
    authority = trustme.CA()
    authority.cert_pem.write_to_path(ca)
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(server)
    authority.issue_cert("client").private_key_and_cert_chain_pem.write_to_path(client)
    files = ("--server-ca-file", str(ca), "--server-cert-file", str(server), "--server-key-file", str(server))
    with simulated_bbs() as simulation, serving("--bbs-url", simulation.url, *files) as process:
        url = first_line(process)
        assert url.startswith("https://")
        said(process, "live:")
        known = ("--ca-cert-file", str(ca), "--client-cert-file", str(client), "--client-key-file", str(client))
        assert listed(url, *known) == ['"cf-apps"']


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--listen", "0.0.0.0:0"], "--insecure-listen"),
        (["--listen", ":0"], "--insecure-listen"),
        (["--listen", "127.0.0.1:0", "--ops-listen", "0.0.0.0:0"], "--insecure-listen"),
        (["--listen", "nowhere"], "HOST:PORT"),
        (["--listen", "127.0.0.1:0", "--server-ca-file", "ca.pem"], "three files"),
        (["--listen", "127.0.0.1:0"], "--bbs-url"),
        ([], "--listen"),
    ],
)
def test_what_cannot_be_served_is_said_in_one_line(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BBS_URL", raising=False)
    assert main(["serve", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("lrpmirror serve: ")
    assert says in line


def test_a_port_that_is_taken_is_said_in_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with serving("--bbs-url", "http://127.0.0.1:9", listen=f"127.0.0.1:{port}") as process:
            _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2
    (line,) = err.decode().splitlines()
    assert "cannot listen" in line


def test_without_the_extra_the_option_that_needs_it_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.startswith(("lrpmirror.serve.ops", "lrpmirror.serve.metrics"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    arguments = ["--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0", "--bbs-url", "http://127.0.0.1:9"]
    assert main(["serve", *arguments]) == 2
    assert "pip install 'lrpmirror[serve]'" in capsys.readouterr().err


# Addresses


@pytest.mark.parametrize(
    ("text", "address", "loopback"),
    [
        ("127.0.0.1:8889", Address("127.0.0.1", 8889), True),
        ("localhost:0", Address("localhost", 0), True),
        ("[::1]:80", Address("::1", 80), True),
        (":8889", Address("0.0.0.0", 8889), False),  # noqa: S104 - that is what it means
        ("10.0.0.1:8889", Address("10.0.0.1", 8889), False),
        ("bbs.service.cf.internal:8889", Address("bbs.service.cf.internal", 8889), False),
    ],
)
def test_an_address_is_read_and_known_to_be_reachable_or_not(text: str, address: Address, loopback: bool) -> None:
    assert parse_address(text) == address
    assert address.is_loopback is loopback
    assert parse_address(str(address)) == address


@pytest.mark.parametrize("text", ["", "8889", "host", "host:", "host:x", "host:70000", "http://host:1", "a@b:1", "[::"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="HOST:PORT"):
        parse_address(text)


def test_an_address_that_others_can_reach_is_served_without_tls_only_where_that_is_said() -> None:
    everywhere = Address("10.0.0.1", 1)
    with pytest.raises(ConfigurationError, match="insecure-listen"):
        checked_tls(everywhere, ca=None, cert=None, key=None, insecure=False)
    assert checked_tls(everywhere, ca=None, cert=None, key=None, insecure=True) is None
