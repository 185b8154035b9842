"""The command's arguments, options and exit statuses, whatever the command."""

import argparse
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from cli_support import recorded, started
from patience import PATIENCE

from lrpmirror.cli import main
from lrpmirror.cli._main import _explain
from lrpmirror.cli.shared.arguments import Target, add_bbs, target
from lrpmirror.client import TLS
from lrpmirror.errors import ConfigurationError, RequestRefused, ResourceNotFound


def parsed(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_bbs(parser)
    return parser.parse_args(arguments)


def test_help_names_the_commands_and_the_exit_statuses(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    for word in ("record", "replay", "demo", "exit status", "  3    a recording"):
        assert word in out


@pytest.mark.parametrize("command", ["record", "replay", "demo"])
def test_each_command_explains_itself(capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert main([command, "--help"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert f"usage: lrpmirror {command}" in out


def test_record_help_names_the_environment_variables(capsys: pytest.CaptureFixture[str]) -> None:
    main(["record", "--help"])
    out = capsys.readouterr().out
    for name in ("BBS_URL", "CA_CERT_FILE", "CLIENT_CERT_FILE", "CLIENT_KEY_FILE", "SKIP_CERT_VERIFY"):
        assert f"[{name}]" in out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"lrpmirror {version('lrpmirror')}\n"


@pytest.mark.parametrize("arguments", [[], ["sing"], ["demo", "x"], ["replay", "x", "--prin=summary"]])
def test_wrong_arguments_are_one_line_with_a_remedy(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("lrpmirror: ")
    assert err.endswith("; see 'lrpmirror --help'\n")
    assert err.count("\n") == 1


def test_options_have_two_spellings() -> None:
    ours = parsed(
        "--bbs-url=https://b", "--ca-cert-file=a", "--client-cert-file=c", "--client-key-file=k", "--skip-cert-verify"
    )
    theirs = parsed(
        "--bbsURL=https://b", "--caCertFile=a", "--clientCertFile=c", "--clientKeyFile=k", "--skipCertVerify"
    )
    expected = Target("https://b", TLS(ca="a", cert="c", key="k", verify=False))
    assert target(ours, {}) == target(theirs, {}) == expected


def test_options_come_from_the_environment_and_override_it() -> None:
    environ = {"BBS_URL": "https://e", "CA_CERT_FILE": "a", "CLIENT_CERT_FILE": "c", "CLIENT_KEY_FILE": "k"}
    assert target(parsed(), environ) == Target("https://e", TLS(ca="a", cert="c", key="k"))
    given = target(parsed("--bbs-url", "https://o", "--client-key-file", "other"), environ)
    assert given == Target("https://o", TLS(ca="a", cert="c", key="other"))


def test_without_certificates_there_is_no_tls() -> None:
    assert target(parsed("--bbs-url", "http://b"), {"CA_CERT_FILE": ""}).tls is None


@pytest.mark.parametrize(("text", "verify"), [("true", False), ("1", False), ("T", False), ("false", True), ("", True)])
def test_skip_cert_verify_is_read_as_diegos_tools_read_it(
    capsys: pytest.CaptureFixture[str], text: str, verify: bool
) -> None:
    tls = target(parsed("--bbs-url=https://b", "--ca-cert-file=a"), {"SKIP_CERT_VERIFY": text}).tls
    assert tls == TLS(ca="a", verify=verify)
    assert ("the BBS is not authenticated" in capsys.readouterr().err) is not verify


def test_what_cannot_be_read_names_the_variable() -> None:
    with pytest.raises(ConfigurationError, match="SKIP_CERT_VERIFY='maybe' is neither true nor false"):
        target(parsed("--bbs-url=https://b"), {"SKIP_CERT_VERIFY": "maybe"})


def test_no_bbs_is_status_2_and_says_how_to_name_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("BBS_URL", raising=False)
    assert main(["record", str(tmp_path / "new")]) == 2
    assert capsys.readouterr().err == (
        "lrpmirror record: no BBS is named: give --bbs-url URL or set BBS_URL, "
        "such as https://bbs.service.cf.internal:8889\n"
    )
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("text", ["0", "-1", "x", "nan", "inf"])
def test_seconds_are_a_positive_number(capsys: pytest.CaptureFixture[str], text: str) -> None:
    assert main(["demo", "--seconds", text]) == 2
    assert f"{text!r} is not a positive number of seconds" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "²"])
def test_counts_are_positive_whole_numbers(capsys: pytest.CaptureFixture[str], text: str) -> None:
    assert main(["demo", f"--apps={text}"]) == 2
    assert f"{text!r} is not a positive whole number" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (RequestRefused("UnknownError", ""), "routes: UnknownError; the BBS's own log says why"),
        (RequestRefused("InvalidRequest", "no whole desired LRPs"), "routes: InvalidRequest: no whole desired LRPs"),
        (ResourceNotFound("ResourceNotFound", "no such LRP"), "routes: ResourceNotFound: no such LRP"),
    ],
)
def test_only_a_refusal_without_a_reason_refers_to_the_log(
    capsys: pytest.CaptureFixture[str], error: RequestRefused, line: str
) -> None:
    assert _explain("routes", error) == 1
    assert capsys.readouterr().err == line + "\n"


@pytest.mark.parametrize(("call", "frozen"), [("main()", True), ("main(sys.argv[1:])", False)])
def test_only_in_a_process_of_its_own_the_collector_is_spared_what_was_imported(call: str, frozen: bool) -> None:
    program = f"import gc, sys; from lrpmirror.cli import main; {call}; print(gc.get_freeze_count(), file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", program, "completion", "bash"], capture_output=True, text=True, check=True
    )
    assert (int(done.stderr) > 0) is frozen


def test_an_interrupted_replay_is_quiet_and_status_130() -> None:
    command = ("replay", str(recorded("churn1")), "--print", "changes")
    process = started(*command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    # It prints far more than a pipe holds, so after the first line it is at work, or waits for us.
    assert process.stdout.readline().startswith(b"{")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE)
    assert err == b""
    assert process.returncode == 130
