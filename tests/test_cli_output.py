"""What commands print: results that cannot be written are said in a line, and nothing printed moves a terminal."""

import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from patience import PATIENCE

from lrpmirror.cli import main
from lrpmirror.cli.shared.output import escaped, print_lines
from lrpmirror.model import CellPresence
from lrpmirror.wire import json

LISTENING = "0A"
"""The state of a socket, as the kernel writes it."""

BEGIN = "import sys; from lrpmirror.cli import main; sys.exit(main())"


def shell(arguments: str, redirected: str, **options: Any) -> "subprocess.CompletedProcess[str]":
    command = f"{sys.executable} -W error -c '{BEGIN}' {arguments} {redirected}"
    return subprocess.run(
        ["/bin/sh", "-c", command], check=False, capture_output=True, text=True, timeout=PATIENCE, **options
    )


@pytest.mark.parametrize("arguments", ["completion bash", "--version"])
@pytest.mark.parametrize(
    ("redirected", "why"),
    [(">/dev/full", "No space left on device"), (">&-", "(it is closed|Bad file descriptor)")],
)
def test_what_cannot_be_written_is_said_in_a_line(arguments: str, redirected: str, why: str) -> None:
    done = shell(arguments, redirected)
    assert done.returncode == 1
    assert re.fullmatch(rf"lrpmirror( completion)?: stdout cannot be written: {why}\n", done.stderr)


@pytest.mark.parametrize("redirected", ["2>/dev/full", "2>&-", "2>&- <&-"])
def test_who_cannot_be_told_anything_has_the_results_all_the_same(redirected: str) -> None:
    done = shell("--version", redirected)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("lrpmirror ")


@pytest.mark.parametrize("redirected", ["2>/dev/full", "2>&-"])
def test_an_error_that_nobody_hears_is_in_the_exit_status_and_not_among_the_results(redirected: str) -> None:
    done = shell("nonsense", redirected)
    assert (done.returncode, done.stdout) == (2, "")


def port_of(server: "subprocess.Popen[str]") -> int:
    """Wait until a process listens, and return where, which it cannot say itself."""
    while server.poll() is None:
        with suppress(FileNotFoundError):
            sockets = {str(one.readlink()) for one in Path(f"/proc/{server.pid}/fd").iterdir()}
            for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
                _, local, _, state, *_ = fields = line.split()
                if state == LISTENING and f"socket:[{fields[9]}]" in sockets:
                    return int(local.rpartition(":")[2], 16)
        time.sleep(0.01)
    pytest.fail(f"it has ended with {server.returncode}")


@pytest.mark.parametrize("redirected", [">/dev/full", ">&-", ">/dev/full 2>/dev/full"])
def test_a_server_serves_also_where_it_cannot_say_at_which_address(redirected: str) -> None:
    command = f"exec {sys.executable} -W error -c '{BEGIN}' sim --listen 127.0.0.1:0 --cells 1 --apps 1 {redirected}"
    with subprocess.Popen(["/bin/sh", "-c", command], stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            if "2>" not in redirected:
                assert "a simulated Diego" in server.stderr.readline()
                assert "could not be written to stdout" in server.stderr.readline()
            url = f"http://127.0.0.1:{port_of(server)}"
            for _ in range(2):
                assert httpx.post(f"{url}/v1/ping", trust_env=False, timeout=PATIENCE).status_code == 200
            assert server.poll() is None
            server.send_signal(signal.SIGINT)
            assert server.wait(PATIENCE) in (0, 130)
        finally:
            server.kill()


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("\x9b2J", '"\\u009b2J"'),
        ("\x7f\x80\x9f\xa0", '"\\u007f\\u0080\\u009f\xa0"'),
        ("\x1b[2J", '"\\u001b[2J"'),
        ("Zürich Â 東京", '"Zürich Â 東京"'),
    ],
)
def test_json_that_is_printed_has_no_control_character_in_it(
    text: str, printed: str, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    line = escaped(json.dumps(CellPresence(cell_id=text)))
    assert f'"cell_id":{printed}'.encode() in line
    assert json.loads(CellPresence, line).cell_id == text, "it is the same value"
    print_lines([json.dumps(CellPresence(cell_id=text))])
    assert capfdbinary.readouterr().out == line + b"\n"


def test_the_command_can_be_called_in_a_program(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("lrpmirror ")
