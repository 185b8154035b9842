"""The mirror, tried by seeds: a few dozen here, hundreds in CI, and as many as wanted from the command line.

`python -m simulation --seeds 300`; a failure prints its seed, and a plan that plays it again.
"""

from pathlib import Path

import pytest
import trio
from msgspec.structs import replace
from simulation import KINDS, Fault, Plan, generated, read_plan, run, shrunk, tried, write_plan
from simulation.__main__ import main
from simulation.active_faults import Moment, Timeline
from simulation.kinds import OF_TLS
from simulation.plan import Machine
from simulation.shell_trial import ShellTrial

from lrpmirror.errors import ConfigurationError

SEEDS = range(24)

PLANS = Path(__file__).parent / "plans"


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("machine", ["shell", "core"])
def test_the_laws_hold_whatever_goes_wrong(machine: Machine, seed: int) -> None:
    result = tried(generated(seed, machine))

    assert result.held, f"{result.law}: {result.how}\n" + "\n".join(result.plan.lines())


@pytest.mark.parametrize("seed", range(6))
def test_the_laws_hold_of_a_mirror_behind_a_relay(seed: int) -> None:
    result = tried(generated(seed, "relay"))

    assert result.held, f"{result.law}: {result.how}\n" + "\n".join(result.plan.lines())


@pytest.mark.parametrize("machine", ["shell", "core", "relay"])
def test_the_same_plan_is_the_same_run(machine: Machine) -> None:
    # One with much in it.
    plan = max(
        (generated(seed, machine) for seed in range(4 if machine == "relay" else 40)),
        key=lambda plan: len(plan.faults) * (not plan.tls),
    )

    first, second, other = tried(plan), tried(plan), tried(replace(plan, seed=plan.seed + 1))

    assert (first.digest, first.commits, first.faults) == (second.digest, second.commits, second.faults)
    assert other.digest != first.digest


def test_a_seed_is_a_plan_and_other_seeds_are_others() -> None:
    assert generated(7, "shell") == generated(7, "shell")
    assert len({str(generated(seed, "shell").lines()) for seed in range(50)}) == 50


def test_every_kind_of_fault_is_drawn() -> None:
    drawn_kinds = {fault.kind for seed in range(400) for fault in generated(seed, "shell").faults}
    of_a_relay = {fault.kind for seed in range(200) for fault in generated(seed, "relay").faults}

    assert drawn_kinds == {name for name, kind in KINDS.items() if not kind.relay}
    assert of_a_relay == KINDS.keys() - OF_TLS


def test_the_machine_alone_has_the_faults_that_reach_so_far() -> None:
    drawn_kinds = {fault.kind for seed in range(200) for fault in generated(seed, "core").faults}

    assert drawn_kinds == {name for name, kind in KINDS.items() if kind.core}


def test_a_plan_comes_back_from_its_file(tmp_path: Path) -> None:
    plan = generated(3, "shell")
    write_plan(plan, tmp_path / "plan.json")

    assert read_plan(tmp_path / "plan.json") == plan


@pytest.mark.parametrize(
    "text", ["", "[]", '{"seed": 1, "seconds": 1, "faults": [{"kind": "earthquake", "at": 1}]}'], ids=repr
)
def test_a_file_that_holds_no_plan_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "plan.json").write_text(text)

    with pytest.raises(ConfigurationError, match=r"plan\.json"):
        read_plan(tmp_path / "plan.json")


def test_a_timeline_says_what_begins_and_what_ends() -> None:
    fault = Fault(kind="refused", at=1, lasting=2)
    moment = Fault(kind="all cut", at=2)
    timeline = Timeline([moment, fault])

    assert [*timeline.due(0.5)] == []
    assert [*timeline.due(1)] == [(fault, Moment.BEGINS)]
    assert timeline.next_at == 2
    assert [*timeline.due(9)] == [(moment, Moment.BEGINS), (fault, Moment.ENDS)]
    assert timeline.next_at is None


@pytest.mark.parametrize("path", sorted(PLANS.glob("*.json")), ids=lambda path: path.stem)
def test_a_plan_that_once_broke_a_law_does_no_more(path: Path) -> None:
    result = tried(read_plan(path))

    assert result.held, f"{result.law}: {result.how}"


