"""From the bytes of a list to an indexed store, beside the plain way: the whole body, one parse, Structs, one dict."""

from random import Random

from benchmarks.data import rows
from benchmarks.harness import Report, compare, digest
from lrpmirror.core.session import Session, Tuning
from lrpmirror.wire import decode, encode
from lrpmirror.wire.lists import ReplySplitter
from lrpmirror.wire.proto import requests_pb2
from lrpmirror.wire.values import row_value

SIZE, SMOKE = 100_000, 1_000
CHUNK = 65_536


def run(size: int, rounds: int) -> Report:
    """Load a list of `size` rows."""
    body = encode.reply(map(encode.actual_lrp, rows(size)))

    def plain() -> None:
        reply = requests_pb2.ActualLRPsResponse.FromString(body)
        {row.epoch: row for row in (row_value(one, "actual LRP") for one in reply.actual_lrps)}

    def ours() -> Session:
        session = Session(Tuning(), Random(0))
        session.stream_opened(0.0)
        shadow = session.begin_list(0.0)
        splitter = ReplySplitter(what="actual_lrps")
        for at in range(0, len(body), CHUNK):
            shadow.list_rows([decode.actual_lrp(record) for record in splitter.feed(body[at : at + CHUNK])])
        splitter.finish()
        for _ in shadow.settle():
            pass
        session.end_list(shadow, 0.0)
        return session

    store = ours().store
    return compare(
        "load a listed row",
        size,
        {"whole body, one parse, one dict": plain, "streamed, indexed": ours},
        operations=size,
        rounds=rounds,
        result=digest(len(store), sorted(map(str, store.keys()))[:100]),
    )
