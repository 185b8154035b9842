"""Runs a plan's faults of the shell trial, each at its time, and ends all of them at the end."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

import trio
from trio.testing import MockClock

from lrpmirror.sim import Diego
from simulation.active_faults import ActiveFaults, Moment, Timeline
from simulation.certificates import Certificates
from simulation.history import History
from simulation.link import Link
from simulation.network import Network
from simulation.plan import Fault
from simulation.state_file import TrialStateFile
from simulation.subject import Subject

__all__ = ["FaultRunner"]

ROUNDING: Final = 1e-6

NONSENSE: Final[Mapping[str, bytes]] = {
    "frame": b"6;\r\nbytes\n\r\n",
    "base64": b"2f;\r\nid: 7\nevent: desired_lrp_created\ndata: no=base64\n\n\r\n",
    "chunk": b"zz;\r\n",
    "http": b"HTTP/1.1 500 Oops\r\n\r\n",
}
"""Bytes of a faulty server or proxy on a stream that are no event."""


class FaultRunner:
    """Begins and ends the faults of a plan."""

    def __init__(
        self,
        network: Network,
        active_faults: ActiveFaults,
        diego: Diego,
        subject: Subject,
        history: History,
        *,
        certificates: Certificates | None,
        kept: TrialStateFile | None,
    ) -> None:
        self._network = network
        self._active_faults = active_faults
        self._diego = diego
        self._history = history
        self._certificates = certificates
        self._kept = kept
        self._seed = 0
        self.jumped = 0.0
        """Seconds that the clock has jumped so far: time in which no task could run."""
        self._scope = trio.CancelScope()
        self._over = trio.Event()
        self._strikes: dict[str, Callable[[Fault], None]] = {
            "stream cut": self._cut_streams,
            "all cut": lambda fault: self._cut_all(fault.choice),
            "peer gone": self._lose_peers,
            "stream stalled": self._stall,
            "nonsense": self._talk_nonsense,
            "fail-over": self._fail_over,
            "set back": self._set_back,
            "restart": subject.restart,
            "slow subscriber": lambda fault: subject.subscribe_slowly(fault.amount),
            "raising subscriber": lambda fault: subject.subscribe_badly(int(fault.amount), fault.choice),
            "clock jump": self._jump,
            "suspend": self._suspend,
            "wall clock": lambda fault: self._set_wall_clock(fault.amount),
            "certificate renewed": self._renew,
        }

    async def run(self, timeline: Timeline, seed: int) -> None:
        """Let the faults begin and end at their times, until `calm` is called. `seed` is of the faults of events."""
        self._seed = seed
        with self._scope:
            while timeline.next_at is not None:
                await trio.sleep_until(timeline.next_at + self.jumped)
                # What is due is due, however the sum was rounded.
                for fault, moment in timeline.due(trio.current_time() - self.jumped + ROUNDING):
                    self._turn(fault, moment)
            await trio.sleep_forever()
        if self._active_faults.now("older server"):
            self._cut_all()
        self._active_faults.calm()
        self._set_right()
        if self._certificates is not None:
            self._certificates.renew()
        self._over.set()

    async def calm(self) -> None:
        """Begin no more faults; return when all have ended."""
        self._scope.cancel()
        await self._over.wait()

    def _turn(self, fault: Fault, moment: Moment) -> None:
        match moment:
            case Moment.NEARS:
                self._active_faults.hold_events(hold=True)
            case Moment.BEGINS:
                self._active_faults.begin(fault)
                if fault.kind in self._strikes:
                    self._strikes[fault.kind](fault)
            case Moment.ENDS:
                self._active_faults.end(fault)
        if fault.kind == "older server" and moment is not Moment.NEARS:
            # Another server takes over: connections do not outlive the one that they were made to.
            self._cut_all()
        self._set_right()

    def _set_right(self) -> None:
        """Bring everything in line with the active faults."""
        now, network = self._active_faults.now, self._network
        network.refusing = now("refused") is not None or now("fail-over") is not None
        network.unreachable = now("unreachable") is not None
        network.nameless = now("nameless") is not None
        network.slow(latency=self._active_faults.amount("latency"), rate=self._active_faults.amount("drips"))
        for link in network.links:
            if now("silence"):
                link.stall()
            else:
                link.resume()
        if self._certificates is not None:
            self._certificates.show(expired=now("certificate expired") is not None)
        cut = now("lists cut")
        network.on_open = partial(_cut_list, cut) if cut else _leave
        faults = self._active_faults.events(self._seed)
        if faults != self._diego.faults:
            self._diego.faults = faults

    # What happens at a moment

    def _cut_streams(self, fault: Fault) -> None:
        for link in self._network.streams():
            link.cut(fault.choice, after=int(fault.amount))

    def _cut_all(self, how: str = "end") -> None:
        for link in self._network.open_links():
            link.cut(how)

    def _lose_peers(self, fault: Fault) -> None:
        for link in self._network.streams() if fault.choice == "stream" else self._network.open_links():
            link.vanish(trio.current_time())

    def _stall(self, _: Fault) -> None:
        for link in self._network.streams():
            link.stuck_at = trio.current_time()
            link.stall()

    def _talk_nonsense(self, fault: Fault) -> None:
        for link in self._network.streams():
            link.to_client.inject(NONSENSE[fault.choice])

    def _fail_over(self, _: Fault) -> None:
        self._diego.forget_events()
        self._active_faults.hold_events(hold=False)
        self._cut_all()

    def _set_back(self, fault: Fault) -> None:
        if fault.choice == "restart":
            self._diego.forget_events()
            self._cut_all()
        else:
            self._diego.settle()
        self._history.set_back(trio.current_time() - fault.amount)

    def _jump(self, fault: Fault) -> None:
        clock = trio.lowlevel.current_clock()
        assert isinstance(clock, MockClock)
        clock.jump(fault.amount)
        self._network.touch()
        # What the plan has for later is not moved: it would all happen at once.
        self.jumped += fault.amount

    def _suspend(self, fault: Fault) -> None:
        self._set_wall_clock(fault.amount)
        for link in self._network.open_links():
            link.vanish(trio.current_time())

    def _set_wall_clock(self, seconds: float) -> None:
        if self._kept is not None:
            self._kept.set_clock(seconds)

    def _renew(self, fault: Fault) -> None:
        if self._certificates is not None:
            {"whole": self._certificates.renew, "expired": self._certificates.expire, "half": self._certificates.spoil}[
                fault.choice
            ]()


def _cut_list(fault: Fault, link: Link) -> None:
    def cut(asked: Link) -> None:
        if b"/v1/events" not in asked.request:
            asked.cut(fault.choice, after=int(fault.amount))

    link.on_request = cut


def _leave(_: Link) -> None:
    pass