# What only some plans have


@pytest.mark.parametrize("how", ["closed", "killed", "damaged"])
def test_a_mirror_that_begins_anew_has_what_it_kept(how: str) -> None:
    restarts = tuple(Fault(kind="restart", at=at, lasting=1, choice=how) for at in (5, 9))

    result = tried(Plan(seed=3, seconds=12, faults=(*restarts, Fault(kind="wall clock", at=6, amount=-500))))

    assert result.held, result.how
    assert result.faults == {"restart": 2, "wall clock": 1}


def test_certificates_expire_and_are_replaced() -> None:
    faults = [
        Fault(kind="certificate expired", at=2, lasting=3),
        Fault(kind="all cut", at=3, choice="reset"),
        *(
            Fault(kind="certificate renewed", at=5 + at, choice=how)
            for at, how in enumerate(("half", "expired", "whole"))
        ),
        Fault(kind="all cut", at=7, choice="end"),
    ]
    plan = Plan(seed=4, seconds=10, tls=True, faults=tuple(faults))

    first, second = tried(plan), tried(plan)

    assert first.held, first.how
    assert first.digest == second.digest


def test_a_trial_that_hangs_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "PATIENCE", 0.2)

    async def wake_each_other(_: object) -> None:
        while True:
            await trio.lowlevel.checkpoint()

    monkeypatch.setattr(ShellTrial, "run", wake_each_other)

    assert tried(Plan(seed=1, seconds=1)).law == "nothing_hangs"


# Making plans smaller


def test_a_plan_is_made_as_small_as_what_breaks_the_law() -> None:
    plan = replace(generated(5, "shell"), faults=tuple(Fault(kind="all cut", at=at) for at in range(30)), seconds=20)

    def breaks(one: Plan) -> bool:
        return {3, 17} <= {fault.at for fault in one.faults} and one.seconds >= 6 and one.apps >= 2

    small = shrunk(replace(plan, apps=6), breaks)

    assert [fault.at for fault in small.faults] == [3, 17]
    assert (small.seconds, small.apps, small.busy, small.tls) == (6, 2, False, False)


def test_making_a_plan_smaller_ends_after_so_many_tries() -> None:
    tries = 0

    def breaks(_: Plan) -> bool:
        nonlocal tries
        tries += 1
        return tries % 3 == 0

    shrunk(generated(5, "shell"), breaks, tries=17)

    assert tries <= 17


# From the command line


def test_the_command_says_what_was_survived(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seeds", "3", "--machine", "core"]) == 0
    assert "3 trials (3 core)" in capsys.readouterr().out


def test_many_processes_try_what_one_does(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seeds", "3", "--machine", "core", "--jobs", "2"]) == 0
    notified = capsys.readouterr().out

    assert main(["--seeds", "3", "--machine", "core"]) == 0

    # All but the first line, which has the time that it took.
    assert notified.splitlines()[1:] == capsys.readouterr().out.splitlines()[1:]


def test_many_processes_have_the_bug_that_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bug = ["--mutant", "lists-lack-rows", "--keep", str(tmp_path)]

    assert main(["--machine", "core", "--seeds", "9", "--most-failures", "1", "--jobs", "2", *bug]) == 1
    assert "BROKEN" in capsys.readouterr().out


def test_a_broken_law_is_told_with_a_plan_that_plays_it_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bug = ["--mutant", "lists-lack-rows"]
    folder = tmp_path / "that" / "is new"

    assert main(["--machine", "core", "--seeds", "9", "--most-failures", "1", "--keep", str(folder), *bug]) == 1
    notified = capsys.readouterr().out
    (kept,) = folder.glob("*.json")
    assert "BROKEN lists withdraw nothing that is there (seed" in notified
    assert f"--plan {kept} --mutant lists-lack-rows" in notified
    assert not read_plan(kept).faults

    assert main(["--plan", str(kept), "--keep", str(tmp_path), *bug]) == 1
    assert "BROKEN lists withdraw nothing that is there" in capsys.readouterr().out
    assert main(["--plan", str(kept)]) == 0
