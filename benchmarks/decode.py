"""Decoding events, beside the least that any way has to do: base64 and a parse."""

import base64

from benchmarks.data import changes, frames, rows
from benchmarks.harness import Report, compare, digest
from lrpmirror.wire import decode
from lrpmirror.wire.proto import events_pb2

SIZE, SMOKE = 50_000, 500


def run(size: int, rounds: int) -> Report:
    """Decode `actual_lrp_instance_changed` events, both sides."""
    encoded = frames(changes(list(rows(1_000)), size))
    parse = events_pb2.ActualLRPInstanceChangedEvent.FromString

    def floor() -> None:
        for _, data in encoded:
            parse(base64.b64decode(data))

    def ours() -> None:
        for kind, data in encoded:
            decode.event(kind, data)

    result = digest([decode.event(kind, data) for kind, data in encoded[:100]])
    return compare(
        "decode an instance event",
        size,
        {"base64 and parse only": floor, "to Structs": ours},
        operations=size,
        rounds=rounds,
        result=result,
    )
