"""Addresses that more than one instance claims."""

from collections.abc import Mapping

from msgspec import Struct

from lrpmirror.core.derive import Process, View
from lrpmirror.model import ActualLRPState

__all__ = ["AddressCollisions", "Claimant"]


class Claimant(Struct, frozen=True, order=True):
    """An instance that claims an address."""

    process_guid: str
    index: int
    instance_guid: str
    cell_id: str


class AddressCollisions(View[tuple[str, int], tuple[Claimant, ...], tuple[Claimant, ...]]):
    """(host address, host port) → the RUNNING instances that claim it, where there is more than one.

    A cell gives a port to one instance at a time. Two rows that claim one port are a row that has outlived its
    container, as is seen after a fail-over of the BBS, and a router that believes both sends users of the one app to
    the other. TLS proxy ports count too. Two rows of one instance, as there are while it moves, are no collision.
    """

    reads_secrets = False

    def derive(self, process: Process) -> Mapping[tuple[str, int], tuple[Claimant, ...]]:
        """Return the addresses that a process's instances claim."""
        found: dict[tuple[str, int], dict[Claimant, None]] = {}
        for row in process.rows:
            if row.state != ActualLRPState.RUNNING or not row.address:
                continue
            claimant = Claimant(row.process_guid, row.index, row.instance_guid, row.cell_id)
            for port in row.ports:
                for number in (port.host_port, port.host_tls_proxy_port):
                    if number:
                        found.setdefault((row.address, number), {})[claimant] = None
        return {address: tuple(claimants) for address, claimants in found.items()}

    def combine(
        self,
        key: tuple[str, int],  # noqa: ARG002 - the value does not depend on it
        contributions: Mapping[str, tuple[Claimant, ...]],
    ) -> tuple[Claimant, ...] | None:
        """Return the claimants where there is more than one instance among them."""
        claimants = sorted(claimant for some in contributions.values() for claimant in some)
        if len({claimant.instance_guid for claimant in claimants}) < 2:  # noqa: PLR2004 - a collision takes two
            return None
        return tuple(claimants)
