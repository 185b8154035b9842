"""Reading the rows of a process, beside a bare `dict.get` on a dict of the same size."""

from random import Random

from benchmarks.apply import loaded
from benchmarks.data import rows
from benchmarks.harness import Report, compare, digest

SIZE, SMOKE = 250_000, 2_000


def run(size: int, rounds: int) -> Report:
    """Read processes in random order."""
    present = list(rows(size))
    store = loaded(present).store
    guids = sorted({row.process_guid for row in present})
    plain = dict.fromkeys(guids, ())
    Random(3).shuffle(guids)
    guids = guids[:50_000]

    def baseline() -> None:
        get = plain.get
        for guid in guids:
            get(guid)

    def ours() -> None:
        get = store.process
        for guid in guids:
            get(guid)

    return compare(
        "read a process's rows",
        size,
        {"dict.get": baseline, "Store.process": ours},
        operations=len(guids),
        rounds=rounds,
        result=digest([len(store.process(guid)) for guid in guids[:100]]),
    )
