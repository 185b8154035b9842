"""Domains, which are fresh while their owner keeps upserting them, and the cells' presences."""

from typing import Final

from lrpmirror.errors import RequestRefused
from lrpmirror.model import CellCapacity, CellPresence, Provider
from lrpmirror.sim.state import State

SECOND: Final = 1_000_000_000  # nanoseconds in a second


def upsert_domain(state: State, domain: str, ttl: int) -> None:
    """Make the domain fresh for that many seconds, 0 for ever; raise RequestRefused: InvalidRequest for no name."""
    if not domain:
        raise RequestRefused("InvalidRequest", "Invalid field: domain")
    state.domains[domain] = state.now + ttl * SECOND if ttl else None


def fresh_domains(state: State) -> tuple[str, ...]:
    """Return the domains that are fresh now."""
    return tuple(domain for domain in state.domains if state.is_fresh(domain))


def cell_presence(cell_id: str, *, zone: str = "z1", number: int = 1) -> CellPresence:
    """Return a cell as a deployment would describe it; `number` makes its address."""
    return CellPresence(
        cell_id=cell_id,
        rep_address=f"http://10.0.1.{number}:1800",
        zone=zone,
        capacity=CellCapacity(memory_mb=4096, disk_mb=8192, containers=250),
        rootfs_providers=(Provider("preloaded", ("cflinuxfs4",)),),
        rep_url=f"https://{cell_id}.cell.service.cf.internal:1801",
    )
