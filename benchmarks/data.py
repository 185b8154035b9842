"""Rows, desired LRPs and lists to measure with: shaped like Cloud Foundry's, of any number, the same for the same seed.

A list is written by filling in the bytes of one encoded row, which is several times faster than encoding each: some
benchmarks need a million.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from random import Random
from typing import Final
from uuid import UUID

from benchmarks import plain
from lrpmirror.model import (
    ActualLRP,
    ActualLRPState,
    CellPresence,
    DesiredLRP,
    PortMapping,
    PreferredAddress,
)
from lrpmirror.wire import decode, encode

__all__ = ["CELLS", "INSTANCES", "cells", "desired", "fingerprint", "lists", "records", "rows"]

INSTANCES: Final = 4
"""How many instances each process has."""

CELLS: Final = 1_000

_PROCESS, _INSTANCE, _EPOCH = "p" * 73, "i" * 36, "e" * 36
_APP, _SPACE, _ORGANIZATION = "a" * 36, "s" * 36, "o" * 36
_CELL, _HOST, _CONTAINER = "cell-xxxx", "10.0.hhh.hhh", "10.255.ccc.cc"
_PORTS: Final = (61_100, 61_101, 61_102, 61_103)
"""The host ports of a row, and of its TLS proxies. Each row has its own, as a cell hands them out."""

_TWICE: Final = 100
"""One row among so many has the ports of another on its cell, as where one has outlived its container."""

_TAG_INDEX: Final = 2


def records(number: int, version: Callable[[int], int] = lambda _: 0, seed: int = 1) -> Iterator[bytes]:
    """Return that many RUNNING rows as encoded records, four of each process, spread over a thousand cells.

    `version` says how often each row was written since, of which nothing but its tag tells; less than a hundred times.
    Each has about 550 bytes, as those of Cloud Foundry do, mostly for the guids in its metric tags.
    """
    rng = Random(seed)
    templates = [_template(index) for index in range(INSTANCES)]
    guids = _guids(rng)
    taken = [0] * CELLS
    spaces = [(next(guids), next(guids)) for _ in range(500)]
    for at in range(number):
        index = at % INSTANCES
        if index == 0:
            app, (space, organization) = next(guids), rng.choice(spaces)
            process = b"%b-%b" % (app, next(guids))
        cell = rng.randrange(CELLS)
        high, low = 100 + (cell >> 6), 10 + (cell & 63)
        taken[cell] += at % _TWICE > 0
        first = _PORTS[0] + len(_PORTS) * (taken[cell] % 10_000)
        yield templates[index] % {
            b"process": process,
            b"app": app,
            b"space": space,
            b"organization": organization,
            b"instance": next(guids),
            b"epoch": next(guids) + b"\x10" + bytes([_TAG_INDEX + version(at)]),
            b"cell": b"cell-%04d" % cell,
            b"host": b"10.0.%03d.1%02d" % (high, low),
            b"container": b"10.255.%03d.%02d" % (high, low),
            **{b"port-%d" % which: _varint(first + which) for which in range(len(_PORTS))},
        }


@lru_cache(maxsize=2)
def rows(number: int) -> tuple[ActualLRP, ...]:
    """Return these records as rows, as the mirror itself decodes them."""
    return tuple(map(decode.actual_lrp, records(number)))


def desired(of: Iterable[ActualLRP]) -> list[DesiredLRP]:
    """Return the desired LRPs of these rows' processes, each with an HTTP and an internal route.

    Every tenth has a TCP route too; every hundredth HTTP route is shared by two processes.
    """
    found = []
    for at, guid in enumerate(dict.fromkeys(row.process_guid for row in of)):
        shared = at - 1 if at % 100 == 1 else at
        routes = {
            "cf-router": _json([{"hostnames": [f"app-{shared}.example.com"], "port": 8080}]),
            "internal-router": _json([{"hostname": f"app-{at}.apps.internal"}]),
        }
        if at % 10 == 0:
            routes["tcp-router"] = _json(
                [{"router_group_guid": "group", "external_port": 1024 + at % 60_000, "container_port": 8080}]
            )
        found.append(
            DesiredLRP(
                process_guid=guid,
                domain="cf-apps",
                log_guid=guid[:36],
                instances=INSTANCES,
                memory_mb=256,
                disk_mb=1024,
                root_fs="preloaded:cflinuxfs4",
                routes=routes,
                epoch=guid[37:],
                tag_index=1,
            )
        )
    return found


def cells() -> list[CellPresence]:
    """Return the cells that the rows are on."""
    return [CellPresence(cell_id=f"cell-{at:04}", zone="z1") for at in range(CELLS)]


def lists(listed: Iterable[bytes], wanted: Iterable[DesiredLRP] = ()) -> dict[str, bytes]:
    """Return the bodies of all lists that a mirror reads, by path; the rows are given as encoded records."""
    wanted = list(wanted)
    return {
        # No repair reads are needed here, so a repair read is answered with an error.
        "/v1/actual_lrps/list_by_process_guids": encode.error_reply("InvalidRequest", "this server has lists only"),
        "/v1/desired_lrps/list.r3": encode.error_reply("InvalidRequest", "this server has lists only"),
        "/v1/domains/list": encode.reply([encode.domain("cf-apps")]),
        "/v1/cells/list.r1": encode.reply(map(encode.cell_presence, cells())),
        "/v1/actual_lrps/list": encode.reply(listed),
        "/v1/desired_lrp_scheduling_infos/list": encode.reply(map(encode.scheduling_info, wanted)),
        "/v1/desired_lrp_routing_infos/list": encode.reply(map(encode.routing_info, wanted)),
    }


def fingerprint(row: ActualLRP | plain.Row) -> tuple[object, ...]:
    """Return what every way of keeping a row has to agree on; a diff carries no internal routes and metric tags."""
    ports = tuple((port.container_port, port.host_port, port.host_tls_proxy_port) for port in row.ports)
    return (
        row.process_guid,
        row.index,
        str(row.state),
        int(row.presence),
        row.instance_guid,
        row.cell_id,
        row.address,
        row.instance_address,
        ports,
        row.epoch,
        row.tag_index,
        row.since,
        row.routable,
    )


def _template(index: int) -> bytes:
    """Return an encoded row with places for what differs between rows, all of which is of one length."""
    row = ActualLRP(
        process_guid=_PROCESS,
        index=index,
        domain="cf-apps",
        instance_guid=_INSTANCE,
        cell_id=_CELL,
        address=_HOST,
        ports=(PortMapping(8080, _PORTS[0], 61001, _PORTS[1]), PortMapping(2222, _PORTS[2], 61002, _PORTS[3])),
        instance_address=_CONTAINER,
        preferred_address=PreferredAddress.HOST,
        state=ActualLRPState.RUNNING,
        since=1_795_000_000_000_000_000,
        epoch=_EPOCH,
        tag_index=_TAG_INDEX,
        internal_routes=("app.apps.internal",),
        metric_tags={
            "app_name": "web-shop",
            "organization_id": _ORGANIZATION,
            "organization_name": "sales",
            "process_type": "web",
            "source_id": _APP,
            "space_id": _SPACE,
            "space_name": "production",
        },
        routable=True,
        availability_zone="z1",
    )
    text = encode.actual_lrp(row)
    for name, place in (
        (b"process", _PROCESS.encode()),
        (b"app", _APP.encode()),
        (b"space", _SPACE.encode()),
        (b"organization", _ORGANIZATION.encode()),
        (b"instance", _INSTANCE.encode()),
        (b"epoch", _EPOCH.encode() + b"\x10" + bytes([_TAG_INDEX])),
        (b"cell", _CELL.encode()),
        (b"host", _HOST.encode()),
        (b"container", _CONTAINER.encode()),
        *((b"port-%d" % which, _varint(port)) for which, port in enumerate(_PORTS)),
    ):
        text = text.replace(place, b"%%(%b)b" % name)
    return text


def _guids(rng: Random) -> Iterator[bytes]:
    while True:
        yield str(UUID(int=rng.getrandbits(128))).encode()


def _varint(number: int) -> bytes:
    """Return a number of three times seven bits."""
    return bytes([number & 127 | 128, number >> 7 & 127 | 128, number >> 14])


def _json(value: object) -> bytes:
    return json.dumps(value).encode()
