"""Fault plans: what goes wrong by them, when, how often, and that all is put right."""

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import httpx
import pytest
import trio
import trio.testing
from msgspec.structs import asdict
from patience import PATIENCE
from sim_support import A, diego, drain, wanted

from lrpmirror.errors import ConfigurationError
from lrpmirror.server.asgi import Message
from lrpmirror.sim import Autopilot, Diego, FaultPlan, Faults, ServedDiego, serve_diego
from lrpmirror.sim.plan import CHANCES, RATES, FaultInjector, FaultyReplies
from lrpmirror.sim.state import Backup

LIST = "/v1/actual_lrps/list"
STREAM = "/v1/events/lrp_instances.r1"

# ------------------------------------------------------------------------------ the plan


@pytest.mark.parametrize("name", [*RATES, "slowness"])
def test_a_rate_is_not_negative(name: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        FaultPlan(**{name: -1})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", CHANCES)
@pytest.mark.parametrize("chance", [-0.1, 1.1])
def test_a_chance_is_between_nothing_and_certainty(name: str, chance: float) -> None:
    with pytest.raises(ConfigurationError, match=name):
        FaultPlan(**{name: chance})  # type: ignore[arg-type]


@pytest.mark.parametrize("lasting", [(2.0, 1.0), (-1.0, 1.0)])
def test_a_while_begins_before_it_ends(lasting: tuple[float, float]) -> None:
    with pytest.raises(ConfigurationError, match="lasting"):
        FaultPlan(lasting=lasting)


def test_a_swarm_has_every_kind_of_fault_in_some_plans_and_not_in_others() -> None:
    plans = [FaultPlan.swarm(seed, seconds=3) for seed in range(30)]
    for name in (*RATES, *CHANCES):
        assert {bool(getattr(plan, name)) for plan in plans} == {True, False}, name
    for name in ("delay", "lose", "duplicate", "stale_removed", "empty_removed"):
        assert {bool(getattr(plan.events, name)) for plan in plans} == {True, False}, name
    assert {plan.seconds for plan in plans} == {3}


def test_a_swarm_is_repeated_by_its_seed() -> None:
    assert asdict(FaultPlan.swarm(5)) == asdict(FaultPlan.swarm(5))
    assert asdict(FaultPlan.swarm(5)) != asdict(FaultPlan.swarm(6))


# ---------------------------------------------- the server as a whole, in virtual time


class Stage:
    """All that a plan acts upon, and a log of when what was done to it."""

    def __init__(self, plan: FaultPlan) -> None:
        self.log: list[tuple[float, str]] = []
        self.faults: Faults | None = None
        self._available = True
        stage = cast("Any", self)
        self.fault_injector = FaultInjector(plan, Counter(), diego=stage, app=stage, requests=stage, host=stage)

    def note(self, what: str) -> None:
        self.log.append((round(trio.current_time() - self.begun, 3), what))

    @property
    def available(self) -> bool:
        return self._available

    @available.setter
    def available(self, available: bool) -> None:
        self._available = available
        self.note("200" if available else "503")

    def calm(self) -> None:
        self.note("calm")

    def backup(self) -> Backup:
        self.note("backup")
        return Backup({}, {}, {})

    def restore(self, backup: Backup) -> None:
        assert backup == Backup({}, {}, {})
        self.note("restore")

    def cut(self, *, streams_only: bool = False) -> int:
        self.note("cut streams" if streams_only else "cut")
        return 0

    def pause(self) -> None:
        self.note("pause")

    def resume(self) -> None:
        self.note("resume")

    async def refuse(self) -> None:
        self.note("refuse")

    async def accept(self) -> None:
        self.note("accept")

    def run(self) -> None:
        async def main() -> None:
            self.begun = trio.current_time()
            await self.fault_injector.run()

        trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))

    @property
    def done(self) -> list[str]:
        return [what for _, what in self.log]


RIGHT = ["200", "calm", "resume", "accept"]
"""What is done at the end of every plan."""


