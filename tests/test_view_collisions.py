"""Addresses that more than one instance claims."""

from typing import Any

import pytest
from views_support import CLAIMED, CRASHED, EVACUATING, SUSPECT, desired, process, running, values_of

from lrpmirror.core.derived.derive import Derivation
from lrpmirror.model import ActualLRP, PortMapping
from lrpmirror.views import AddressCollisions, Claimant


def at(guid: str, host_port: int, tls_port: int = 0, **fields: Any) -> ActualLRP:
    return running(guid, **{"ports": (PortMapping(8080, host_port, 61443, tls_port),), "cell_id": "c", **fields})


def found(*rows: ActualLRP) -> dict[Any, Any]:
    guids = dict.fromkeys(one.process_guid for one in rows)
    return values_of(
        AddressCollisions(),
        *(process(desired(guid), *(one for one in rows if one.process_guid == guid)) for guid in guids),
    )


P, Q = Claimant("p", 0, "p-0", "c"), Claimant("q", 0, "q-0", "c")


def test_two_instances_at_one_address_and_port_collide() -> None:
    assert found(at("q", 61000), at("p", 61000)) == {("10.0.0.1", 61000): (P, Q)}


def test_instances_of_one_process_can_collide() -> None:
    rows = (at("p", 61000), at("p", 61000, index=1, instance_guid="p-1"))

    assert found(*rows) == {("10.0.0.1", 61000): (P, Claimant("p", 1, "p-1", "c"))}


def test_a_tls_port_collides_with_any_other_port() -> None:
    assert found(at("p", 61000, 62000), at("q", 62000, 63000)) == {("10.0.0.1", 62000): (P, Q)}
    assert found(at("p", 61000, 62000), at("q", 63000, 62000)).keys() == {("10.0.0.1", 62000)}


def test_other_ports_or_other_hosts_do_not_collide() -> None:
    assert found(at("p", 61000), at("q", 61001)) == {}
    assert found(at("p", 61000), at("q", 61000, address="10.0.0.2")) == {}


def test_the_port_0_is_no_port_and_the_empty_address_no_address() -> None:
    assert found(at("p", 0), at("q", 0)) == {}
    assert found(at("p", 61000, address=""), at("q", 61000, address="")) == {}


@pytest.mark.parametrize("state", [CLAIMED, CRASHED])
def test_only_running_instances_claim_an_address(state: Any) -> None:
    assert found(at("p", 61000), at("q", 61000, state=state)) == {}


@pytest.mark.parametrize("presence", [EVACUATING, SUSPECT])
def test_instances_of_any_presence_claim_their_address(presence: Any) -> None:
    assert found(at("p", 61000), at("q", 61000, presence=presence)).keys() == {("10.0.0.1", 61000)}


def test_two_rows_of_one_instance_do_not_collide() -> None:
    assert found(at("p", 61000), at("p", 61000, presence=EVACUATING)) == {}
    assert found(at("p", 61000), at("p", 61000, presence=EVACUATING, cell_id="of an older write")) == {}


def test_an_instance_that_is_not_routable_or_beyond_the_desired_number_claims_its_address_all_the_same() -> None:
    assert found(at("p", 61000, routable=False), at("q", 61000, index=7)).keys() == {("10.0.0.1", 61000)}


def test_a_collision_begins_changes_and_ends() -> None:
    derivation = Derivation(AddressCollisions())
    derivation.update([process(None, at("p", 61000))])

    (begun,) = derivation.update([process(None, at("q", 61000))])
    (grown,) = derivation.update([process(None, at("r", 61000))])
    (shrunk,) = derivation.update([process(None, at("p", 61001))])
    (ended,) = derivation.update([process(None, at("q", 61002))])

    assert (begun.before, begun.after) == (None, (P, Q))
    assert [len(side or ()) for side in (grown.after, shrunk.after)] == [3, 2]
    assert ended.after is None
    assert derivation.values == {}
