"""What commands print: results that cannot be written are said in a line, and nothing printed moves a terminal."""

import re
import signal
import subprocess
import sys
from typing import Any

import pytest

from lrpmirror.cli import main
from lrpmirror.cli.shared.output import escaped, print_lines
from lrpmirror.model import CellPresence
from lrpmirror.wire import json

BEGIN = "import sys; from lrpmirror.cli import main; sys.exit(main())"


def shell(arguments: str, redirected: str, **options: Any) -> "subprocess.CompletedProcess[str]":
    command = f"{sys.executable} -W error -c '{BEGIN}' {arguments} {redirected}"
    return subprocess.run(
        ["/bin/sh", "-c", command], check=False, capture_output=True, text=True, timeout=60, **options
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


@pytest.mark.parametrize("redirected", [">/dev/full", ">&-", ">/dev/full 2>/dev/full"])
def test_a_server_serves_also_where_it_cannot_say_at_which_address(redirected: str) -> None:
    command = f"exec {sys.executable} -W error -c '{BEGIN}' sim --listen 127.0.0.1:0 --cells 1 --apps 1 {redirected}"
    with subprocess.Popen(["/bin/sh", "-c", command], stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            if "2>" in redirected:
                with pytest.raises(subprocess.TimeoutExpired):
                    server.wait(3)
            else:
                assert "a simulated Diego" in server.stderr.readline()
                assert "could not be written to stdout" in server.stderr.readline()
                assert server.poll() is None
            server.send_signal(signal.SIGINT)
            assert server.wait(30) in (0, 130)
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
