"""`lrpmirror completion`: what a shell completes, tried in bash itself."""

import shutil
import subprocess
from pathlib import Path

import pytest

from lrpmirror.cli import main
from lrpmirror.cli._completion_tree import tree_of
from lrpmirror.cli._main import COMMANDS, build_parser
from lrpmirror.cli.replay import PRINTS

ASK = """\
source "$1"
shift
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
compopt() { echo "compopt $*"; }
_lrpmirror
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
        ([""], {"-h", "--help", "--version", *COMMANDS}),
        (["lrp"], {"lrp-events"}),
        (["--v"], {"--version"}),
        (["replay", "--print", ""], set(PRINTS)),
        (["replay", "--print", "http"], {"http-routes"}),
        (["replay", "--print", "=", "http"], {"http-routes"}),
        (["replay", "--print", "="], set(PRINTS)),
        (["verify", "--st"], {"--stream"}),
        (["verify", "--stream", ""], {"instances", "groups"}),
        (["completion", ""], {"-h", "--help", "bash", "zsh", "fish"}),
        (["actual-lrps", "--dom"], {"--domain"}),
        (["actual-lrps", "--domain", ""], {""}),
        (["actual-lrps", "--watch", "--ind"], {"--index"}),
        (["record", "--ca-cert-file", ""], {"compopt -o default", ""}),
        (["record", "--ca-cert-file", "=", "x"], {"compopt -o default", ""}),
        (["replay", "reco"], {"compopt -o default", ""}),
        (["domains", "--nothing"], {""}),
    ],
)
def test_bash_completes_commands_options_and_choices(
    words: list[str], completed: set[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "completion.bash"
    path.write_text(script("bash", capfd))
    assert set(run("bash", "-c", ASK, "bash", str(path), "lrpmirror", *words).split("\n")[:-1]) == completed


def test_sourcing_it_in_bash_registers_it(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "completion.bash"
    path.write_text(script("bash", capfd))
    registered = run("bash", "-c", 'source "$1"; complete -p lrpmirror', "bash", str(path))
    assert registered == "complete -F _lrpmirror lrpmirror\n"


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_can_read_their_script(shell: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / f"completion.{shell}"
    path.write_text(script(shell, capfd))
    run(shell, "-n", str(path))


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_option_of_every_command_is_in_every_script(shell: str, capfd: pytest.CaptureFixture[str]) -> None:
    text = script(shell, capfd)
    for command in tree_of(build_parser()).commands:
        assert command.name in text
        for option in command.options:
            for name in option.names:
                shown = name if shell != "fish" else f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}"
                assert shown in text


def test_the_tree_says_what_options_take() -> None:
    commands = {command.name: command for command in tree_of(build_parser()).commands}
    options = {name: option for option in commands["replay"].options for name in option.names}
    assert options["--print"].value is not None
    assert options["--print"].value.choices == PRINTS
    assert options["--lists"].value is not None
    assert options["--lists"].value.file
    assert "(snapshot)" in options["--lists"].help
    assert options["--help"].value is None
    assert [argument.file for argument in commands["replay"].arguments] == [True]
    assert [argument.choices for argument in commands["completion"].arguments] == [("bash", "zsh", "fish")]


def test_a_shell_that_is_not_known_is_a_usage_error(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "tcsh"]) == 2
    assert "invalid choice: 'tcsh'" in capfd.readouterr().err
