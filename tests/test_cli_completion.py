"""`lrpmirror completion`: what a shell completes, tried in bash itself."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lrpmirror.cli import main
from lrpmirror.cli._main import COMMANDS, build_parser
from lrpmirror.cli.commands.completion import _actions
from lrpmirror.cli.commands.replay import PRINTS

ASK = """\
source "$1"
shift
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
compopt() { true; }
_shtab_lrpmirror
printf '%s\\n' "${COMPREPLY[@]}"
"""


def script(shell: str, capfd: pytest.CaptureFixture[str]) -> str:
    assert main(["completion", shell]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    return out


def run(program: str, *arguments: str) -> str:
    if shutil.which(program) is None:
        pytest.skip(f"there is no {program} here to try the completion in")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ([""], set(COMMANDS)),
        (["-"], {"-h", "--help", "--version"}),
        (["lrp"], {"lrp-events"}),
        (["--v"], {"--version"}),
        (["replay", "--print", ""], set(PRINTS)),
        (["replay", "--print", "http"], {"http-routes"}),
        (["verify", "--st"], {"--stream"}),
        (["verify", "--stream", ""], {"instances", "groups"}),
        (["completion", ""], {"bash", "zsh", "fish"}),
        (["actual-lrps", "--dom"], {"--domain"}),
        (["actual-lrps", "--domain", ""], {""}),
        (["actual-lrps", "--watch", "--ind"], {"--index"}),
        (["domains", "--nothing"], {""}),
    ],
)
def test_bash_completes_commands_options_and_choices(
    words: list[str], completed: set[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "completion.bash"
    path.write_text(script("bash", capfd))
    assert set(run("bash", "-c", ASK, "bash", str(path), "lrpmirror", *words).split("\n")[:-1]) == completed


@pytest.mark.parametrize("words", [["record", "--ca-cert-file", "comp"], ["replay", "comp"]])
def test_bash_completes_files_where_files_are_wanted(
    words: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "completion.bash").write_text(script("bash", capfd))
    assert run("bash", "-c", ASK, "bash", "completion.bash", "lrpmirror", *words) == "completion.bash\n"


def test_sourcing_it_in_bash_registers_it(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "completion.bash"
    path.write_text(script("bash", capfd))
    registered = run("bash", "-c", 'source "$1"; complete -p lrpmirror', "bash", str(path))
    assert registered == "complete -o bashdefault -F _shtab_lrpmirror lrpmirror\n"


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_can_read_their_script(shell: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / f"completion.{shell}"
    path.write_text(script(shell, capfd))
    run(shell, "-n", str(path))


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_option_of_every_command_is_in_every_script(shell: str, capfd: pytest.CaptureFixture[str]) -> None:
    text = script(shell, capfd)
    names = {*COMMANDS, *(name for action in _actions(build_parser()) for name in action.option_strings)}
    for name in names:
        shown = name if shell != "fish" else name.lstrip("-")
        assert shown in text


def test_without_shtab_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["completion", "bash"]) == 2
    assert capfd.readouterr().err == ("lrpmirror completion: shtab is not installed: pip install 'lrpmirror[cli]'\n")


def test_a_shell_that_is_not_known_is_a_usage_error(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "tcsh"]) == 2
    assert "invalid choice: 'tcsh'" in capfd.readouterr().err
