"""A trial as a value: a deployment's life, what goes wrong in it and when. It can be printed, kept and repeated."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec
from msgspec import Struct

from lrpmirror.errors import ConfigurationError

__all__ = ["KINDS", "Fault", "Kind", "Machine", "Plan", "read_plan", "write_plan"]

Machine = Literal["shell", "core"]
"""What is tried: the whole mirror, with its client and a server, or the machine in its middle alone."""


class Kind(Struct, frozen=True, kw_only=True):
    """A kind of fault. All numbers are ranges from which a plan draws; times are in seconds.

    `lasting` is (0, 0) for what happens at a moment. `amount` is what `meaning` says. `most` is how many of the kind a
    plan has at most. `core` says that the machine alone can be tried with it.
    """

    meaning: str
    lasting: tuple[float, float] = (0.0, 0.0)
    amount: tuple[float, float] = (0.0, 0.0)
    choices: tuple[str, ...] = ()
    most: int = 3
    core: bool = False


def _while(meaning: str, longest: float = 5.0, **more: object) -> Kind:
    return Kind(meaning=meaning, lasting=(0.2, longest), **more)  # type: ignore[arg-type]


KINDS: Final[dict[str, Kind]] = {
    # Events, between the write and the readers.
    "events lost": _while("the chance that one never arrives", amount=(0.02, 0.5), core=True),
    "events doubled": _while("the chance that one arrives once more, later", amount=(0.1, 0.6), core=True),
    "events swapped": _while("the chance that what is under way waits for later writes", amount=(0.2, 0.8), core=True),
    "stale removals": _while("the chance that a removal tells of an older version", amount=(0.2, 1.0), core=True),
    # Connections.
    "stream cut": Kind(
        meaning="the stream breaks so many bytes later", amount=(0, 6000), choices=("reset", "end"), most=5, core=True
    ),
    "all cut": Kind(meaning="all connections break", choices=("reset", "end"), core=True),
    "lists cut": _while("lists break off after so many bytes", amount=(0, 4000), choices=("reset", "end"), core=True),
    "peer gone": Kind(meaning="connections are lost without a word; new ones are well", choices=("stream", "all")),
    "stream stalled": Kind(meaning="the server says nothing more on the stream, and never closes it", most=1),
    "silence": _while("nothing arrives on any connection", 8.0),
    "refused": _while("new connections are refused", core=True),
    "unreachable": _while("new connections are never answered", 8.0),
    "nameless": _while("the name cannot be resolved"),
    "drips": _while("everything arrives at so many bytes a second", amount=(20, 2000), most=2),
    "latency": _while("everything arrives so much later", amount=(0.01, 1.5)),
    "nonsense": Kind(
        meaning="the stream brings what is no event", choices=("frame", "base64", "chunk", "http"), core=True
    ),
    # Answers.
    "unavailable": _while("everything new is answered with 503"),
    "slow lists": _while(
        "lists take so much longer, before or after the state is read",
        amount=(0.1, 3.0),
        choices=("before", "after"),
        core=True,
    ),
    "truncated lists": _while("lists break off, and their connection is closed", amount=(0.0, 1.0), core=True),
    "refused lists": _while(
        "lists are answered with an error",
        choices=("Deadlock", "UnknownError", "502", "proxy", "garbage", "html"),
        core=True,
    ),
    "empty lists": _while("lists are answered as if there were nothing", core=True),
    "lagging lists": _while("lists are answered from the state of so many seconds ago", amount=(0.5, 5.0), core=True),
    "older server": _while(
        "the server does not know the newer paths", choices=("parts", "rows", "streams", "guids", "ping"), longest=10.0
    ),
    "fail-over": _while(
        "another server takes over; events of the last so many seconds are never sent", amount=(0.0, 2.0), core=True
    ),
    # The mirror and its clocks.
    "restart": Kind(
        meaning="the mirror ends and begins anew",
        lasting=(0.0, 3.0),
        choices=("closed", "killed", "damaged"),
        core=True,
    ),
    "slow subscriber": Kind(meaning="one takes so long over each change", amount=(0.1, 1.5), most=2),
    "raising subscriber": Kind(
        meaning="one fails on every so manieth change", amount=(1, 5), choices=("log", "cancel"), most=2
    ),
    "clock jump": Kind(meaning="the monotonic clock jumps by so much at once", amount=(1.0, 120.0), core=True),
    "wall clock": Kind(meaning="the wall clock is set by so much", amount=(-4000.0, 4000.0)),
    "suspend": Kind(
        meaning="the machine sleeps so long: peers are gone, only the wall clock went on", amount=(60, 4000), most=1
    ),
    "certificate expired": _while("the server shows a certificate that has expired"),
    "certificate renewed": Kind(
        meaning="the client's certificate is replaced on the disk, by a good one or not",
        choices=("whole", "expired", "half"),
    ),
}
"""Everything that can go wrong in a plan."""


LIES: Final = frozenset({"empty lists", "lagging lists"})
"""With these a list is not what the server has."""

INEXACT: Final = LIES | {"events lost", "stream stalled"}
"""With these only the next list knows."""

LATE: Final = frozenset({"events doubled", "events swapped", "fail-over"})
"""With these an event can be long under way."""

TARDY: Final = LATE | {"peer gone", "stream stalled", "suspend", "silence", "drips", "latency", "clock jump"}
"""With these an event can be on its way for seconds, or is not told at all though the stream seems to be there."""

OF_TLS: Final = frozenset({"certificate expired", "certificate renewed"})
"""What needs encryption to go wrong."""

GAPS: Final = frozenset(
    {
        *("stream cut", "all cut", "peer gone", "refused", "unreachable", "nameless", "nonsense", "unavailable"),
        *(
            "fail-over",
            "restart",
            "suspend",
            "drips",
            "silence",
            "latency",
            "older server",
            "certificate expired",
            "certificate renewed",
        ),
    }
)
"""With these the mirror can be without a stream for a while."""


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

    `seed` is of all dice but those that drew the plan: the workload's, trio's scheduler's, the mirror's. The deployment
    lives for `seconds` with `apps` and `cells`, `busy` or not; `stream` is what the mirror follows; `tls` encrypts; a
    server that is not `hurried` takes a moment over each list, in which events arrive. Without `audits` nothing is
    listed at an interval: what the events told, and the reads of what was in doubt, have to do.
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
        """Whether the events tell everything, so that the mirror needs no list at an interval to be right.

        An event that was under way for longer than the reader was away can tell of a record that no list had, and whose
        removal nobody heard.
        """
        late = self.kinds & LATE and self.kinds & GAPS
        return self.stream == "instances" and self.has_honest_lists and not (self.kinds & INEXACT or late)

    @property
    def is_prompt(self) -> bool:
        """Whether what happens is told in moments, so that no list can be much ahead of the stream."""
        return not self.kinds & TARDY

    @property
    def has_honest_lists(self) -> bool:
        """Whether what is listed is always what the server has."""
        # A server that lists groups only leaves out what is behind another row of its index.
        groups = any(fault.kind == "older server" and fault.choice == "rows" for fault in self.faults)
        return not (self.kinds & LIES or groups)

    def lines(self) -> Sequence[str]:
        """Say what it is, for people."""
        life = f"seed {self.seed}, {self.machine}: {self.seconds} s, {self.apps} apps on {self.cells} cells"
        life += f", {'busy' if self.busy else 'quiet'}, {self.stream}{', TLS' if self.tls else ''}"
        life += "" if self.hurried else ", unhurried"
        life += "" if self.audits else ", no audits"
        return [life, *(f"  {fault}" for fault in self.faults)]


def write_plan(plan: Plan, path: Path) -> None:
    """Keep a plan as JSON."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(plan)) + b"\n")


def read_plan(path: Path) -> Plan:
    """Return the plan in a file. Raises ConfigurationError for one that is none."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Plan)
    except (OSError, msgspec.DecodeError, ConfigurationError) as error:
        raise ConfigurationError(f"{path} holds no plan of a trial: {error}") from error
