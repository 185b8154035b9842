"""The production route emitter as a model: which instances it sends requests to, by the events that it is told.

Its rules, as far as instances go, taken from what it does. It keeps endpoints, known by process, instance guid and
whether they are evacuating:

- `created` of a row that runs registers it, ready or not;
- `changed` to a row that runs registers it if it is ready (or does not say), and else withdraws it, but only where the
  side before was ready; one from ORDINARY to EVACUATING withdraws the side before as well;
- `changed` from a row that ran to one that does not withdraws the side before;
- `removed` of a row that runs withdraws it;
- an endpoint is only replaced by a newer version, and only withdrawn by the same or a newer one, where every other
  epoch counts as newer;
- instances at or above the desired number are not registered, and withdrawn when that number falls;
- the lists that it reads now and then replace everything: what runs and is ready.

It does not know comments in the stream, so it is given what is left without them. It reads `routable` of the side
before without looking whether that is there, and falls over where it is not.
"""

from collections.abc import Iterable, Sequence

from lrpmirror.events import (
    ActualLRPChanged,
    ActualLRPCreated,
    ActualLRPInstanceChanged,
    ActualLRPInstanceCreated,
    ActualLRPInstanceRemoved,
    ActualLRPRemoved,
    DesiredLRPChanged,
    DesiredLRPCreated,
    DesiredLRPRemoved,
    Event,
)
from lrpmirror.model import ActualLRP, ActualLRPState, DesiredLRP, Presence
from lrpmirror.server import EncodedEvent, EncodedStatus
from lrpmirror.wire import decode
from lrpmirror.wire.sse import EventStreamDecoder

__all__ = ["Emitter", "seen_by_others"]

Key = tuple[str, bool]
"""Of an endpoint of a process: instance guid, whether it is evacuating."""

Endpoint = tuple[str, int, str, str, object]
"""What requests are sent to: process guid, index, instance guid, address, ports."""


def seen_by_others(notified: Iterable[EncodedEvent | EncodedStatus]) -> list[Event]:
    """Return what of a stream a reader sees that skips comments, having come over the wire."""
    sent = b"".join(each.frame(number, 0.0) for number, each in enumerate(notified))
    lines = [line for line in sent.split(b"\n") if not line.startswith(b":")]
    frames = EventStreamDecoder().feed(b"\n".join(lines))
    return [decode.event(frame.event, frame.data) for frame in frames]


class Emitter:
    """Follows one of the two streams."""

    def __init__(self, rows: Iterable[ActualLRP] = (), desired: Iterable[DesiredLRP] = ()) -> None:
        self._endpoints: dict[str, dict[Key, ActualLRP]] = {}
        self._desired: dict[str, DesiredLRP] = {}
        self.sync(rows, desired)

    def sync(self, rows: Iterable[ActualLRP], desired: Iterable[DesiredLRP]) -> None:
        """Take lists for the whole truth."""
        self._endpoints.clear()
        self._desired = {lrp.process_guid: lrp for lrp in desired}
        for row in rows:
            if _runs(row) and _is_ready(row):
                self._register(row)

    def routes_to(self, process_guid: str | None = None) -> set[Endpoint]:
        """Return where requests are sent, of one process or all. An instance known as evacuating and as not is one."""
        guids = self._endpoints.keys() if process_guid is None else [process_guid]
        rows = [row for guid in guids for row in self._endpoints.get(guid, {}).values()]
        return {(row.process_guid, row.index, row.instance_guid, row.address, row.ports) for row in rows}

    def handle(self, events: Sequence[Event]) -> None:
        """Act on events."""
        for event in events:
            self._handle(event)

    def _handle(self, event: Event) -> None:
        match event:
            case DesiredLRPCreated(desired_lrp=lrp):
                self._desire(lrp)
            case DesiredLRPChanged(after=lrp):
                self._desire(lrp)
            case DesiredLRPRemoved(desired_lrp=lrp):
                self._desired.pop(lrp.process_guid, None)
            case ActualLRPInstanceCreated(actual_lrp=row):
                self._created(row)
            case ActualLRPInstanceChanged(before=before, after=after):
                self._changed(before, after)
            case ActualLRPInstanceRemoved(actual_lrp=row):
                self._removed(row)
            case ActualLRPCreated(actual_lrp_group=group):
                self._created(group.resolve())
            case ActualLRPChanged(before=old, after=new):
                self._changed(old.resolve(), new.resolve())
            case ActualLRPRemoved(actual_lrp_group=group):
                self._removed(group.resolve())
            case _:
                pass

    def _desire(self, lrp: DesiredLRP) -> None:
        known = self._desired.get(lrp.process_guid)
        if known is not None and known.epoch == lrp.epoch and known.tag_index >= lrp.tag_index:
            return
        self._desired[lrp.process_guid] = lrp
        endpoints = self._endpoints.get(lrp.process_guid, {})
        for key, row in list(endpoints.items()):
            if row.index >= lrp.instances:
                del endpoints[key]

    def _created(self, row: ActualLRP) -> None:
        if _runs(row):
            self._register(row)

    def _changed(self, before: ActualLRP, after: ActualLRP) -> None:
        if _runs(after):
            if _is_ready(after):
                self._register(after)
            else:
                assert before.routable is not None, f"the emitter falls over: {before}"
                if before.routable:
                    self._withdraw(after)
            if _runs(before) and (before.presence, after.presence) == (Presence.ORDINARY, Presence.EVACUATING):
                self._withdraw(before)
        elif _runs(before):
            self._withdraw(before)

    def _removed(self, row: ActualLRP) -> None:
        if _runs(row):
            self._withdraw(row)

    def _register(self, row: ActualLRP) -> None:
        desired = self._desired.get(row.process_guid)
        if desired is not None and row.index >= desired.instances > 0:
            return
        endpoints = self._endpoints.setdefault(row.process_guid, {})
        known = endpoints.get(_key(row))
        if known is None or _is_newer(row, known):
            endpoints[_key(row)] = row

    def _withdraw(self, row: ActualLRP) -> None:
        endpoints = self._endpoints.get(row.process_guid, {})
        known = endpoints.get(_key(row))
        if known is not None and (known.modification_tag == row.modification_tag or _is_newer(row, known)):
            del endpoints[_key(row)]


def _key(row: ActualLRP) -> Key:
    return row.instance_guid, row.presence is Presence.EVACUATING


def _runs(row: ActualLRP) -> bool:
    return row.state == ActualLRPState.RUNNING


def _is_ready(row: ActualLRP) -> bool:
    return row.routable is not False


def _is_newer(row: ActualLRP, known: ActualLRP) -> bool:
    if not known.epoch or not row.epoch or known.epoch != row.epoch:
        return True
    return known.tag_index < row.tag_index