@pytest.mark.parametrize(
    ("name", "doing"),
    [
        ("cuts", ["cut"]),
        ("stream_cuts", ["cut streams"]),
        ("outages", ["503", "200"]),
        ("refusals", ["refuse", "accept"]),
        ("failovers", ["503", "cut", "refuse", "accept", "200"]),
        ("silences", ["pause", "resume"]),
        ("restores", ["backup", "restore", "cut"]),
    ],
)
def test_each_kind_of_fault_does_its_own_about_as_often_as_it_was_given(name: str, doing: list[str]) -> None:
    stage = Stage(FaultPlan(seed=1, seconds=200, lasting=(0.01, 0.02), **{name: 0.5}))  # type: ignore[arg-type]
    stage.run()
    times = stage.fault_injector.mishaps[name]
    assert 70 < times < 130
    assert stage.fault_injector.mishaps.total() == times
    assert stage.done[: len(doing) * (times - 1)] == doing * (times - 1)
    assert stage.done[-len(RIGHT) :] == RIGHT
    assert stage.log[-1][0] == 200


def test_what_lasts_a_while_lasts_between_the_two_times() -> None:
    stage = Stage(FaultPlan(seconds=100, outages=1, lasting=(0.5, 0.7)))
    stage.run()
    moments = [moment for moment, what in stage.log if what in {"503", "200"}][:-2]
    outages = [end - begin for begin, end in zip(moments[::2], moments[1::2], strict=False)]
    assert len(outages) > 10
    assert all(0.499 < outage < 0.701 for outage in outages)


def test_a_plan_that_ends_in_the_middle_of_a_fault_puts_it_right() -> None:
    stage = Stage(FaultPlan(seconds=10, outages=1000, lasting=(100, 100)))
    stage.run()
    assert stage.done == ["503", *RIGHT]


def test_the_same_seed_does_the_same_at_the_same_times() -> None:
    def log(seed: int) -> list[tuple[float, str]]:
        stage = Stage(FaultPlan(seed=seed, seconds=60, **dict.fromkeys(RATES, 0.2)))  # type: ignore[arg-type]
        stage.run()
        return stage.log

    assert log(3) == log(3)
    assert log(3) != log(4)


def test_events_have_their_faults_while_the_plan_holds_and_not_after_it() -> None:
    faults = Faults(lose=1.0)
    stage = Stage(FaultPlan(seconds=5, events=faults))
    seen: list[Faults | None] = []

    async def main() -> None:
        stage.begun = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stage.fault_injector.run)
            await trio.sleep(1)
            seen.append(stage.faults)
        seen.append(stage.faults)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    assert seen == [faults, None]


# ------------------------------------------------------- single requests, in virtual time


async def no_more() -> Message:
    await trio.sleep_forever()
    raise AssertionError("unreachable")


class Asked:
    """Asks an application through a flaky one, and keeps what arrives and when."""

    def __init__(self, plan: FaultPlan, *pieces: bytes, length: bool = False) -> None:
        self.mishaps: Counter[str] = Counter()
        self.faulty_replies = FaultyReplies(self._answer, plan, self.mishaps)
        self._pieces = pieces
        self._length = length
        self.read_at = 0.0

    async def _answer(self, _scope: object, _receive: object, send: Callable[[Message], Any]) -> None:
        self.read_at = trio.current_time()
        await send({"type": "http.response.start"})
        for piece in self._pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": not self._length})
            await trio.sleep(1)
        if not self._length:
            await send({"type": "http.response.body", "body": b""})

    async def ask(self, path: str, arrived: list[Message]) -> tuple[float, float]:
        """Return how long it took until the state was read, and from then until the head."""
        begun, head = trio.current_time(), [0.0]

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                head[0] = trio.current_time()
            arrived.append(message)

        await self.faulty_replies({"type": "http", "path": path}, no_more, send)
        return round(self.read_at - begun, 3), round(head[0] - self.read_at, 3)


def virtually(main: Callable[[], Any]) -> Any:
    return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def is_whole(arrived: list[Message]) -> bool:
    return not arrived[-1].get("more_body", False)


@pytest.mark.parametrize("length", [True, False])
def test_a_list_breaks_off_in_the_middle(length: bool) -> None:
    async def main() -> None:
        ends = set()
        for seed in range(30):
            pieces = [b"abcdef"] if length else [b"abc", b"def"]
            asked = Asked(FaultPlan(seed=seed, truncated_lists=1), *pieces, length=length)
            arrived: list[Message] = []
            await asked.ask(LIST, arrived)
            assert not is_whole(arrived)
            body = b"".join(message.get("body", b"") for message in arrived)
            assert b"abcdef".startswith(body)
            assert asked.mishaps == {"truncated_lists": 1}
            ends.add(len(body))
        assert len(ends) > 3

    virtually(main)


