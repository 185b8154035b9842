"""Plans by seed. Each has some kinds of faults and not the others, so that no kind hides another."""

from random import Random
from typing import Final

from msgspec.structs import replace

from simulation.kinds import KINDS, OF_TLS, Kind
from simulation.plan import Fault, Machine, Plan

__all__ = ["generated"]

TLS_SHARE: Final = 0.04
"""The share of plans with TLS, which takes longer."""


def generated(seed: int, machine: Machine) -> Plan:
    """Return the plan of a seed."""
    rng = Random(f"{machine} {seed}")
    seconds = rng.randint(5, 20)
    tls = machine == "shell" and rng.random() < TLS_SHARE
    possible = [name for name, kind in KINDS.items() if _is_of(kind, machine)]
    if not tls:
        possible = [name for name in possible if name not in OF_TLS]
    # From nothing wrong at all to nearly everything.
    share = rng.choice((0.0, 0.1, 0.1, 0.2, 0.2, 0.3, 0.5, 0.8))
    chosen = [name for name in possible if rng.random() < share]
    faults = [
        _fault(rng, name, KINDS[name], seconds) for name in chosen for _ in range(rng.randint(1, KINDS[name].most))
    ]
    plan = Plan(
        machine=machine,
        seed=seed,
        seconds=seconds,
        apps=rng.randint(1, 6),
        cells=rng.randint(2, 4),
        busy=rng.random() < 0.6,
        # A relay has no stream of groups.
        stream="groups" if rng.random() < 0.15 and machine != "relay" else "instances",
        tls=tls,
        hurried=rng.random() < 0.5,
        faults=tuple(sorted(faults, key=lambda fault: fault.at)),
    )
    return replace(plan, audits=not plan.is_exact or rng.random() < 0.3)


def _is_of(kind: Kind, machine: Machine) -> bool:
    if machine == "core":
        return kind.core
    return machine == "relay" or not kind.relay


def _fault(rng: Random, name: str, kind: Kind, seconds: int) -> Fault:
    return Fault(
        kind=name,
        # Also before anything was synchronised, which is when much is special.
        at=round(rng.choice((rng.uniform(0, 1), rng.uniform(0, seconds), rng.uniform(0, seconds))), 2),
        lasting=round(rng.uniform(*kind.lasting), 2),
        amount=round(rng.uniform(*kind.amount), 2),
        choice=rng.choice(kind.choices) if kind.choices else "",
    )
