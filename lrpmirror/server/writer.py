"""The writes of the protocol, as the server side passes them on, and the values that a cell hands over with them."""

from collections.abc import Mapping, Sequence
from typing import Protocol, TypedDict, Unpack

from msgspec import Struct

from lrpmirror.model import ActualLRP, DesiredLRP, MetricTagValue, PortMapping, PreferredAddress


class InstanceKey(Struct, frozen=True):
    """Which instance, and on which cell; both empty where a row has none."""

    instance_guid: str = ""
    cell_id: str = ""

    @classmethod
    def of(cls, row: ActualLRP) -> "InstanceKey":
        """Return the key that the row holds."""
        return cls(row.instance_guid, row.cell_id)

    def __bool__(self) -> bool:
        return bool(self.instance_guid or self.cell_id)


class NetInfo(Struct, frozen=True):
    """Where an instance can be reached: on its cell, and inside its container."""

    address: str = ""
    ports: tuple[PortMapping, ...] = ()
    instance_address: str = ""
    preferred_address: PreferredAddress = PreferredAddress.UNKNOWN
    instance_ipv6_address: str = ""

    @classmethod
    def of(cls, row: ActualLRP) -> "NetInfo":
        """Return where the row says that its instance is."""
        return cls(row.address, row.ports, row.instance_address, row.preferred_address, row.instance_ipv6_address)


NO_INSTANCE = InstanceKey()  # the key of a row that no cell holds
NO_NET = NetInfo()  # the addresses of a row that does not run


class InstanceReport(TypedDict, total=False):
    """What a cell reports of a running instance. `domain` is the row's own, or its desired LRP's, if not given."""

    domain: str | None
    internal_routes: Sequence[str]
    metric_tags: Mapping[str, str]
    routable: bool
    availability_zone: str


class DesiredUpdate(TypedDict, total=False):
    """The fields of a desired LRP that can be written later; what is None or not given stays."""

    instances: int | None
    routes: Mapping[str, bytes] | None
    annotation: str | None
    metric_tags: Mapping[str, MetricTagValue] | None
    image_username: str | None
    image_password: str | None


class Writer(Protocol):
    """Takes the writes of the protocol, one method for each call of a BBS.

    Every method is synchronous and has done its work when it returns. Requests arrive checked for fields that may not
    be missing; what depends on the state, or on the content of a desired LRP, is for the writer to judge. A method may
    raise a BBSError: RequestRefused and ResourceNotFound are answered in the reply's error field, any other as a 503.
    The calls of an evacuation return whether the cell is to keep the container. `trace_id` is set around each call to
    the request's `X-Vcap-Request-Id`, "" where it has none: the events that the call causes are to carry it.
    """

    trace_id: str

    def desire(self, wanted: DesiredLRP) -> None:
        """Create a desired LRP; its modification tag, if any, means nothing."""

    def update_desired(self, process_guid: str, **fields: Unpack[DesiredUpdate]) -> None:
        """Write these fields of a desired LRP."""

    def remove_desired(self, process_guid: str) -> None:
        """Remove a desired LRP."""

    def upsert_domain(self, domain: str, ttl: int = 0) -> None:
        """Make the domain fresh for `ttl` seconds, 0 for ever."""

    def claim(self, process_guid: str, index: int, instance: InstanceKey) -> None:
        """Let an instance claim its row."""

    def start(
        self,
        process_guid: str,
        index: int,
        instance: InstanceKey,
        net: NetInfo = NO_NET,
        **report: Unpack[InstanceReport],
    ) -> None:
        """Record that an instance runs."""

    def crash(self, process_guid: str, index: int, instance: InstanceKey, reason: str = "") -> None:
        """Record that an instance crashed."""

    def fail(self, process_guid: str, index: int, reason: str) -> None:
        """Record that no cell takes a row."""

    def remove(self, process_guid: str, index: int, instance: InstanceKey | None = None) -> None:
        """Remove a row, if it is that instance's where one is given."""

    def retire(self, process_guid: str, index: int) -> None:
        """Stop a row's instance, or remove the row."""

    def evacuate_claimed(self, process_guid: str, index: int, instance: InstanceKey) -> bool:
        """Give a claimed row back."""

    def evacuate_running(
        self,
        process_guid: str,
        index: int,
        instance: InstanceKey,
        net: NetInfo = NO_NET,
        **report: Unpack[InstanceReport],
    ) -> bool:
        """Evacuate a running instance, or find it replaced."""

    def evacuate_stopped(self, process_guid: str, index: int, instance: InstanceKey) -> bool:
        """Remove the row of an instance that stopped on a cell that is going away."""

    def evacuate_crashed(self, process_guid: str, index: int, instance: InstanceKey, reason: str = "") -> bool:
        """Record a crash on a cell that is going away."""

    def remove_evacuating(self, process_guid: str, index: int, instance: InstanceKey) -> None:
        """Remove an EVACUATING row."""
