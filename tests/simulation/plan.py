"""A trial as a value: a deployment's workload, and its faults with their times. It can be printed and repeated."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from lrpmirror.errors import ConfigurationError
from simulation.kinds import GAPS, INEXACT, KINDS, LATE, LIES, TARDY

__all__ = ["Fault", "Machine", "Plan", "read_plan", "write_plan"]

Machine = Literal["shell", "core", "relay"]
"""What is tried: the whole mirror, with its client and a server; the machine in its middle alone; or a mirror that
reads from a relay, with publishers that follow the server."""


class Fault(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something that goes wrong: from `at` on, for `lasting` seconds. See `KINDS` for `amount` and `choice`."""

    kind: str
    at: float
    lasting: float = 0.0
    amount: float = 0.0
    choice: str = ""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigurationError(f"{self.kind!r} is no kind of fault; these are: {', '.join(KINDS)}")

    def __str__(self) -> str:
        more = [f"for {self.lasting:g} s"] if self.lasting else []
        more += [f"amount {self.amount:g}"] if self.amount else []
        more += [self.choice] if self.choice else []
        return f"{self.at:g} s: {self.kind}" + (f" ({', '.join(more)})" if more else "")


class Plan(Struct, frozen=True, kw_only=True):
    """One trial. The same plan is the same run.

    `seed` is of all random numbers but those that drew the plan: the workload's, trio's scheduler's, the mirror's. The
    deployment lives for `seconds` with `apps` and `cells`, `busy` or not; `stream` is what the mirror follows; `tls`
    encrypts; a server that is not `hurried` takes a moment over each list, in which events arrive. Without `audits`
    nothing is listed at an interval: the events and the repair reads have to suffice.
    """

    machine: Machine = "shell"
    seed: int
    seconds: int
    apps: int = 4
    cells: int = 3
    busy: bool = True
    stream: Literal["instances", "groups"] = "instances"
    tls: bool = False
    hurried: bool = True
    audits: bool = True
    faults: tuple[Fault, ...] = ()

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of fault that are in it."""
        return frozenset(fault.kind for fault in self.faults)

    @property
    def is_exact(self) -> bool:
        """Whether no event is lost, so that the mirror needs no list at an interval to be right.

        An event that was under way for longer than the reader was away can tell of a record that no list had, and whose
        removal was lost.
        """
        late = self.kinds & LATE and self.kinds & GAPS
        return self.stream == "instances" and self.has_honest_lists and not (self.kinds & INEXACT or late)

    @property
    def has_one_life(self) -> bool:
        """Whether the database never goes back, so that each version of a record is written once."""
        return "set back" not in self.kinds

    @property
    def is_prompt(self) -> bool:
        """Whether events arrive within moments, so that no list can be much ahead of the stream."""
        return not self.kinds & TARDY

    @property
    def has_honest_lists(self) -> bool:
        """Whether what is listed is always what the server has."""
        # A server that lists groups only leaves out what is behind another row of its index.
        groups = any(fault.kind == "older server" and fault.choice == "rows" for fault in self.faults)
        return not (self.kinds & LIES or groups)

    def lines(self) -> Sequence[str]:
        """Return a description for people."""
        life = f"seed {self.seed}, {self.machine}: {self.seconds} s, {self.apps} apps on {self.cells} cells"
        life += f", {'busy' if self.busy else 'quiet'}, {self.stream}{', TLS' if self.tls else ''}"
        life += "" if self.hurried else ", unhurried"
        life += "" if self.audits else ", no audits"
        return [life, *(f"  {fault}" for fault in self.faults)]


def write_plan(plan: Plan, path: Path) -> None:
    """Keep a plan as JSON, in a folder that is made where there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(plan)) + b"\n")


def read_plan(path: Path) -> Plan:
    """Return the plan in a file. Raises ConfigurationError for a malformed one."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Plan)
    except (OSError, msgspec.DecodeError, ConfigurationError) as error:
        raise ConfigurationError(f"{path} holds no plan of a trial: {error}") from error
