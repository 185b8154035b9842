"""`lrpmirror sim`: a simulated Diego for anyone's tests."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
import trustme
from cli_query_support import interactive

from lrpmirror.cli import main
from lrpmirror.client import TLS, BBSClient
from lrpmirror.errors import BBSError, ConnectionFailed, WireError
from lrpmirror.sim import Rates


def served(use: Callable[[str], None], *options: str) -> int:
    """Serve on a free port, use the URL that is printed, press Ctrl-C; return the exit status."""
    return interactive(lambda out: use(out.line().decode()), "sim", "--listen", "127.0.0.1:0", *options)


def asked(url: str, tls: TLS | None = None) -> tuple[Any, ...]:
    """How many cells, desired LRPs and rows there are, and the rows."""

    async def ask() -> tuple[Any, ...]:
        async with BBSClient(url, tls=tls) as client:
            return len(await client.cells()), len(await client.desired_lrps()), await client.actual_lrps()

    return trio.run(ask)


def test_it_serves_a_simulation_of_the_size_asked_for(capfd: pytest.CaptureFixture[str]) -> None:
    found: list[Any] = []
    options = ("--cells", "3", "--apps", "5", "--pace", "0", "--rate", "deploys=0", "--rate", "cell_losses=0")
    assert served(lambda url: found.extend(asked(url)), *options) == 0
    assert found[:2] == [3, 5]
    assert len(found[2]) >= 5
    out, err = capfd.readouterr()
    assert out == ""
    assert (
        err == f"lrpmirror sim: a simulated Diego: 3 cells, 5 desired LRPs, {len(found[2])} instances; Ctrl-C ends it\n"
    )


def test_one_seed_is_one_simulation() -> None:
    found: list[Any] = []
    for seed in ("7", "7", "8"):
        served(lambda url: found.append(asked(url)[2]), "--seed", seed, "--pace", "0", "--apps", "4")
    assert found[0] == found[1]
    assert found[0] != found[2]


def test_it_lives_at_its_pace() -> None:
    async def changes(url: str) -> int:
        async with BBSClient(url) as client, client.events("instances") as stream:
            return len(await anext(aiter(stream)))

    found: list[int] = []
    assert served(lambda url: found.append(trio.run(changes, url)), "--pace", "50") == 0
    assert found[0] > 0


def test_its_size_and_events_are_as_asked_for() -> None:
    found: list[Any] = []
    rates = [f"--rate={name}=0" for name in Rates.__struct_fields__]
    served(lambda url: found.extend(asked(url)), "--instances", "70", "--apps", "7", "--pace", "0", *rates)
    assert len(found[2]) == 70

    async def second(url: str) -> int:
        async with BBSClient(url) as client, client.events("instances") as stream:
            return len(await anext(aiter(stream)))

    served(lambda url: found.append(trio.run(second, url)), "--events-per-second", "40", "--instances", "70", *rates)
    assert found[-1] >= 10


def test_what_is_asked_to_go_wrong_does() -> None:
    def use(url: str) -> None:
        with pytest.raises((BBSError, WireError)):
            asked(url)

    served(use, "--pace", "0", "--fault", "truncated_lists=1")


def test_with_tls_a_client_needs_a_certificate(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    for name in ("127.0.0.1", "client"):
        made = authority.issue_cert(name)
        made.private_key_pem.write_to_path(str(tmp_path / f"{name}.key"))
        made.cert_chain_pems[0].write_to_path(str(tmp_path / f"{name}.pem"))
    ca = tmp_path / "ca.pem"
    files = [str(ca), str(tmp_path / "127.0.0.1.pem"), str(tmp_path / "127.0.0.1.key")]
    options = [f"--server-{name}-file={file}" for name, file in zip(("ca", "cert", "key"), files, strict=True)]

    def use(url: str) -> None:
        assert url.startswith("https://")
        assert asked(url, TLS(ca=ca, cert=tmp_path / "client.pem", key=tmp_path / "client.key"))[0] == 5
        with pytest.raises(ConnectionFailed):
            asked(url, TLS(ca=ca))

    assert served(use, "--pace", "0", *options) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--listen", "8889"], "'8889' is no address to listen on: give HOST:PORT"),
        (["--listen", "127.0.0.1:99999"], "'127.0.0.1:99999' is no address"),
        (["--listen", "0.0.0.0:8889"], "can be reached by others"),
        (["--pace", "-1"], "'-1' needs a number that is not negative"),
        (["--pace", "fast"], "'fast' needs a number that is not negative"),
        (["--rate", "deploys"], "'deploys' needs a number that is not negative"),
        (["--rate", "sunsets=1"], "'sunsets=1': there is no such name; these are: deploys, "),
        (["--fault", "deploys=1"], "'deploys=1': there is no such name; these are: cuts, "),
        (["--fault", "lose=2"], "give a chance between 0 and 1"),
        (["--server-ca-file", "ca.pem"], "give --server-ca-file, --server-cert-file and --server-key-file"),
        (["--cells", "0"], "'0' is not a positive whole number"),
    ],
)
def test_what_cannot_be_served_is_refused_in_a_line(
    options: list[str], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["sim", *options]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert message in err
    assert err.count("\n") == 1


def test_a_port_that_is_taken_is_an_error_in_a_line(capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["sim", "--listen", f"127.0.0.1:{port}", "--pace", "0", "--warm-up", "0"]) == 2
    err = capfd.readouterr().err
    assert f"cannot listen on 127.0.0.1:{port}" in err
    assert err.count("\n") == 1
