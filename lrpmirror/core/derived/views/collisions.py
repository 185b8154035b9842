"""Addresses that more than one instance claims."""

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from lrpmirror.core.derived.view import InstanceView, KeylessValue, Process, Share, Step
from lrpmirror.model import ActualLRP, ActualLRPState

__all__ = ["AddressCollisions", "Claimant"]


class Claimant(Struct, frozen=True, order=True, gc=False):
    """An instance that claims an address."""

    process_guid: str
    index: int
    instance_guid: str
    cell_id: str


Claimants = tuple[Claimant, ...]


class AddressCollisions(KeylessValue, InstanceView[tuple[str, int], Claimants, Claimants]):
    """(host address, host port) → the RUNNING instances that claim it, where there is more than one.

    A cell gives a port to one instance at a time. Two rows that claim one port are a row that has outlived its
    container, as is seen after a fail-over of the BBS, and a router that believes both sends users of the one app to
    the other. TLS proxy ports count too. Two rows of one instance, as there are while it moves, are no collision.
    """

    reads_secrets = False
    reads = frozenset({"state", "presence", "instance_guid", "cell_id", "address", "ports"})

    def terms(self, process: Process, before: bool | None) -> bool:  # noqa: ARG002 - it looks at the rows only
        """Return a constant: only rows matter."""
        return True

    def instance(self, rows: tuple[ActualLRP, ...], terms: bool) -> Sequence[Share[tuple[str, int], Claimants]]:  # noqa: ARG002 - as above
        """Return the addresses that an instance claims."""
        if len(rows) == 1:
            row = rows[0]
            addresses = _addresses(row)
            return (Share(addresses, (_claimant(row),)),) if addresses else ()
        found: dict[tuple[str, int], dict[Claimant, None]] = {}
        for row in rows:
            for address in _addresses(row):
                found.setdefault(address, {})[_claimant(row)] = None
        return [Share((address,), tuple(sorted(claimants))) for address, claimants in found.items()]

    def fold(self, state: Claimants | None, steps: Sequence[Step[Claimants]]) -> Claimants | None:
        """Return all claimants of an address, in order."""
        if len(steps) == 1 and (state is None or state == steps[0].before):
            # Nearly every address has one claimant.
            return steps[0].after
        claimants = list(state or ())
        for step in steps:
            for claimant in step.before or ():
                claimants.remove(claimant)
            claimants += step.after or ()
        claimants.sort()
        return tuple(claimants) or None

    def value(self, key: tuple[str, int], state: Claimants) -> Claimants | None:  # noqa: ARG002 - the same for all
        """Return the claimants where there is more than one instance among them."""
        # Nearly every address has one claimant.
        if len(state) == 1:
            return None
        return state if len({claimant.instance_guid for claimant in state}) > 1 else None


_RUNNING: Final = ActualLRPState.RUNNING


def _claimant(row: ActualLRP) -> Claimant:
    return Claimant(row.process_guid, row.index, row.instance_guid, row.cell_id)


def _addresses(row: ActualLRP) -> tuple[tuple[str, int], ...]:
    """Return the addresses that a row claims, each once."""
    address = row.address
    if row.state != _RUNNING or not address:
        return ()
    found = []
    for port in row.ports:
        number, proxied = port.host_port, port.host_tls_proxy_port
        if number:
            found.append((address, number))
        if proxied and proxied != number:
            found.append((address, proxied))
    return tuple(found) if len(set(found)) == len(found) else tuple(dict.fromkeys(found))
