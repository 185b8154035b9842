"""Plans by seed. Each has some kinds of faults and not the others, so that no kind hides another."""

from random import Random
from typing import Final

from msgspec.structs import replace

from lrpmirror.trials.kinds import KINDS, OF_TLS, Kind
from lrpmirror.trials.plan import Fault, Machine, Plan

__all__ = ["drawn"]

TLS_SHARE: Final = 0.04
"""How many of the plans encrypt, which takes longer."""


def drawn(seed: int, machine: Machine) -> Plan:
    """Return the plan of a seed."""
    dice = Random(f"{machine} {seed}")
    seconds = dice.randint(5, 20)
    tls = machine == "shell" and dice.random() < TLS_SHARE
    possible = [name for name, kind in KINDS.items() if _is_of(kind, machine)]
    if not tls:
        possible = [name for name in possible if name not in OF_TLS]
    # From nothing wrong at all to nearly everything.
    share = dice.choice((0.0, 0.1, 0.1, 0.2, 0.2, 0.3, 0.5, 0.8))
    chosen = [name for name in possible if dice.random() < share]
    faults = [
        _fault(dice, name, KINDS[name], seconds) for name in chosen for _ in range(dice.randint(1, KINDS[name].most))
    ]
    plan = Plan(
        machine=machine,
        seed=seed,
        seconds=seconds,
        apps=dice.randint(1, 6),
        cells=dice.randint(2, 4),
        busy=dice.random() < 0.6,  # noqa: PLR2004 - rather often
        # A relay has no stream of groups.
        stream="groups" if dice.random() < 0.15 and machine != "relay" else "instances",  # noqa: PLR2004 - seldom
        tls=tls,
        hurried=dice.random() < 0.5,  # noqa: PLR2004 - a coin
        faults=tuple(sorted(faults, key=lambda fault: fault.at)),
    )
    return replace(plan, audits=not plan.is_exact or dice.random() < 0.3)  # noqa: PLR2004 - the more telling is the other


def _is_of(kind: Kind, machine: Machine) -> bool:
    if machine == "core":
        return kind.core
    return machine == "relay" or not kind.relay


def _fault(dice: Random, name: str, kind: Kind, seconds: int) -> Fault:
    return Fault(
        kind=name,
        # Also before anything was synchronised, which is when much is special.
        at=round(dice.choice((dice.uniform(0, 1), dice.uniform(0, seconds), dice.uniform(0, seconds))), 2),
        lasting=round(dice.uniform(*kind.lasting), 2),
        amount=round(dice.uniform(*kind.amount), 2),
        choice=dice.choice(kind.choices) if kind.choices else "",
    )
