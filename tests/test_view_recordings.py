"""The views over what a real BBS sent, and against what a production route emitter made of it."""

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from random import Random
from typing import Any, Literal

import pytest
from views_support import ViewedSession, every_view, recording

from lrpmirror.core.derived.derive import Derivation
from lrpmirror.core.derived.dirty import dirtied_by
from lrpmirror.core.rows.changes import Commit
from lrpmirror.model import ActualLRPState
from lrpmirror.recording import Replay, replay
from lrpmirror.views import Endpoint

Stream = Literal["instances", "groups"]
STREAMS: tuple[Stream, ...] = ("instances", "groups")


def viewed(one: Replay) -> ViewedSession:
    return ViewedSession(every_view(), one.session)


# What the production emitter registered


def registrations(name: str) -> list[dict[str, Any]]:
    path = recording("07-routes").path / "json" / name
    return [json.loads(line) for line in path.read_text().splitlines()]


def as_registered(message: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """What an HTTP registration says of each of its host names."""
    said = message["data"]
    tags = {name: value for name, value in said["tags"].items() if name != "component"}
    return [
        (
            hostname,
            said["host"],
            said["port"],
            said.get("tls_port", 0),
            said["app"],
            said["private_instance_id"],
            int(said["private_instance_index"]),
            said.get("protocol", ""),
            said.get("route_service_url", ""),
            said.get("isolation_segment", ""),
            said.get("availability_zone", ""),
            said.get("options"),
            tags,
        )
        for hostname in said["uris"]
    ]


def as_derived(hostname: str, one: Endpoint) -> tuple[Any, ...]:
    options = None if one.options is None else dict(one.options)
    return (
        hostname,
        one.host,
        one.port,
        one.tls_port,
        one.app,
        one.instance_guid,
        one.index,
        one.protocol,
        one.route_service_url,
        one.isolation_segment,
        one.availability_zone,
        options,
        dict(one.tags),
    )


def in_order(found: Iterable[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return sorted(found, key=repr)


def http(views: ViewedSession) -> list[tuple[Any, ...]]:
    return in_order(as_derived(name, one) for name, endpoints in views["HTTPRoutes"].items() for one in endpoints)


def internal(views: ViewedSession) -> list[tuple[Any, ...]]:
    found = views["InternalRoutes"].items()
    return in_order((name, one.host, one.app, str(one.index)) for name, endpoints in found for one in endpoints)


def emitted_http() -> list[tuple[Any, ...]]:
    found = registrations("registrations.ndjson")
    return in_order(
        one for message in found if message["subject"] == "router.register" for one in as_registered(message)
    )


def emitted_internal() -> list[tuple[Any, ...]]:
    said = [
        message["data"]
        for message in registrations("registrations.ndjson")
        if message["subject"] == "service-discovery.register"
    ]
    return in_order(
        (name, one["host"], one["app"], one["private_instance_index"]) for one in said for name in one["uris"]
    )


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("lists", ["snapshot", *(f"steps/{step:02}" for step in range(10)), "expected"])
def test_the_routes_are_those_that_the_emitter_registered_from_whatever_lists_one_begins(
    stream: Stream, lists: str
) -> None:
    one = replay(recording("07-routes"), stream=stream, lists=lists)
    views = viewed(one)
    for commit in one:
        views.take([commit])

    assert len(emitted_http()) == 15
    assert http(views) == emitted_http()
    assert len(emitted_internal()) == 6
    assert internal(views) == emitted_internal()


def test_routers_get_the_same_at_each_event_as_from_the_route_emitter() -> None:
    one = replay(recording("07-routes"))
    views = viewed(one)
    messages = (message for message in registrations("messages.ndjson") if message["subject"].startswith("router."))

    notified = 0
    for commit in one:
        steps = list(steps_of(views.take([commit])["HTTPRoutes"]))
        emitted = [next(messages) for _ in steps]
        # Of one event, the emitter sends in no particular order.
        assert in_order(steps) == in_order((name_of(message), *where(message)) for message in emitted)
        notified += len(steps)

    assert notified == 27
    assert all(message["subject"] == "router.register" for message in messages), "from here on it repeats itself"


def steps_of(deltas: Iterable[Any]) -> Iterator[tuple[Any, ...]]:
    """What to register and unregister, as a router gets it."""
    for delta in deltas:
        before, after = ({place(one) for one in side or ()} for side in (delta.before, delta.after))
        yield from (("router.register", delta.key, *one) for one in after - before)
        yield from (("router.unregister", delta.key, *one) for one in before - after)


def place(one: Endpoint) -> tuple[Any, ...]:
    return (one.host, one.port, one.tls_port, one.instance_guid)


def name_of(message: Mapping[str, Any]) -> str:
    return str(message["subject"])


def where(message: Mapping[str, Any]) -> tuple[Any, ...]:
    said = message["data"]
    (hostname,) = said["uris"]
    return (hostname, said["host"], said["port"], said.get("tls_port", 0), said["private_instance_id"])


# Make before break


def step_ends(stream: Stream) -> dict[int, int]:
    """After how many commits the rows and desired LRPs were those of each step's lists."""
    found = recording("07-routes")
    lists = [found.lists(f"steps/{step:02}") for step in range(10)]
    steps = [state(each.actual_lrps(), each.desired_lrps()) for each in lists]
    one = replay(found, stream=stream)
    ends: dict[int, int] = {}
    for count, _ in enumerate(one, 1):
        now = state(one.actual_lrps(), one.desired_lrps())
        ends.update({step: count for step, then in enumerate(steps) if then == now})
    return ends


def state(rows: Iterable[Any], lrps: Iterable[Any]) -> set[Any]:
    return {(one.epoch, one.tag_index) for one in (*rows, *lrps)}


@pytest.mark.parametrize("stream", STREAMS)
def test_within_a_step_no_name_or_instance_is_without_an_endpoint_that_has_one_before_and_after(stream: Stream) -> None:
    ends = step_ends(stream)
    assert sorted(ends) == list(range(10)), "each step is found"
    one = replay(recording("07-routes"), stream=stream)
    views = viewed(one)
    seen: list[set[Any]] = [set()]
    for commit in one:
        views.take([commit])
        seen.append(served(views))

    bounds = [0, *(ends[step] for step in range(10))]
    for start, end in pairwise(bounds):
        throughout = seen[start] & seen[end]
        for count in range(start, end + 1):
            assert throughout <= seen[count], f"after commit {count}"
    assert sum(len(names) for names in seen) > 1000


def served(views: ViewedSession) -> set[Any]:
    """The names that have endpoints, and the instances that are endpoints of them."""
    found = {name: views[name].items() for name in ("HTTPRoutes", "TCPRoutes", "InternalRoutes")}
    return {
        what
        for name, items in found.items()
        for key, endpoints in items
        for one in endpoints
        for what in ((name, key), (name, key, one.instance_guid))
    }


def test_an_evacuation_publishes_no_change_of_a_route() -> None:
    """The instance moves from one row to another and its index is claimed anew; a router need not know."""
    one = replay(recording("07-routes"))
    views = viewed(one)
    moved = 0
    for commit in one:
        published = views.take([commit])
        presences = {row.presence.name for delta in commit.actual_lrps if (row := delta.after) is not None}
        if presences == {"EVACUATING"}:
            moved += 1
            assert published["HTTPRoutes"] == []

    assert moved == 1
    assert [one.evacuating for one in views["HTTPRoutes"]["two-k1.example.com"]] == [True]


@pytest.mark.parametrize("name", ["03-evacuation", "06-mixed", "07-routes", "churn1"])
@pytest.mark.parametrize("stream", STREAMS)
def test_within_a_commit_what_appears_is_published_before_what_goes(name: str, stream: Stream) -> None:
    one = replay(recording(name), stream=stream)
    views = viewed(one)
    for commit in one:
        for deltas in views.take([commit]).values():
            gone = [delta.after is None for delta in deltas]
            assert gone == sorted(gone)


def test_a_list_of_what_is_known_publishes_no_route() -> None:
    ends = step_ends("instances")
    found = recording("07-routes")
    one = replay(found)
    views = viewed(one)
    for count, commit in enumerate(one, 1):
        views.take([commit])
        for step in (step for step, end in ends.items() if end == count):
            lists = found.lists(f"steps/{step:02}")
            published = views.relist(
                lists.actual_lrps(), lists.desired_lrps(), domains=views.session.knowledge.store.domains
            )
            assert [published[view] for view in ("HTTPRoutes", "TCPRoutes", "InternalRoutes", "Processes")] == [[]] * 4
    views.check()


# What is special in the scenario


def test_the_claimed_address_and_the_words_of_the_scenario() -> None:
    one = replay(recording("07-routes"))
    views = viewed(one)
    for commit in one:
        views.take([commit])

    assert views["TCPRoutes"].keys() == {("rg-1", 1025), ("rg-1", 1026)}
    assert views["AddressCollisions"].keys() == {("10.1.0.3", port) for port in (34510, 34512, 34514)}
    words = {health.health.value for health in views["Processes"].values()}
    assert words == {"healthy", "crashing", "undesired", "degraded"}
    assert {cell: load.instances for cell, load in views["Cells"].items()} == {"cell-a": 6, "cell-b": 7, "cell-c": 6}


# Against recomputation


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("name", ["06-mixed", "07-routes", "03-evacuation", "02-crash"])
def test_after_each_commit_every_view_equals_its_recomputation(name: str, stream: Stream) -> None:
    one = replay(recording(name), stream=stream)
    views = viewed(one)
    for commit in one:
        views.take([commit])
        views.check()


@pytest.mark.parametrize("stream", STREAMS)
def test_under_churn_every_view_equals_its_recomputation(stream: Stream) -> None:
    """Each touched process at each commit, and everything at some commits and at the end."""
    rng = Random(7)
    one = replay(recording("churn1"), stream=stream)
    views = viewed(one)
    count = 0
    for commit in one:
        views.take([commit])
        check_touched(views, commit)
        count += 1
        if rng.random() < 0.01:
            views.check()
    views.check()

    assert count > 3000
    assert len(views["Processes"]) == 61
    assert sum(load.instances for load in views["Cells"].values()) == sum(
        row.state in (ActualLRPState.CLAIMED, ActualLRPState.RUNNING) and bool(row.cell_id) for row in one.actual_lrps()
    )


def check_touched(views: ViewedSession, commit: Commit) -> None:
    """What the touched processes contribute is what deriving them anew gives, and so are the values of their keys."""
    processes = [views.session.knowledge.process(guid) for guid in dirtied_by([commit])]
    for name, derivation in views.views.items():
        anew = Derivation(derivation.view)
        anew.update(processes)
        for one in processes:
            assert contributed(derivation, one.guid) == contributed(anew, one.guid), name


def contributed(derivation: Derivation[Any, Any, Any], guid: str) -> dict[int, Any]:
    entry = derivation._entries.get(guid)
    return {} if entry is None else dict(entry.of)
