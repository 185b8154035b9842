"""What the tests of the simulated Diego against recordings of a real BBS share."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from bbs_support import RemoteBBS, over_http
from sim_support import drain

from lrpmirror.events import Event
from lrpmirror.model import ActualLRP, DesiredLRP
from lrpmirror.server import StreamKind
from lrpmirror.sim import Diego
from lrpmirror.wire import decode
from lrpmirror.wire.lists import ReplySplitter
from lrpmirror.wire.sse import EventStreamDecoder

STREAMS: Final[tuple[StreamKind, ...]] = ("instances", "groups")
PATHS: Final = {"instances": "/v1/events/lrp_instances.r1", "groups": "/v1/events.r1"}


def records(reply: Path) -> list[bytes]:
    splitter = ReplySplitter()
    found = splitter.feed(reply.read_bytes())
    splitter.finish()
    return found


def events(stream: Path) -> list[Event]:
    return [
        decode.event(frame.event, frame.data, full=True) for frame in EventStreamDecoder().feed(stream.read_bytes())
    ]


def plain(value: Any) -> Any:
    """Return the value as dicts and lists, all the way down."""
    for kind in (ActualLRP, DesiredLRP):
        # Those from the wire are of kinds of their own, which have other slots.
        if isinstance(value, kind):
            return {name: plain(getattr(value, name)) for name in kind.__struct_fields__}
    if isinstance(value, msgspec.Struct):
        return {"type": type(value).__name__} | {name: plain(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, Mapping):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, tuple):
        return [plain(each) for each in value]
    return value


class Correspondence:
    """Which of our epochs and times stands for which of the recording's: found as they appear, held to from then on."""

    def __init__(self) -> None:
        self._epochs: dict[str, str] = {}
        self._times: dict[int, int] = {}

    def check(self, ours: object, theirs: object, where: str) -> None:
        """Assert that two values are the same but for epochs and times, which correspond."""
        assert self._translate(plain(ours), plain(theirs), "") == plain(ours), where

    def _translate(self, ours: Any, theirs: Any, name: str) -> Any:
        """Return theirs in our terms."""
        if isinstance(theirs, dict) and isinstance(ours, dict):
            return {key: self._translate(ours.get(key), value, key) for key, value in theirs.items()}
        if name == "epoch" and theirs:
            if theirs not in self._epochs and ours not in self._epochs.values():
                self._epochs[theirs] = ours
            return self._epochs.get(theirs)
        if name == "metrics_guid":
            return ours  # deprecated: a server fills it in from a metric tag when it reads the record, not in `created`
        if name == "since":
            return self._times.setdefault(theirs, ours)
        return theirs


def slot_of(group: Any) -> tuple[str, int]:
    resolved = group.resolve()
    return resolved.process_guid, resolved.index


def without_trace(event: Event) -> Event:
    return msgspec.structs.replace(event, trace_id="") if hasattr(event, "trace_id") else event


def by_subject(emitted: Sequence[Event]) -> dict[object, list[Event]]:
    found: dict[object, list[Event]] = defaultdict(list)
    for event in emitted:
        found[subject_of(event)].append(event)
    return dict(found)


def subject_of(event: Any) -> object:
    """Return what the event is about: a desired LRP, or an index of a process. Within that the order is promised."""
    if event.type.startswith("desired"):
        return (event.after if hasattr(event, "after") else event.desired_lrp).process_guid
    if hasattr(event, "index"):
        return event.process_guid, event.index
    value = event.after if hasattr(event, "after") else getattr(event, "actual_lrp", None) or event.actual_lrp_group
    row = value.resolve() if hasattr(value, "resolve") else value
    return row.process_guid, row.index


class World:
    """A simulated Diego in the state that a recording began with, its writes, and what its two streams tell."""

    def __init__(self, folder: Path) -> None:
        self.diego = Diego(seed=7)
        rows = [decode.actual_lrp(each) for each in records(folder / "snapshot" / "actual_lrps.pb")]
        desired = [decode.desired_lrp(each, full=True) for each in records(folder / "snapshot" / "desired_lrps.pb")]
        self.diego.adopt(rows, desired)
        self.bbs: Any = self.diego
        self._streams = {kind: self.diego.subscribe(kind, limit=None) for kind in STREAMS}

    def emitted(self, kind: StreamKind) -> list[Event]:
        """Return what has been told since the last time."""
        return drain(self._streams[kind])


class RemoteWorld(World):
    """The same, written to, listed and followed over HTTP."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._remote: Any = None

    def connect(self, bbs: RemoteBBS) -> None:
        self.bbs = bbs
        self._remote = {kind: bbs.follow(PATHS[kind]) for kind in STREAMS}

    def emitted(self, kind: StreamKind) -> list[Event]:
        emitted: list[Event] = self._remote[kind].take(len(super().emitted(kind)))
        return emitted

    def close(self) -> None:
        for stream in self._remote.values():
            stream.close()


Way = Callable[[Path, Callable[[World], None]], None]


def in_memory(folder: Path, replay: Callable[[World], None]) -> None:
    replay(World(folder))


def on_the_wire(folder: Path, replay: Callable[[World], None]) -> None:
    world = RemoteWorld(folder)

    def drive(bbs: RemoteBBS) -> None:
        world.connect(bbs)
        try:
            replay(world)
        finally:
            world.close()

    over_http(world.diego, drive)


WAYS: Final[tuple[Way, ...]] = (in_memory, on_the_wire)
