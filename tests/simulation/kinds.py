"""The kinds of faults of a plan, and the laws that each of them suspends."""

from typing import Final

from msgspec import Struct

__all__ = ["GAPS", "INEXACT", "KINDS", "LATE", "LIES", "OF_TLS", "TARDY", "Kind"]


class Kind(Struct, frozen=True, kw_only=True):
    """A kind of fault. All numbers are ranges from which a plan draws; times are in seconds.

    `lasting` is (0, 0) for what happens at a moment. `amount` is what `meaning` says. `most` is how many of the kind a
    plan has at most. `core` says that the core trial has it, `relay` that only the relay
    trial has it.
    """

    meaning: str
    lasting: tuple[float, float] = (0.0, 0.0)
    amount: tuple[float, float] = (0.0, 0.0)
    choices: tuple[str, ...] = ()
    most: int = 3
    core: bool = False
    relay: bool = False


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
    "set back": Kind(
        meaning="the database goes back by so many seconds; the server begins anew, or its streams live on",
        amount=(0.5, 8.0),
        choices=("restart", "living"),
        most=2,
        core=True,
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
    # A relay.
    "relay away": _while("the relay's connections break, and new ones are refused", 6.0, relay=True),
    "relay cut": Kind(meaning="the relay's connections break", relay=True),
    "relay stalled": _while("the relay answers nothing", 8.0, relay=True),
    "relay flushed": Kind(meaning="the relay forgets everything", relay=True),
    "relay key dropped": Kind(
        meaning="the relay forgets a key",
        choices=(
            "actual_lrps",
            "processes",
            "scheduling_infos",
            "routing_infos",
            "domains",
            "changes",
            "status",
            "lease",
        ),
        relay=True,
    ),
    "relay set back": Kind(
        meaning="the relay fails over to a replica that lagged by so many seconds", amount=(0.0, 3.0), relay=True
    ),
    "publisher killed": Kind(
        meaning="a publisher ends without a word and begins anew",
        lasting=(0.0, 6.0),
        choices=("first", "second"),
        relay=True,
    ),
    "publisher closed": Kind(
        meaning="a publisher ends in order and begins anew",
        lasting=(0.0, 6.0),
        choices=("first", "second"),
        relay=True,
    ),
    # Certificates.
    "certificate expired": _while("the server shows a certificate that has expired"),
    "certificate renewed": Kind(
        meaning="the client's certificate is replaced on the disk, by a good one or not",
        choices=("whole", "expired", "half"),
    ),
}
"""All kinds of faults."""


LIES: Final = frozenset({"empty lists", "lagging lists", "set back"})
"""With these a list can differ from the server's state."""

INEXACT: Final = LIES | {"events lost", "stream stalled"}
"""With these only the next list brings what was missed."""

LATE: Final = frozenset({"events doubled", "events swapped", "fail-over"})
"""With these an event can be under way for long."""

TARDY: Final = LATE | {"peer gone", "stream stalled", "suspend", "silence", "drips", "latency", "clock jump"}
"""With these an event can be on its way for seconds, or is lost though the stream seems alive."""

OF_TLS: Final = frozenset({"certificate expired", "certificate renewed"})
"""The kinds that need TLS."""

GAPS: Final = OF_TLS | {
    "all cut",
    "drips",
    "fail-over",
    "latency",
    "nameless",
    "nonsense",
    "older server",
    "peer gone",
    "refused",
    "restart",
    "set back",
    "silence",
    "stream cut",
    "suspend",
    "unavailable",
    "unreachable",
}
"""With these the mirror can be without a stream for a while."""