def test_a_list_that_is_empty_cannot_break_off() -> None:
    async def main() -> None:
        asked = Asked(FaultPlan(truncated_lists=1), b"", length=True)
        arrived: list[Message] = []
        await asked.ask(LIST, arrived)
        assert is_whole(arrived)
        assert not asked.mishaps

    virtually(main)


def test_a_slow_list_waits_before_its_state_is_read_or_after() -> None:
    async def main() -> None:
        asked = Asked(FaultPlan(slow_lists=1, slowness=5), b"x", length=True)
        waits = [await asked.ask(LIST, []) for _ in range(40)]
        assert all(0 <= before + after <= 5 for before, after in waits)
        assert any(before > 1 for before, _ in waits)
        assert any(after > 1 for _, after in waits)
        assert all(not (before and after) for before, after in waits)

    virtually(main)


def test_a_half_open_stream_ends_without_being_closed_until_all_is_calm() -> None:
    async def main() -> None:
        asked = Asked(FaultPlan(half_open_streams=1, lasting=(3, 4)), *[b"event"] * 10)
        arrived: list[Message] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(asked.ask, STREAM, arrived)
            await trio.sleep(100)
            assert len(arrived) in {5, 6}
            assert not is_whole(arrived)
            asked.faulty_replies.calm()
        assert asked.mishaps == {"half_open_streams": 1}

    virtually(main)


@pytest.mark.parametrize("path", [LIST, STREAM, "/v1/ping"])
def test_in_the_calm_and_without_a_plan_all_requests_go_well(path: str) -> None:
    async def main() -> None:
        everything = FaultPlan(slow_lists=1, truncated_lists=1, half_open_streams=1)
        for asked in (Asked(everything, b"x"), Asked(FaultPlan(), b"x")):
            if asked.faulty_replies._plan is everything:
                asked.faulty_replies.calm()
            arrived: list[Message] = []
            assert await asked.ask(path, arrived) == (0, 0)
            assert is_whole(arrived)
            assert not asked.mishaps

    virtually(main)


# ------------------------------------------------------------------------ over a socket


@asynccontextmanager
async def served(bbs: Diego, **options: Any) -> AsyncIterator[tuple[ServedDiego, httpx.AsyncClient]]:
    async with (
        serve_diego(bbs, **options) as server,
        httpx.AsyncClient(base_url=server.url, timeout=PATIENCE) as client,
    ):
        yield server, client


def test_a_list_that_breaks_off_is_noticed_by_the_client_until_all_is_calm() -> None:
    async def main() -> None:
        bbs = diego()
        bbs.desire(wanted(instances=3))
        async with served(bbs, plan=FaultPlan(truncated_lists=1)) as (server, client):
            with pytest.raises(httpx.RemoteProtocolError):
                await client.post(LIST)
            assert server.mishaps["truncated_lists"] == 1
            await server.calm()
            assert (await client.post(LIST)).content

    trio.run(main)


def test_whatever_the_plan_in_the_calm_a_client_finds_everything_at_the_same_address() -> None:
    async def main() -> None:
        for seed in range(4):
            plan = FaultPlan.swarm(seed, rate=20)
            async with served(diego(), plan=plan) as (server, client):
                with trio.move_on_after(0.15):
                    while True:
                        try:
                            await client.post(LIST, timeout=0.05)
                        except httpx.TransportError:
                            await trio.sleep(0.01)
                await server.calm()
                server.diego.desire(wanted(instances=2))
                async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE) as later:
                    assert (await later.post(LIST)).content, f"seed {seed}: {server.mishaps}"

    trio.run(main)


def test_event_faults_of_a_plan_are_those_of_the_simulation_until_the_calm() -> None:
    async def main() -> None:
        bbs = diego()
        emitted = bbs.subscribe("instances")
        async with served(bbs, plan=FaultPlan(events=Faults(lose=1.0))) as (server, _):
            await trio.testing.wait_all_tasks_blocked()
            bbs.desire(wanted())
            await server.calm()
            bbs.claim("p", 0, A)
        assert [event.type for event in drain(emitted)] == ["actual_lrp_instance_changed"]

    trio.run(main)


def test_what_the_block_raises_leaves_it_as_it_was_raised() -> None:
    error = ValueError("mine")

    async def main() -> None:
        bbs = Diego()
        async with serve_diego(bbs, autopilot=Autopilot(bbs, apps=1, cells=1), plan=FaultPlan(cuts=1)):
            raise error

    with pytest.raises(ValueError, match="mine") as raised:
        trio.run(main)
    assert raised.value is error
